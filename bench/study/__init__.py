"""The perceptual study of Isola et al. 2017 (arXiv:1611.07004, section 3.2): real, or generated?

``python -m bench.study serve --real FOLDER --fake NAME=FOLDER`` serves a page on this machine and
records every trial in SQLite; ``python -m bench.study report DB`` tells the fooling rates. Nothing
is reported of sittings that were not finished, and nothing without people.

::

    protocol.py   which trials a sitting has: pictures, sides, practice; what an answer means
    pictures.py   folders -> PNGs that differ in nothing but what they show
    store.py      sittings and trials in SQLite; a trial is answered once, in its turn
    app.py        the pages and the HTTP interface, over the store
    figures.py    answers -> fooling rates with bootstrap intervals
"""
