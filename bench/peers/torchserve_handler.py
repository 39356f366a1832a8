"""TorchServe: the handler of an archive whose "serialized file" is the ONNX graph.

The archive also holds ``generator.py`` and ``model.json``.
"""

import json
import os

from generator import Generator


class Handler:
    """A batch of requests is one inference."""

    def initialize(self, context):
        """Load the model in the worker."""
        folder = context.system_properties["model_dir"]
        self.generator = Generator(os.path.join(folder, "model.json"))

    def handle(self, data, context):
        """A list of requests to a list of replies."""
        for index in range(len(data)):
            context.set_response_status(200, "OK", index)  # h2load does not see 200 without a word
        return self.generator.answers([request_of(row) for row in data])


def request_of(row):
    """TorchServe parses JSON itself when the request says that it is."""
    body = row.get("body", row.get("data"))
    return json.loads(body) if isinstance(body, (bytes, bytearray, str)) else body
