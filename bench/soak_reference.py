"""What the right answers are: each picture made alone, in this process, by ONNX Runtime itself.

Requests are planned, bound and rendered by the service's own code, and computed one row at a time,
so that whatever batches, lanes, caches, workers and versions do to an answer shows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.bundle import Bundle
from export.manifest import Graph, Task
from service.images import DEFAULT_QUALITY, Picture, UploadedFile
from service.inputs import Plan, bind
from service.negotiation import Form
from service.onnx_runtime.providers import Gpu, open_graph
from service.planning import image_input, plan
from service.replies import Facts, Rendered, render
from service.rows import Rows
from service.schemas import GenerateRequest, ModelQuery, ReadRequest, TranslateRequest
from service.styles import told_latents, with_reference, with_style

JSON = Form("json", "png")
ROWS_KEPT = 20_000  # answers of one row each, of some kilobytes
LARGEST_UPLOAD_PIXELS = 2**20
SCHEMAS: dict[Task, type[ModelQuery]] = {
    "generate": GenerateRequest,
    "translate": TranslateRequest,
    "encode": ReadRequest,
    "score": ReadRequest,
}

Numbers = NDArray[Any]


@dataclass(frozen=True)
class Asked:
    """What an answer depends on, but for the version and a seed that was not given."""

    model: str
    task: Task
    fields: Mapping[str, Any]
    form: Form = JSON
    source: bytes | None = None
    reference: bytes | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """The rows of the graph's one output, and the plan that they come from."""

    rows: Numbers
    facts: Facts
    digest: str

    @property
    def rendered(self) -> Rendered:
        """The body of the reply."""
        return render(self.rows, self.facts)

    @property
    def etag(self) -> str:
        """Of the reply."""
        return self.facts.etag(self.digest)


class Reference:
    """Answers what the service is asked, one row at a time."""

    def __init__(self, bundles: Iterable[Bundle]) -> None:
        self._bundles = {(each.manifest.name, each.manifest.version): each for each in bundles}
        self._sessions = {
            (*identity, task): open_graph(
                bundle.file(bundle.manifest.graph(task).onnx),
                "cpu",
                threads=1,
                gpu=Gpu(),
                many_shapes=True,
            )
            for identity, bundle in self._bundles.items()
            for task in bundle.manifest.tasks
        }
        self._pictures: dict[bytes, Picture] = {}
        self._rows: OrderedDict[tuple[str, str], Numbers] = OrderedDict()

    def answer(self, asked: Asked, version: int, seed: int | None = None) -> Answer:
        """The right answer of one version; a seed that was not asked for is the one that came."""
        given = {} if seed is None else {"seed": seed}
        request = SCHEMAS[asked.task].model_validate({**asked.fields, **given})
        bundle = self._bundles[asked.model, version]
        fitted = self._planned(asked, request, bundle)
        quality = getattr(request, "quality", None) or DEFAULT_QUALITY
        facts = Facts(asked.model, version, fitted, asked.form, quality)
        return Answer(self._computed(asked, version, fitted), facts, bundle.digest)

    def _planned(self, asked: Asked, request: ModelQuery, bundle: Bundle) -> Plan:
        manifest = bundle.manifest
        graph, picture = manifest.graph(asked.task), None
        if asked.source is not None:
            picture = self._decoded(asked.source, graph)
        told = told_latents(manifest) if asked.reference else ()
        words = bundle.words.get(manifest.tasks[asked.task])
        fitted = plan(
            graph, manifest.size, request, limit=64, picture=picture, words=words, told=told
        )
        if asked.reference is None:
            return fitted
        encoder = manifest.graph("encode")
        reference = self._decoded(asked.reference, encoder)
        return with_reference(fitted, encoder, manifest.size, reference, None)

    def _decoded(self, file: bytes, graph: Graph) -> Picture:
        entry = image_input(graph)
        if file not in self._pictures:
            upload = UploadedFile(file, LARGEST_UPLOAD_PIXELS)
            self._pictures[file] = upload.decode(entry.channels)
        return self._pictures[file]

    def _computed(self, asked: Asked, version: int, fitted: Plan) -> Numbers:
        session = self._sessions[asked.model, version, asked.task]
        digest = self._bundles[asked.model, version].digest
        rows = None
        answers = []
        for k in range(len(fitted)):
            key = (digest, _row_key(fitted, k))
            if key not in self._rows:
                rows = rows or bind(self._styled(asked, version, fitted))
                [self._rows[key]] = session.run(None, dict(rows[k : k + 1].arrays))
                if len(self._rows) > ROWS_KEPT:
                    self._rows.popitem(last=False)
            answers.append(self._rows[key])
        whole = np.concatenate(answers)
        return fitted.cut_out(whole) if whole.ndim == 4 else whole

    def _styled(self, asked: Asked, version: int, fitted: Plan) -> Plan:
        """With the style that the encode graph tells, where there is a reference."""
        if fitted.reference is None:
            return fitted
        session = self._sessions[asked.model, version, "encode"]
        names = [output.name for output in fitted.reference.graph.outputs]
        outputs = session.run(names, dict(bind(fitted.reference).arrays))
        return with_style(fitted, Rows(dict(zip(names, outputs, strict=True))))


def _row_key(fitted: Plan, k: int) -> str:
    """Everything that one picture of a request depends on."""
    label = fitted.labels and fitted.labels[k]
    source = fitted.source and (fitted.source.picture.digest, fitted.source.fitting)
    knobs = sorted(fitted.scalars.items())
    style, ids = fitted.reference and fitted.reference.key(), fitted.reading and fitted.reading.ids
    return repr((fitted.graph.onnx, fitted.seeds[k], label, knobs, source, style, ids))
