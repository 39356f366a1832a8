"""Every node and every stored tensor of an ONNX model, those in branches, loops and functions too.

With it: the operators that no bundle may hold, because a seed must decide the picture.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from export.errors import GraphRefused

RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The branches or the body of a node that has them."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def graphs(model: ModelProto) -> Iterator[GraphProto]:
    """The graph, and all that are inside it or inside functions."""
    yield model.graph
    for node in nodes(model):
        yield from subgraphs(node)


def nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node."""
    for owner in (model.graph, *model.functions):
        for node in owner.node:
            yield from _with_inner(node)


def _with_inner(node: NodeProto) -> Iterator[NodeProto]:
    yield node
    for graph in subgraphs(node):
        for inner in graph.node:
            yield from _with_inner(inner)


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor that is stored: weights and constants."""
    for graph in graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            sparse_tensors = [*attribute.sparse_tensors]
            if attribute.HasField("sparse_tensor"):
                sparse_tensors.append(attribute.sparse_tensor)
            for sparse in sparse_tensors:
                yield from (sparse.values, sparse.indices)


def refuse_randomness(model: ModelProto) -> None:
    """Raise GraphRefused if a node draws numbers, even if nobody sees them."""
    off = {"", *_false_constants(model)}
    for node in nodes(model):
        where = f"node {node.name or ', '.join(node.output)!r}"
        if node.op_type in RANDOM:
            raise GraphRefused(
                f"{where} is {node.op_type}: a graph may not draw. Give what it draws as an input "
                "of role noise, so that a seed decides it"
            )
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2] not in off:
            raise GraphRefused(
                f"{where} is Dropout in training mode: export the network after .eval(), or give "
                "the mask as an input of role noise, distribution bernoulli"
            )


def _false_constants(model: ModelProto) -> Iterator[str]:
    for graph in graphs(model):
        for tensor in graph.initializer:
            if _is_false(tensor):
                yield tensor.name
    for node in nodes(model):
        if node.op_type == "Constant" and any(_is_false(one.t) for one in node.attribute):
            yield node.output[0]


def _is_false(tensor: TensorProto) -> bool:
    return tensor.data_type == TensorProto.BOOL and not onnx.numpy_helper.to_array(tensor).any()
