"""FastAPI and ONNX Runtime without batching: two uvicorn workers, a session of one thread in each.

A request is answered on the event loop: the work takes a millisecond and keeps both cores busy, so
that a thread pool (a plain ``def``) only adds its hand-over. Each worker has a socket of its own on
the one port: with ``uvicorn --workers`` the first to wake takes all connections that wait, and one
core does the work of 64 clients.
"""

import json
import multiprocessing
import os
import socket
import sys

import uvicorn
from fastapi import FastAPI, Request, Response
from generator import Generator

BACKLOG = 2048


def application():
    """The service; its model is loaded here, in the worker."""
    app = FastAPI(openapi_url=None)
    generator = Generator(os.environ["BENCH_MODEL"], int(os.environ.get("BENCH_THREADS", "1")))

    @app.get("/health")
    async def health() -> Response:
        return Response()

    @app.post("/generate")
    async def generate(request: Request) -> Response:
        reply = generator.answer(json.loads(await request.body()))
        return Response(json.dumps(reply), media_type="application/json")

    return app


def work(port):
    """One worker."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    config = uvicorn.Config(application(), access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    for _ in range(int(os.environ["BENCH_WORKERS"])):
        spawn.Process(target=work, args=[int(sys.argv[1])]).start()
