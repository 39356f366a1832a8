"""Small experiments whose answer is known: theory beside what our own code does.

::

    commands.py     ganymede lab NAME
    experiments.py  the list
    finding.py      what an experiment gives: a figure, JSON and a table
    rehearsal.py    the training loop on what is no data set of pictures

    optimal_discriminator.py, plateau.py, vanishing.py, two_modes.py, bilinear.py
                    one claim each, against its closed form, in seconds
    gaussian.py, critic.py   what these share: a density, a discriminator of numbers
    mixtures.py     distributions of points whose modes are known
    pairs.py        small GANs of points, side by side
    modes.py        which of them the objectives find: ring and grid
    stacked.py      1,000 modes: three digits as the colours of one picture; minutes
    categories.py   pictures of one category, and of many: what each gets of them; minutes
"""
