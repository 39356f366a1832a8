"""A FastAPI endpoint that answers ``POST /generate`` with the same bytes every time.

What it cannot do faster, no service on this framework can. The bodies are those that Ganymede gave
to the same requests; BENCH_BODIES is a folder with one file per number of images.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from fastapi import FastAPI, Request, Response

BODIES = {
    int(path.stem): path.read_bytes() for path in Path(os.environ["BENCH_BODIES"]).glob("*.json")
}

app = FastAPI(openapi_url=None)


@app.get("/health")
async def health() -> Response:
    """Says that it is up."""
    return Response()


@app.post("/generate")
async def generate(request: Request) -> Response:
    """The body for as many images."""
    asked = json.loads(await request.body())
    return Response(BODIES[asked["num_images"]], media_type="application/json")
