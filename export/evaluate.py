"""How good is a bundle? Its graphs, run as a service runs them, measured by ``training.metrics``.

Which figures there are follows from its tasks and from the roles of its inputs, never from the
system that made it: ``generate`` is compared with real images (``scoring.py``), ``translate`` with
the truth of pairs (``translating.py``), a code that ``encode`` gives and ``generate`` takes is
followed from picture to picture, and ``score`` is asked to tell pictures apart (``coding.py``).
``reality.py`` is the data.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from export.bundle import MANIFEST, Bundle, load_bundle, write_manifest
from export.catalogue import find
from export.coding import code_and_latent, image_of, reconstruction, separation
from export.errors import InvalidChoice
from export.manifest import FixedSize, ImageOutput, Manifest, Quality
from export.manifest import Image as Picture
from export.reality import LEAST_ACCURACY, Labelled, Reality, meet
from export.rows import Run, sizes
from export.runtime import onnx_run
from export.sampling import Generator, pictures
from export.scoring import SAMPLES, Sample, score_generator, within_texts
from export.translating import translation
from training import data
from training.data.dataset import Dataset, Images, Labels, Split
from training.data.operators import OPERATORS
from training.data.progress import Progress, silent
from training.metrics.features import Extractor, inception, lite0, of_judge

FEATURES = "judge, lite0, inception:FILE"
JUDGE = "judge accuracy"


@dataclass(frozen=True)
class Wanted:
    """What a bundle is compared with, and how.

    Args:
        source: the data set; none is the one that it learnt from.
        features: names, see ``FEATURES``; none is the judge, or lite0 where there can be none.
        samples: see ``score_generator``.
        against: unusual pictures, for a score.
        pairing: as ``data.load`` takes it, for a translator; none is the one that it learnt from.
    """

    source: str | None = None
    features: tuple[str, ...] = ()
    samples: int = SAMPLES
    against: str | None = None
    pairing: str | None = None


@contextlib.contextmanager
def opened(
    source: str, folders: Sequence[Path], version: int | None, step: Callable[[str], None]
) -> Iterator[Bundle]:
    """The bundle of a path or name; of a run, one that is there until the end of the block.

    Raises:
        UnknownBundle, BundleError, ExportError, TrainingError: as an export raises them.
    """
    path = Path(source)
    if not (path / "config.yaml").is_file() or (path / MANIFEST).is_file():
        yield load_bundle(find(source, folders, version))
        return
    from export.publish import export_bundle
    from training.run import load_run

    with tempfile.TemporaryDirectory() as folder:
        yield export_bundle(
            load_run(path), Path(folder), "evaluated", torchscript=False, progress=step
        )


def evaluate(
    bundle: Bundle, wanted: Wanted, progress: Progress = silent, cache: Path | None = None
) -> Iterator[Quality]:
    """Figure after figure, each with its sample count and protocol.

    Args:
        bundle: to measure.
        wanted: with what, and how.
        progress: told of steps that take long.
        cache: folder of data and judges.

    Raises:
        InvalidChoice: no figure can be had.
        DataError, FeaturesMissing: what it is compared with is not there.
    """
    manifest = bundle.manifest
    doable = measurable(manifest)
    if not doable:
        raise InvalidChoice(
            f"no figure is known for {', '.join(manifest.tasks)} of {manifest.name} alone: it can "
            "be compared with data when it generates, translates, codes and decodes, or scores"
        )
    source, shape = _source(bundle, wanted), _shape(manifest)
    runs = {task: onnx_run(bundle.file(manifest.graph(task).onnx)) for task in manifest.tasks}
    if "translate" in doable:
        pairs, learnt = (_pairs(bundle, wanted, split, cache) for split in ("test", "train"))
        (eyes, *_) = extractors(wanted.features, None)
        run = runs["translate"]
        yield from translation(manifest, run, pairs, learnt.images, eyes, progress)
    if doable == {"translate"}:
        return
    told = "generate" in doable and manifest.graph("generate").text is not None
    reality = meet(source, *shape, progress, cache, judged=not told)
    if "generate" in doable:
        yield from _generated(bundle, runs["generate"], reality, wanted, progress)
    if "encode" in doable:
        yield from reconstruction(manifest, runs["encode"], runs["generate"], reality, progress)
    if "score" in doable:
        unusual = _unusual(wanted.against, reality, cache)
        yield from separation(manifest, runs["score"], reality, unusual, wanted.against or "")


def measurable(manifest: Manifest) -> set[str]:
    """The tasks that can be measured by pictures and their captions."""
    found = set()
    if "generate" in manifest.tasks and isinstance(manifest.size, FixedSize):
        inputs = manifest.graph("generate").inputs
        found |= set() if any(isinstance(entry, Picture) for entry in inputs) else {"generate"}
    if code_and_latent(manifest) and image_of(manifest.graph("encode")):
        found.add("encode")
    elif "translate" in manifest.tasks and image_of(manifest.graph("translate")):
        found.add("translate")  # a coder's is measured as its code is
    if "score" in manifest.tasks and image_of(manifest.graph("score")):
        found.add("score")
    return found


def void(figures: Sequence[Quality]) -> str:
    """Why figures mean nothing, if they do: the judge is too weak."""
    for one in figures:
        if one.metric == JUDGE and one.reference is not None and one.value < one.reference:
            return (
                f"VOID: the judge reaches {one.value:.3f} on {one.samples} test images, and needs "
                f"{one.reference:.2f}"
            )
    return ""


def record(bundle: Bundle, figures: Sequence[Quality]) -> Bundle:
    """Write figures into a bundle's manifest, in the place of those of the same name.

    Its digest changes with it: a service that has it loaded sees a new bundle.
    """
    names = {figure.metric for figure in figures}
    others = [one for one in bundle.manifest.quality if one.metric not in names]
    quality = (*others, *figures)
    return write_manifest(bundle.path, bundle.manifest.model_copy(update={"quality": quality}))


def sampler(generator: Generator, texts: Sequence[str] = ()) -> Sample:
    """The pictures that a service would answer with, for labels and seeds; of texts in turn."""

    def sample(labels: Labels, seeds: list[int]) -> Images:
        said = [texts[seed % len(texts)] for seed in seeds] if texts else ()
        return pictures(generator, seeds, labels=[int(label) for label in labels], texts=said)

    return sample


def extractors(names: Sequence[str], reality: Reality | None) -> list[Extractor]:
    """The features of these names; by default the judge's, or lite0 where there is no judge.

    Without a ``reality`` there is none.

    Raises:
        InvalidChoice: no such features, or no judge for this data.
        FeaturesMissing: their weights are not here.
    """
    verdicts = reality.verdicts if reality else None
    found = []
    for name in names or (("judge",) if verdicts else ("lite0",)):
        kind, _, path = name.partition(":")
        if kind == "judge" and not path:
            if reality is None or verdicts is None:
                name = reality.name if reality else "what is translated"
                raise InvalidChoice(
                    f"{name} cannot teach a judge, which needs classes, 128 images and 16 pixels: "
                    "--features lite0"
                )
            found.append(of_judge(verdicts.judge, f"{reality.judge_protocol}; its 128 features"))
        elif name == "lite0":
            found.append(lite0())
        elif kind == "inception" and path:
            found.append(inception(Path(path)))
        else:
            raise InvalidChoice(f"no features {name!r}: there are {FEATURES}")
    return found


def _generated(
    bundle: Bundle, run: Run, reality: Reality, wanted: Wanted, progress: Progress
) -> Iterator[Quality]:
    manifest = bundle.manifest
    graph, size = manifest.graph("generate"), manifest.size
    assert isinstance(size, FixedSize)  # as measurable has seen
    if graph.text and not reality.texts:
        raise InvalidChoice(f"{reality.name} has no captions: add --data NAME of a set that has")
    if verdicts := reality.verdicts:
        yield Quality(
            metric=JUDGE,
            value=verdicts.accuracy,
            reference=LEAST_ACCURACY.get(reality.name),
            samples=len(reality.test),
            protocol=f"{reality.judge_protocol}; reference: the least that it needs",
        )
    words = bundle.words.get(manifest.tasks["generate"])
    generator = Generator(run, graph.inputs, graph.outputs, size.height, size.width, words)
    texts, eyes = reality.texts if graph.text else (), extractors(wanted.features, reality)
    yield from score_generator(
        sampler(generator, texts),
        reality,
        eyes,
        classes=graph.label.classes if graph.label else (),
        samples=wanted.samples,
        progress=progress,
    )
    if texts:
        yield from within_texts(partial(sampler, generator), texts, eyes[0])


def _pairs(bundle: Bundle, wanted: Wanted, split: Split, cache: Path | None) -> Dataset:
    """Pairs in the size and the channels that the bundle learnt from."""
    manifest, source = bundle.manifest, _source(bundle, wanted)
    graph = manifest.graph("translate")
    made = next(entry.channels for entry in graph.outputs if isinstance(entry, ImageOutput))
    taken = next(entry.channels for entry in graph.inputs if isinstance(entry, Picture))
    (side, _), *_ = sizes(manifest.size)
    pairs = data.load(
        source,
        split=split,
        size=side,
        channels=made,
        pairing=_pairing(bundle, wanted),
        cache=cache,
    )
    if pairs.sources is None:
        raise InvalidChoice(
            f"{source} has no pairs: add --data NAME of a set that has, or --pairing"
        )
    if (found := pairs.sources.shape[3]) != taken:
        raise InvalidChoice(
            f"{manifest.name} starts from pictures of {taken} channels, and those of {source} have "
            f"{found}: add the --pairing that it learnt from"
        )
    return pairs


def _pairing(bundle: Bundle, wanted: Wanted) -> str | None:
    """Of other data than it learnt from too, what an operator makes is what a translator undoes."""
    made = bundle.manifest.provenance
    learnt = made.config.get("data", {}).get("pairing") if made else None
    own = wanted.source is None or learnt in OPERATORS
    return wanted.pairing or (learnt if own else None)


def _source(bundle: Bundle, wanted: Wanted) -> str:
    made = bundle.manifest.provenance
    source = wanted.source or (made.dataset if made else None)
    if not source:
        raise InvalidChoice(f"{bundle.path} does not say what it learnt from: add --data NAME")
    return source


def _shape(manifest: Manifest) -> tuple[int | None, int]:
    """Side (None where any will do) and channels of its pictures."""
    graphs = manifest.graphs.values()
    tensors = [tensor for graph in graphs for tensor in (*graph.outputs, *graph.inputs)]
    channels = next(t.channels for t in tensors if isinstance(t, ImageOutput | Picture))
    size = manifest.size
    if not isinstance(size, FixedSize):
        return None, channels
    if size.height != size.width:
        raise InvalidChoice(
            f"its pictures are {size.height}x{size.width}: data is square, and cannot be compared"
        )
    return size.height, channels


def _unusual(against: str | None, reality: Reality, cache: Path | None) -> Labelled | None:
    if against is None:
        return None
    _, side, _, channels = reality.test.images.shape
    found = data.load(against, split="test", size=side, channels=channels, cache=cache)
    return Labelled(found.images, found.labels)
