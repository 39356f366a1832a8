"""A FastAPI endpoint that answers ``POST /generate`` with the same bytes every time.

What it cannot do faster, no service on this framework can. The bodies are those that Ganymede gave
to the same requests; BENCH_BODIES is a folder with one file per number of images.
``python -m bench.constant PORT WORKERS`` runs it, each worker with a socket of its own on the port.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response

BACKLOG = 2048


def application(folder: Path) -> FastAPI:
    """The service, with the bodies of a folder."""
    bodies = {int(path.stem): path.read_bytes() for path in folder.glob("*.json")}
    app = FastAPI(openapi_url=None)

    @app.get("/health")
    async def health() -> Response:
        return Response()

    @app.post("/generate")
    async def generate(request: Request) -> Response:
        asked = json.loads(await request.body())
        return Response(bodies[asked["num_images"]], media_type="application/json")

    return app


def work(port: int) -> None:
    """One worker."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    app = application(Path(os.environ["BENCH_BODIES"]))
    config = uvicorn.Config(app, access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    for _ in range(int(sys.argv[2])):
        spawn.Process(target=work, args=[int(sys.argv[1])]).start()
