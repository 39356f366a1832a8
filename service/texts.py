"""The text of a request, as the tokens that a graph reads."""

from __future__ import annotations

from export.manifest import Graph
from export.tokens import Reading, TextRefused, Words
from service.fields import FieldErrors
from service.schemas import ModelQuery, PicturesQuery


def read_text(
    graph: Graph, words: Words | None, request: ModelQuery, errors: FieldErrors
) -> Reading | None:
    """The tokens of what was said, or None; what is wrong with it is noted in ``errors``.

    Args:
        graph: that will answer.
        words: that its text input understands; None if it has none.
        request: its text is read, if it can have one.
        errors: of the request.
    """
    text = request.text if isinstance(request, PicturesQuery) else None
    if graph.text is None or words is None:
        if text is not None:
            errors.add("text", "this model reads none: leave it out")
        return None
    examples = list(graph.text.examples)
    if text is None:
        errors.add("text", "this model draws what a text says: say it", examples=examples)
        return None
    try:
        return words.read(text)
    except TextRefused as refusal:
        errors.add("text", str(refusal), examples=examples)
        return None
