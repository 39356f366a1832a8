"""LitServe: a process for HTTP, and one worker for each core."""

import os
import sys

import litserve
from generator import Generator


class Generate(litserve.LitAPI):
    """A batch of requests is one inference."""

    def setup(self, device):
        """Load the model in the worker."""
        self.generator = Generator(os.environ["BENCH_MODEL"])

    def batch(self, inputs):
        """Requests as they are."""
        return inputs

    def predict(self, requests):
        """A list of requests to a list of replies, or one to one."""
        if isinstance(requests, list):
            return self.generator.answers(requests)
        return self.generator.answer(requests)

    def unbatch(self, output):
        """Replies as they are."""
        return output


if __name__ == "__main__":
    rows = int(os.environ.get("BENCH_ROWS", "16"))
    server = litserve.LitServer(
        Generate(max_batch_size=rows, api_path="/generate"),
        accelerator="cpu",
        workers_per_device=int(os.environ["BENCH_WORKERS"]),
        fast_queue=os.environ.get("BENCH_FAST", "1") == "1",
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=int(os.environ.get("BENCH_API", "1")),
        generate_client_file=False,
        log_level="warning",
    )
