"""``python -m service.settings`` writes README.md's table of settings anew, from ``config``."""

from __future__ import annotations

from pathlib import Path

from pydantic.fields import FieldInfo

from service.config import PREFIX, MiB, ServiceConfig, starter_folder
from service.notation import Auto

README = Path(__file__).parent.parent / "README.md"
START, END = "<!-- settings: python -m service.settings -->\n", "<!-- /settings -->\n"


def render(readme: str) -> str:
    """The README with the table of this code between the two marks."""
    before, found, rest = readme.partition(START)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise ValueError(f"README.md has no place for the table: {START}...{END}")
    return before + START + table() + END + after


def table() -> str:
    """Every setting of the service, a row each, as Markdown."""
    rows = [
        f"| `{PREFIX}{name.upper()}` | {_default(field)} | {_escaped(field)} |\n"
        for name, field in ServiceConfig.model_fields.items()
    ]
    return "| setting | default | what it is |\n|---|---|---|\n" + "".join(rows)


def _escaped(field: FieldInfo) -> str:
    return (field.description or "").replace("<", r"\<").replace("|", r"\|")


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if default == (starter_folder(),):
        return "the starter model's"
    if default is None:
        return "`auto`" if Auto in field.metadata else ""
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    size = f" ({default // MiB} MiB)" if _is_whole_mebibytes(default) else ""
    return f"`{default}`{size}" if default != "" else ""


def _is_whole_mebibytes(default: object) -> bool:
    return isinstance(default, int) and default >= MiB and default % MiB == 0


if __name__ == "__main__":
    README.write_text(render(README.read_text("utf-8")), "utf-8")
