"""Pictures to files, and files to pictures: the only package that knows an image codec.

``encoding`` writes files, ``decoding`` reads what somebody sends, ``colour`` brings it to sRGB,
``pillow`` is between arrays and Pillow. Every codec here releases the interpreter lock while it
works, so several pictures can be encoded, or decoded, in threads.
"""

from service.images.decoding import MAX_ASPECT, READABLE, Picture, UploadedFile
from service.images.encoding import (
    CODEC,
    DEFAULT_QUALITY,
    LOSSY,
    MAX_SIDE,
    MEDIA_TYPES,
    encode,
    encode_all,
    estimate_s,
    grid,
    grid_shape,
    npy,
)
from service.images.pillow import Pixels, resize

__all__ = [
    "CODEC",
    "DEFAULT_QUALITY",
    "LOSSY",
    "MAX_ASPECT",
    "MAX_SIDE",
    "MEDIA_TYPES",
    "READABLE",
    "Picture",
    "Pixels",
    "UploadedFile",
    "encode",
    "encode_all",
    "estimate_s",
    "grid",
    "grid_shape",
    "npy",
    "resize",
]
