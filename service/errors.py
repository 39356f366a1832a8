"""Every way in which a request ends badly, and its status.

The tree; each is answered as RFC 9457 ``application/problem+json``::

    ServiceError
      x MalformedRequest     400  the body is not what its Content-Type says
      x Unauthorized         401  an API key is asked for, and none or a wrong one came
      x UnknownModel         404  no such model, version or page
      x MethodNotAllowed     405  a page that answers other methods; Allow
      x NotAcceptable        406  no way to answer in the form asked for
      x RequestTimeout       408  the body did not arrive in time
      x ChangeRefused        409  what serves cannot be changed so; nothing changed
      x TooLarge             413  the body or the picture is larger than the limit
      x UnsupportedMedia     415  a kind of body or file that is not read here
      x InvalidInput         422  the values do not fit the model
      x QueueFull            429  more images wait than are allowed; Retry-After
      x DeadlineUnmeetable   429  the queue is too long for the deadline; Retry-After
      x InferenceFailed      500  the model failed on valid input; the cause is logged, never shown
      x StateNotKept         500  a change could not be written down; nothing changed
      x NotReady             503  starting, or shutting down; Retry-After
      x DeadlineExceeded     504  accepted, but its deadline passed in the queue; Retry-After
      x StillChanging        504  a change takes longer than is waited for, and goes on; Retry-After
"""

from __future__ import annotations

import math
from typing import Any, ClassVar


class ServiceError(Exception):
    """A request that ends with a problem document.

    Args:
        detail: says what to change.
        retry_after_s: when to come back; sent as Retry-After, rounded up.
        extra: further members of the problem document, for example the valid choices.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    closes: ClassVar[bool] = False  # the connection, as the rest of the body is not waited for

    def __init__(self, detail: str, *, retry_after_s: float | None = None, **extra: Any) -> None:  # noqa: ANN401
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.extra = extra

    @property
    def type(self) -> str:
        """The problem type: a stable name to branch on."""
        return f"urn:ganymede:problem:{type(self).__name__}"

    def problem(self) -> dict[str, Any]:
        """The members of the problem document."""
        members = {"type": self.type, "title": self.title, "status": self.status}
        return members | {"detail": self.detail} | self.extra

    def headers(self) -> dict[str, str]:
        """The headers that belong to the refusal."""
        headers = {"Connection": "close"} if self.closes else {}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after_s)))
        return headers


class MalformedRequest(ServiceError):
    """The body is not what its Content-Type says."""

    status, title = 400, "Malformed request"


class Unauthorized(ServiceError):
    """An API key is asked for, and none or a wrong one came."""

    status, title = 401, "Unauthorized"


class UnknownModel(ServiceError):
    """No such model, version or page."""

    status, title = 404, "Not found"


class MethodNotAllowed(ServiceError):
    """A page that answers other methods."""

    status, title = 405, "Method not allowed"

    def headers(self) -> dict[str, str]:
        """Allow, from the member ``allowed``."""
        return super().headers() | {"Allow": ", ".join(self.extra.get("allowed", ()))}


class NotAcceptable(ServiceError):
    """No way to answer in the form asked for."""

    status, title = 406, "Not acceptable"


class RequestTimeout(ServiceError):
    """The body did not arrive in time."""

    status, title, closes = 408, "Request timeout", True


class ChangeRefused(ServiceError):
    """What serves cannot be changed so; nothing changed."""

    status, title = 409, "Change refused"


class TooLarge(ServiceError):
    """The body or the picture is larger than the limit."""

    status, title, closes = 413, "Too large", True


class UnsupportedMedia(ServiceError):
    """A kind of body or file that is not read here."""

    status, title = 415, "Unsupported media type"


class InvalidInput(ServiceError):
    """The values do not fit the model."""

    status, title = 422, "Invalid input"


class QueueFull(ServiceError):
    """More images wait than are allowed."""

    status, title = 429, "Queue full"


class DeadlineUnmeetable(ServiceError):
    """The queue is too long for the deadline: refused on arrival."""

    status, title = 429, "Deadline cannot be met"


class InferenceFailed(ServiceError):
    """The model failed on valid input; the cause is logged, never shown."""

    status, title = 500, "Inference failed"


class StateNotKept(ServiceError):
    """A change could not be written down; nothing changed."""

    status, title = 500, "State not kept"


class NotReady(ServiceError):
    """Starting, or shutting down."""

    status, title = 503, "Not ready"


class DeadlineExceeded(ServiceError):
    """Accepted, but its deadline passed in the queue."""

    status, title = 504, "Deadline exceeded"


class StillChanging(ServiceError):
    """A change takes longer than is waited for, and goes on."""

    status, title = 504, "Still changing"
