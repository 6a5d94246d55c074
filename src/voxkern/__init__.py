"""Compiled kernels over volumes and video frames in NumPy arrays.

Functions take the arguments of ``torch.nn.functional``; ``voxkern.reference`` has a pure NumPy
oracle of each under the same name.
"""

from voxkern import reference
from voxkern._threads import get_num_threads, set_num_threads
from voxkern.conv import (
    conv1d,
    conv1d_backward,
    conv2d,
    conv2d_backward,
    conv3d,
    conv3d_backward,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from voxkern.flash import FlashTable, flash_table, luminance
from voxkern.im2col import col2im, im2col

__version__ = "0.1.0"
__all__ = [
    "FlashTable",
    "col2im",
    "conv1d",
    "conv1d_backward",
    "conv2d",
    "conv2d_backward",
    "conv3d",
    "conv3d_backward",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "flash_table",
    "get_num_threads",
    "im2col",
    "luminance",
    "reference",
    "set_num_threads",
]
