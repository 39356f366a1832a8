"""The study's pages and HTTP interface. A sitting's token is all that it is known by."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from bench.study.pictures import Album
from bench.study.protocol import ANSWERS, Answer
from bench.study.store import Refused, Store, UnknownSitting

STATIC = Path(__file__).parent / "static"
PAGES = {"": "page.html", "page.css": "page.css", "page.js": "page.js"}
BODY_LIMIT_BYTES = 4096
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
_POLICY += "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
SAFE = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",  # a picture is looked at once
}

Token = Annotated[str, InPath(max_length=64)]
Number = Annotated[int, InPath(ge=0, lt=2**31)]
Milliseconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class Beginning(BaseModel):
    """Somebody sits down."""

    model_config = ConfigDict(extra="forbid")

    participant: str = Field(min_length=1, max_length=100, pattern=r"\S")


class Answered(BaseModel):
    """What somebody says of the trial whose turn it is."""

    model_config = ConfigDict(extra="forbid")

    number: int = Field(ge=0, lt=2**31)
    answer: Answer
    exposure_ms: Milliseconds
    response_ms: Milliseconds


def create_app(store: Store, real: Album, generated: dict[str, Album]) -> FastAPI:
    """The study of a store.

    Args:
        store: of the study.
        real: the real pictures.
        generated: those of each model.
    """
    app = FastAPI(title="Perceptual study", docs_url=None, redoc_url=None, openapi_url=None)
    protocol, made = store.protocol, {name: album.files for name, album in generated.items()}

    def state(token: str) -> dict[str, Any]:
        turn = store.turn(token)
        return {
            "sitting": token,
            "kind": protocol.kind,
            "answers": ANSWERS[protocol.kind],
            "exposure_ms": protocol.exposure_ms,
            "length": protocol.length,
            "practice": protocol.practice,
            "number": turn.number,
            "is_practice": turn.practice,
            "shown": turn.shown,
        }

    @app.get("/sittings/{token}")
    def stand(token: Token) -> dict[str, Any]:
        return state(token)

    @app.post("/sittings", status_code=201)
    def begin(wish: Beginning) -> dict[str, Any]:
        names = {name: files.keys() for name, files in made.items()}
        return state(store.begin(wish.participant, real.files.keys(), names))

    @app.post("/sittings/{token}/{number}/pictures")
    def show(token: Token, number: Number) -> dict[str, list[str]]:
        model, trial = store.show(token, number)
        files = [
            (made[model] if is_generated else real.files)[name]
            for name, is_generated in zip(trial.names, trial.generated, strict=True)
        ]
        # Both in one answer: they are looked at once, together or not at all.
        return {"png": [b64encode(file).decode("ascii") for file in files]}

    @app.post("/sittings/{token}/answers")
    def answer(token: Token, said: Answered) -> dict[str, Any]:
        trial = store.answer(token, said.number, said.answer, said.exposure_ms, said.response_ms)
        told = (
            None if trial is None else {"right": trial.truth == said.answer, "truth": trial.truth}
        )
        return state(token) | {"feedback": told}

    @app.get("/")
    @app.get("/{name}")
    def page(name: str = "") -> Response:
        if name not in PAGES:
            return _problem(404, "there is no such page")
        return FileResponse(STATIC / PAGES[name])

    _refusals(app)
    return app


def _refusals(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return _problem(409, str(error))

    @app.exception_handler(UnknownSitting)
    async def unknown(request: Request, error: UnknownSitting) -> Response:
        return _problem(404, "there is no such sitting: begin one")

    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Response:  # noqa: ANN401
        length = request.headers.get("content-length", "0")
        if "transfer-encoding" in request.headers or not length.isdigit():
            return _problem(411, "send a body with its Content-Length")
        if int(length) > BODY_LIMIT_BYTES:
            return _problem(413, f"send at most {BODY_LIMIT_BYTES} bytes")
        response: Response = await call_next(request)
        response.headers.update(SAFE)
        return response


def _problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"status": status, "detail": detail}, status)
