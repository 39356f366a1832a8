"""Every way in which training ends badly.

The tree; each message says what to change, and the command line prints it without a traceback::

    TrainingError
      x ConfigError       a preset, a --set or a config.yaml does not fit the recipe
      x DataError         a data set is missing, empty, broken, or not what was asked for
      x RunExists         the run folder holds a run already: resume it or choose another
      x CheckpointError   nothing to resume from, or not a checkpoint of this recipe
      x Diverged          a loss is not finite; the last good checkpoint is kept
      x FeaturesMissing   a network to compare pictures with is not installed, or is another
"""

from __future__ import annotations


class TrainingError(Exception):
    """Training cannot start or go on; the message says what to change."""


class ConfigError(TrainingError):
    """A preset, a --set or a config.yaml does not fit the recipe."""


class DataError(TrainingError):
    """A data set is missing, empty, broken, or not what was asked for."""


class RunExists(TrainingError):
    """The run folder holds a run already."""


class CheckpointError(TrainingError):
    """Nothing to resume from, or not a checkpoint of this recipe."""


class Diverged(TrainingError):
    """A loss is not finite; the last good checkpoint is kept."""


class FeaturesMissing(TrainingError):
    """A network to compare pictures with is not installed, or is another than the known one."""
