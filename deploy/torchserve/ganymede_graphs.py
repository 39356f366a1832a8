"""A bundle's graphs as TorchScript: rows in, rows out, in runs of bounded size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from export.bundle import Bundle, ChecksumMismatch, fingerprint, load_bundle
from export.manifest import Graph, Manifest
from export.to_torchscript import load_torchscript
from export.tokens import Words
from service.rows import Rows

ANSWERED = ("generate", "translate")
"""The tasks that are answered with pictures, as ``export.to_torchserve`` packs them."""


class Graphs:
    """Those of an archive's bundle that are answered here, each loaded once.

    Args:
        folder: of the bundle, of which an archive holds the manifest, the TorchScript, and what
            reads texts.
        device: as torch names it.
        max_rows: of one run; more are computed in several.

    Raises:
        BundleError: the archive is not what ``ganymede export --torchserve`` wrote, or the package
            that reads its texts is missing.
    """

    def __init__(self, folder: Path, device: str, max_rows: int) -> None:
        bundle = load_bundle(folder, verify=False)
        self.manifest: Manifest = bundle.manifest
        self._device, self._max_rows = device, max_rows
        self._modules = {
            path: load_torchscript(_verified(bundle, path)).to(device).eval()
            for path in sorted(scripts(bundle.manifest))
        }
        for graph in bundle.manifest.graphs.values():
            if graph.text is not None:
                _verified(bundle, graph.text.tokenizer)
        self.words: Mapping[str, Words] = bundle.words
        """By the name of the graph, what those that read a text understand."""

    def run(self, graph: Graph, parts: Sequence[Rows]) -> list[Rows]:
        """The graph's outputs for each part; the parts are of one shape."""
        rows = Rows.join(parts)
        steps = range(0, len(rows), self._max_rows)
        outputs = Rows.join([self._run(graph, rows[k : k + self._max_rows]) for k in steps])
        found, start = [], 0
        for part in parts:
            found.append(outputs[start : start + len(part)])
            start += len(part)
        return found

    def _run(self, graph: Graph, rows: Rows) -> Rows:
        assert graph.torchscript is not None  # or it would not have been packed
        module = self._modules[graph.torchscript]
        tensors = [torch.tensor(rows[entry.name], device=self._device) for entry in graph.inputs]
        with torch.inference_mode():
            outputs = module(*tensors)
        named = zip(graph.outputs, outputs, strict=True)
        return Rows({entry.name: tensor.cpu().numpy() for entry, tensor in named})


def scripts(manifest: Manifest) -> set[str]:
    """The TorchScript files of what is answered here, as the manifest names them."""
    graphs = [manifest.graph(task) for task in ANSWERED if task in manifest.tasks]
    return {graph.torchscript for graph in graphs if graph.torchscript is not None}


def _verified(bundle: Bundle, relative: str) -> bytes:
    path = bundle.file(relative)
    if not path.is_file() or fingerprint(path) != bundle.manifest.files[relative]:
        raise ChecksumMismatch(f"{path} is not the file that was exported: pack the bundle again")
    return path.read_bytes()
