"""Pure NumPy oracles: the public names and arguments, and the definitions written out.

They import nothing of the fast side. Slow, and short enough to check by eye.
"""

from voxkern.reference.batchnorm import batch_norm, batch_norm_backward, batch_norm_stats
from voxkern.reference.conv import (
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
from voxkern.reference.cs230 import (
    conv3d_naive,
    conv3d_no_loop,
    forward_batchnorm,
    get_tiled_dim,
    optim_adam,
    video_flashinator,
)
from voxkern.reference.flash import FlashTable, flash_table, luminance
from voxkern.reference.im2col import col2im, im2col

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
    "get_tiled_dim",
    "im2col",
    "luminance",
    "optim_adam",
    "video_flashinator",
]
