"""A bundle answers requests: ``POST /generate`` from other services, metrics for who runs it.

The hops of a request, each in a file of its own::

    middleware    request id, size limit, one log line, metrics
    app           the routes: the only file that knows the web framework
    parsing       bytes -> schemas                                         400 415 422
    negotiation   Accept and format -> the form of the reply               406
    repository    names -> a model                                         404 503
    planning      what is asked for -> a plan that the graph can answer    422
    inputs        a plan -> rows, by the role of each input
    engine        will they be in time? (cost, lanes, faults)              429 503
    batcher       requests -> batches                                      429 504
    session       batches -> ONNX Runtime -> rows                          500
    replies       rows -> images (the codecs) -> the body of the reply

``generate`` strings them together. Errors are drawn in ``errors``; settings are in ``config``.
The service knows the roles of a graph's inputs and no kind of GAN, and imports of Ganymede's other
packages only the contract: ``export.bundle``, ``export.manifest``, ``export.draw`` and
``export.dimension``. It never imports torch.
"""

__version__ = "0.1.0"
