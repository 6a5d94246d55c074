"""Compiled kernels over volumes and video frames in NumPy arrays.

Functions take the arguments of ``torch.nn.functional``; ``voxkern.reference`` has a pure NumPy
oracle of each under the same name.
"""

from voxkern import reference
from voxkern._threads import get_num_threads, set_num_threads
from voxkern.batchnorm import batch_norm, batch_norm_backward, batch_norm_stats
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
from voxkern.cs230 import (
    conv3d_naive,
    conv3d_no_loop,
    forward_batchnorm,
    get_tiled_dim,
    optim_adam,
    video_flashinator,
)
from voxkern.flash import FlashTable, flash_table, luminance
from voxkern.im2col import col2im, im2col

__version__ = "0.1.0"
__all__ = [
    "FlashTable",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_stats",
    "col2im",
    "conv1d",
    "conv1d_backward",
    "conv2d",
    "conv2d_backward",
    "conv3d",
    "conv3d_backward",
    "conv3d_naive",
    "conv3d_no_loop",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "flash_table",
    "forward_batchnorm",
    "get_num_threads",
    "get_tiled_dim",
    "im2col",
    "luminance",
    "optim_adam",
    "reference",
    "set_num_threads",
    "video_flashinator",
]
