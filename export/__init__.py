"""From a trained generator to a bundle: a folder that any Ganymede service can answer with.

The path of an export, one hop a file::

    run folder -> servable.py     the trained generator behind per-row inputs
               -> to_onnx.py      one ONNX graph per entry point
               -> to_torchscript.py
               -> parity.py       eager, ONNX Runtime and TorchScript compared; rows independent
               -> build.py        these four, in memory
               -> publish.py      preview, manifest and files, written beside and renamed

A generator that was not trained here comes with a spec (``spec.py``), as a module
(``own_module.py``: runs its owner's code) or as ONNX (``own_graph.py``: what is taken;
``own_tail.py``: what is added). ``own.py`` takes both through the same build.py and publish.py.

How good a bundle is, ``evaluate.py`` asks ``training.metrics``: of its pictures (``scoring.py``),
its codes and scores (``coding.py``), against real images (``reality.py``). ``ganymede evaluate``
is ``evaluate_command.py``.

``manifest.py`` and ``bundle.py`` are the contract between the writer (this package) and the
readers (``service``, the TorchServe handler): standard library and pydantic only. ``draw.py``
turns a role and a seed into an array, and is shared by everybody who needs the same picture:
numpy besides.

This package imports nothing here, so that a service without torch can read the contract.
"""
