"""Compiled kernels over volumes and video frames in NumPy arrays.

Functions take the arguments of ``torch.nn.functional``; ``voxkern.reference`` has a pure NumPy
oracle of each under the same name.
"""

import importlib

from voxkern import reference
from voxkern._include import get_include
from voxkern._threads import get_num_threads, set_num_threads
from voxkern.batchnorm import batch_norm, batch_norm_backward, batch_norm_stats
from voxkern.conv import (
    ConvPlan,
    conv1d,
    conv1d_backward,
    conv2d,
    conv2d_backward,
    conv3d,
    conv3d_backward,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    conv_workspace,
)
from voxkern.cs230 import (
    conv3d_naive,
    conv3d_no_loop,
    forward_batchnorm,
    get_tiled_dim,
    optim_adam,
    video_flashinator,
)
from voxkern.dropout import dropout, dropout_backward
from voxkern.flash import FlashTable, flash_table, luminance
from voxkern.flatten import flatten
from voxkern.groupnorm import (
    group_norm,
    group_norm_backward,
    instance_norm,
    instance_norm_backward,
    layer_norm,
    layer_norm_backward,
)
from voxkern.im2col import col2im, im2col
from voxkern.interchange import as_like
from voxkern.linear import linear, linear_backward
from voxkern.pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool1d_backward,
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    adaptive_avg_pool3d,
    adaptive_avg_pool3d_backward,
    adaptive_max_pool1d,
    adaptive_max_pool1d_backward,
    adaptive_max_pool2d,
    adaptive_max_pool2d_backward,
    adaptive_max_pool3d,
    adaptive_max_pool3d_backward,
    avg_pool1d,
    avg_pool1d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    avg_pool3d,
    avg_pool3d_backward,
    global_avg_pool,
    global_avg_pool_backward,
    global_max_pool,
    global_max_pool_backward,
    lp_pool1d,
    lp_pool1d_backward,
    lp_pool2d,
    lp_pool2d_backward,
    lp_pool3d,
    lp_pool3d_backward,
    max_pool1d,
    max_pool1d_backward,
    max_pool2d,
    max_pool2d_backward,
    max_pool3d,
    max_pool3d_backward,
    max_unpool1d,
    max_unpool1d_backward,
    max_unpool2d,
    max_unpool2d_backward,
    max_unpool3d,
    max_unpool3d_backward,
)
from voxkern.upsample import upsample, upsample_backward

__version__ = "0.1.0"


# Modules of their own names, imported when they are first asked for: most programs never do.
ON_DEMAND = (
    "activations",
    "attacks",
    "augment",
    "capi",
    "dask",
    "init",
    "jit",
    "keras",
    "losses",
    "onnx",
    "optim",
    "pse",
    "recurrent",
    "scipy",
    "shapes",
    "torch",
)


def __getattr__(name):
    if name in ON_DEMAND:
        return importlib.import_module(f"voxkern.{name}")
    raise AttributeError(f"module 'voxkern' has no attribute {name!r}")


__all__ = [
    "ConvPlan",
    "FlashTable",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool1d_backward",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "adaptive_avg_pool3d",
    "adaptive_avg_pool3d_backward",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_backward",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_backward",
    "adaptive_max_pool3d",
    "adaptive_max_pool3d_backward",
    "as_like",
    "avg_pool1d",
    "avg_pool1d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "avg_pool3d",
    "avg_pool3d_backward",
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
    "conv_workspace",
    "dropout",
    "dropout_backward",
    "flash_table",
    "flatten",
    "forward_batchnorm",
    "get_include",
    "get_num_threads",
    "get_tiled_dim",
    "global_avg_pool",
    "global_avg_pool_backward",
    "global_max_pool",
    "global_max_pool_backward",
    "group_norm",
    "group_norm_backward",
    "im2col",
    "instance_norm",
    "instance_norm_backward",
    "layer_norm",
    "layer_norm_backward",
    "linear",
    "linear_backward",
    "lp_pool1d",
    "lp_pool1d_backward",
    "lp_pool2d",
    "lp_pool2d_backward",
    "lp_pool3d",
    "lp_pool3d_backward",
    "luminance",
    "max_pool1d",
    "max_pool1d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool3d",
    "max_pool3d_backward",
    "max_unpool1d",
    "max_unpool1d_backward",
    "max_unpool2d",
    "max_unpool2d_backward",
    "max_unpool3d",
    "max_unpool3d_backward",
    "optim_adam",
    "reference",
    "set_num_threads",
    "upsample",
    "upsample_backward",
    "video_flashinator",
]
