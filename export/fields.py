"""What the texts and numbers of a manifest may be."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field


def _inside(path: str) -> str:
    """A relative POSIX path that cannot leave the bundle's folder."""
    parts = path.split("/")
    if path.startswith("/") or "\\" in path or any(part in {"", ".", ".."} for part in parts):
        raise ValueError(f"{path!r} must be a plain path inside the bundle's folder")
    return path


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
InsidePath = Annotated[str, AfterValidator(_inside), Field(max_length=200)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
