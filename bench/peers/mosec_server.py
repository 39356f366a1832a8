"""mosec: its Rust front end, and one Python worker for each core."""

import os

from generator import Generator
from mosec import Server, Worker


class Generate(Worker):
    """A batch of requests is one inference."""

    def __init__(self):
        self.generator = Generator(os.environ["BENCH_MODEL"])

    def forward(self, data):
        """A list of requests to a list of replies."""
        return self.generator.answers(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        Generate,
        num=int(os.environ["BENCH_WORKERS"]),
        max_batch_size=int(os.environ.get("BENCH_ROWS", "16")),
        max_wait_time=int(os.environ.get("BENCH_WAIT_MS", "1")),  # the least that it takes
    )
    server.run()
