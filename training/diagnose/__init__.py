"""What became of a run, by name, and what to do about it.

::

    stats.jsonl -> history.py    numbers of the last third of the ticks   ┐
    checkpoint  -> draw.py       pictures, and walks between latents      ├> verdicts.py  rules, the
                -> look.py       beside the training pictures:            ┘  cause first, the advice
                   modes.py         the kinds that are never made
                   neighbours.py    the nearest training pictures
    diagnosis.py    all of that, in order
    page.py         the page and its figures (figures.py); record.py the JSON that an export reads

The thresholds are data, each with its reason: ``verdicts.VERDICTS``. Distances are of pixels, of
pictures made no larger than 32 a side: what looks alike to people may be far apart, so a kind that
is missing is missing, but one that is made may still be made badly.
"""
