"""Measurements that take long and want a quiet machine; run on demand, never part of the tests.

Each is one command, shows how far it is, stops by itself, and writes JSON that says on what
machine and from which commit it was made. Ctrl-C keeps what was measured so far::

    python -m bench.quality BUNDLE       how good are the pictures?
    python -m bench.training             how fast does it train?
    python -m bench.service              how fast does it answer?
    python -m bench.anomaly              does an energy tell unusual pictures?
    python -m bench.soak                 does it hold, for ten minutes of everything at once?
    python -m bench.fcn RUN              do translated pictures show what their maps say?
    python -m bench.ablations            do the claims of pix2pix hold, in little?
    python -m bench.study                do people take the pictures for real ones?

``reality.py`` and ``scoring.py`` are the protocol of the first, ``plain_loop.py`` the baseline of
the second. The third is a table of contenders (``servers.py``, ``rivals.py``, ``in_process.py``)
under loads (``loads.py``, by ``wrk.py`` and ``h2load.py``) on models (``random_models.py``), taken
in turn (``rounds.py``) and judged (``verdicts.py``); the other servers' programs are in ``peers/``,
and run in environments of their own (``environments.py``). The fourth is all that begins with
``soak``: what is served, asked, done to it and seen of it, and what must then hold. The claims
of a paper are held against runs by ``claims.py``. Published figures are in RESULTS.md.
"""
