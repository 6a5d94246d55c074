"""What every oracle needs: arguments per axis, and results into ``out``."""


def per_axis(value, axes):
    """A number as one per axis; a tuple as it is."""
    return (value,) * axes if isinstance(value, int) else tuple(value)


def pairs(padding, kernel_size, dilation):
    """`padding` of every form as (before, after) per axis."""
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel_size, dilation)]
        return [(t // 2, t - t // 2) for t in totals]
    padding = per_axis(0 if padding == "valid" else padding, len(kernel_size))
    return [(p, p) if isinstance(p, int) else tuple(p) for p in padding]


def into(out, result):
    """`result`, or `out` holding it."""
    if out is None:
        return result
    out[...] = result.reshape(out.shape)
    return out
