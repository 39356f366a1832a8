"""ONNX Runtime, which nothing outside this folder knows.

``probing`` finds the device that works, ``providers`` opens a graph on it, and ``binding`` runs it
through buffers that stay on the device. ``service.session`` is what the engine sees of all this.
"""

from __future__ import annotations

from service.config import RuntimeUnusable

try:
    import onnxruntime  # noqa: F401
except ImportError as error:
    raise RuntimeUnusable(
        "ONNX Runtime is not installed: pip install onnxruntime, or for CUDA "
        "'onnxruntime-gpu[cuda,cudnn]'"
    ) from error
