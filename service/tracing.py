"""Whether there are traces: ``service.spans``, which makes them, needs an extra.

It is imported here alone, and only when the setting asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.config import InvalidSetting, ServiceConfig

if TYPE_CHECKING:
    from service.spans import Traces


def open_traces(config: ServiceConfig) -> Traces | None:
    """Traces that are sent as the OTEL_* variables say; None when they are not wanted.

    Raises:
        InvalidSetting: the extra is not installed, or a variable has a value that is of no use.
    """
    if not config.traces:
        return None
    try:
        from service import spans
    except ModuleNotFoundError as error:
        raise InvalidSetting(
            f"GANYMEDE_TRACES needs {error.name}: pip install -e '.[otel]' in the checkout"
        ) from None
    except ValueError as error:  # OTEL_PROPAGATORS, which is read at import
        raise InvalidSetting(str(error)) from None
    return spans.open_traces()
