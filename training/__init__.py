"""From images to a trained generator.

One training step, hop by hop::

    train.py     a configuration and a run folder: data, networks, the loop, what is written
    trainer.py   fit(): the loop, the same for every system
    recipes/     <system>.py: networks, phases, and the losses as plain methods
    losses.py    the equations

``recipe.py`` has the types that these share. ``config.py`` reads presets, ``run.py`` is the run
folder, ``checkpoint.py`` what survives a crash, ``log.py`` what a tick reports, ``ema.py`` the
generator that gets exported, ``signals.py`` what a pair tells of itself, ``data/`` the images,
``metrics/`` arrays in and numbers out, ``diagnose/`` what became of a run, ``lab/`` small
experiments whose answer is known.

This package knows nothing of ``export`` or ``service``.
"""
