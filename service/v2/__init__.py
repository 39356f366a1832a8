"""The V2 inference protocol (Open Inference Protocol), with the extensions that fit a generator.

A request names the inputs of a graph as tensors, instead of saying what is wanted as ``/generate``
does. The hops of ``POST /v2/models/{name}/infer``::

    parsing     bytes -> schemas, with the binary tensors behind the JSON   400
    binding     tensors and parameters -> rows that fit the graph           400 413
    (model)     rows -> rows, in the same batches as everything else        429 500 503 504
    rendering   rows -> JSON, with the binary tensors behind it             400

``inferring`` strings them together; ``datatypes`` knows the names and the bytes of numbers, and
``describing`` tells of models in ``documents``. ``refusals`` says every problem below ``/v2`` as
the protocol does.
"""
