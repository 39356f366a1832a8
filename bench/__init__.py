"""Measurements that take long and want a quiet machine; run on demand, never part of the tests.

Each is one command, shows how far it is, stops by itself, and writes JSON that says on what
machine and from which commit it was made. Ctrl-C keeps what was measured so far::

    python -m bench.quality BUNDLE       how good are the pictures?
    python -m bench.quality --all        and those of every fast preset, into the table?
    python -m bench.training             how fast does it train?
    python -m bench.service              how fast does it answer?
    python -m bench.soak                 does it hold, for ten minutes of everything at once?
    python -m bench.coders               do they beat principal components, or a reference?
    python -m bench.pretraining          does a pretrained encoder help a classifier?
    python -m bench.anomaly              does an energy tell unusual pictures?
    python -m bench.diagnosis            does a diagnosis name what a run was made to fail of?
    python -m bench.cuda                 does a GPU do what was written for it?

``quality`` asks ``export.evaluate``; its table is ``lines.py`` (what is in it, as data) and
``measures.py`` (how each is measured, beside ``baselines.py``), gone through by ``every.py``.
``plain_loop.py`` is the baseline of ``training``, ``failing.py`` the cases of ``diagnosis``.
``service`` is a table of contenders
(``servers.py``, ``rivals.py``, ``in_process.py``) under loads (``loads.py``, by ``wrk.py`` and
``h2load.py``) on models (``random_models.py``), taken in turn (``rounds.py``) and judged
(``verdicts.py``); the other servers' programs are in ``peers/``, and run in environments of their
own (``environments.py``). ``soak`` is all that begins so: what is served, asked, done to it and
seen of it, and what must then hold. Published figures are in RESULTS.md.
"""
