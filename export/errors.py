"""Every way in which an export, or a look at what was exported, ends badly.

The tree; each message says what to change::

    ExportError
      x NotServable         no way is known to serve what this run trained
      x SpecInvalid         a spec is not YAML, or declares what cannot be
      x SpecMismatch        a network or graph is not what its spec declares
      x ModuleFailed        a user's file cannot be run, or makes no network
      x GraphRefused        an ONNX file holds what no bundle may
      x ConversionFailed    torch could not turn the generator into a portable graph
      x ParityError         the exported graph is not the trained generator, or rows mix
      x RuntimeFailed       ONNX Runtime cannot load or run a graph
      x NotPackable         TorchServe could not run this bundle
      x VerifyFailed        a bundle does not do here what its manifest says
      x BundleExists        the version is there already: bundles are never overwritten
      x NotWritable         the models folder or a picture cannot be written
      x UnknownBundle       no bundle of that name, version or path
      x InvalidChoice       a name, seed, label or knob that does not fit
      x MissingPackage      an optional package is not installed

A folder that is there but cannot be read as a bundle is a BundleError (``export/bundle.py``).
"""

from __future__ import annotations


class ExportError(Exception):
    """Something cannot be exported, found or sampled; the message says what to change."""


class NotServable(ExportError):
    """No way is known to serve what this run trained."""


class SpecInvalid(ExportError):
    """A spec is not YAML, or declares what cannot be."""


class SpecMismatch(ExportError):
    """A network or graph is not what its spec declares."""


class ModuleFailed(ExportError):
    """A user's file cannot be run, or makes no network."""


class GraphRefused(ExportError):
    """An ONNX file holds what no bundle may."""


class ConversionFailed(ExportError):
    """Torch could not turn the generator into a portable graph."""


class ParityError(ExportError):
    """The exported graph is not the trained generator, or a row depends on its neighbours."""


class RuntimeFailed(ExportError):
    """ONNX Runtime cannot load or run a graph."""


class NotPackable(ExportError):
    """TorchServe could not run this bundle."""


class VerifyFailed(ExportError):
    """A bundle does not do here what its manifest says."""


class BundleExists(ExportError):
    """The version is there already: bundles are never overwritten."""


class NotWritable(ExportError):
    """The models folder or a picture cannot be written."""


class UnknownBundle(ExportError):
    """No bundle of that name, version or path."""


class InvalidChoice(ExportError):
    """A name, seed, label or knob does not fit."""


class MissingPackage(ExportError):
    """An optional package is not installed."""
