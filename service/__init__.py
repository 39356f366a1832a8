"""A bundle answers requests: ``POST /generate`` and ``/translate`` from other services.

The hops of a request, each in a file of its own::

    observe       request id, one log line, metrics (those that ended together)
    guard         who may ask: keys, limits; without keys, this machine    401 403 429
    bodies        how much of a body, and of all, is held                  413 429
    door          is everything full, or not loaded? then it is not read   429 503
    app, routes   one hop each: only they know the web framework
    parsing       bytes -> schemas (those of replies are documents)        400 415 422
    uploads       bytes -> a picture's file, and what is asked of it       400 415 422
    images        a picture's file -> pixels, bounded before (the codecs)  413 415 422
    room          room for large pictures, decoded and in the making       429 504
    negotiation   Accept and format -> the form of the reply               406
    repository    names -> a model                                         404 503
    fitting       the size of a picture -> a size that the model takes     422
    planning      what is asked for -> a plan that the graph can answer    422
    inputs        a plan -> rows, by the role of each input
    engine        will they be in time? (cost, lanes, faults)              429 503
    batcher       requests -> batches                                      429 504
    session       batches -> ONNX Runtime (onnx_runtime) -> rows           500
    replies       rows -> images (the codecs; png) -> the body of the reply
    writing       head and body -> one piece

``/v2`` takes tensors instead of words: ``v2`` has its own hops, and joins at ``engine``. ``/v1``
takes OpenAI's words: ``openai`` joins at ``generate``. ``dialects`` tells the refusals of both.
``spans``, where ``tracing`` finds them wanted, are laid around it all.
Around them, in a process each: ``supervisor`` holds the ``gate`` and hands each connection over to
the ``worker`` with the fewest; one process alone is a ``server`` with a listening socket.

What serves changes meanwhile: ``routes.admin`` -> ``control`` (all of a change or none; ``state``
keeps it) -> ``desired`` (what is wanted) -> ``repository``, which makes it so, or the ``fleet`` of
all workers' repositories. Bundles come from ``sources``: ``folders``, or URLs (``remote``), which a
``mirror`` keeps in line with the ``copies`` that all workers share. Each repository has an
``inventory`` of what lies there, a ``catalogue`` of what serves, and a ``retirement`` of what did.

Asked again with the same seed, ``cache`` has the reply and everything after ``planning`` is spared.
``generate`` and ``reading`` (what starts from a picture) string them together; ``making`` is the
part from rows to the finished reply, whole or image by image. Errors are drawn in
``errors``; settings are in ``config``. The service knows the roles of a graph's inputs and no kind
of GAN, and imports of Ganymede's other packages only the contract: ``export.bundle``,
``export.manifest``, ``export.draw`` and ``export.dimension``. It never imports torch.
"""

__version__ = "0.1.0"
