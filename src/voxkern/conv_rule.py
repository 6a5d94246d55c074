"""Which algorithm serves a convolution: what ``"auto"`` takes, and what each name can do.

An algorithm is a name and a tile: for Winograd the outputs per tile along each of three axes (1
where an axis is summed directly), None for the others.
"""

ALGORITHMS = ("auto", "direct", "winograd", "fft", "im2col")


def automatic(x, weight, out, stride, padding, dilation, groups):
    """What ``"auto"`` takes for these shapes of five axes and arguments of three."""
    return "direct", None


def check(algorithm, kernel_size, stride, dilation):
    """Raise unless there is an algorithm of that name and it can serve the arguments."""
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm is {algorithm!r}; it may be {', '.join(ALGORITHMS)}")
    if algorithm not in ("winograd", "fft"):
        return
    served = [transformed(k) or algorithm == "fft" for k in kernel_size]
    if not any(served):
        raise ValueError(
            "algorithm 'winograd' needs a kernel_size of 2 to 5 along an axis; "
            f"kernel_size is {tuple(kernel_size)}"
        )
    for name, values in (("stride", stride), ("dilation", dilation)):
        if any(v != 1 for v, s in zip(values, served) if s):
            where = " along the axes it transforms" if algorithm == "winograd" else ""
            raise ValueError(f"algorithm {algorithm!r} needs {name} 1{where}; {name} is {values}")


def chosen(algorithm, x, weight, out, stride, padding, dilation, groups):
    """The name and tile that serve a checked call."""
    if algorithm == "auto":
        return automatic(x, weight, out, stride, padding, dilation, groups)
    return algorithm, tile(out[2:], weight[2:]) if algorithm == "winograd" else None


def transformed(k):
    """Whether Winograd transforms an axis of this kernel size; the others are summed directly."""
    return 2 <= k <= 5


def tile(count, kernel_size):
    """Winograd's outputs per tile: six points per transformed axis, or four that are enough."""
    points = [4 if max(n, 2) <= 5 - k else 6 for n, k in zip(count, kernel_size)]
    return tuple(p + 1 - k if transformed(k) else 1 for p, k in zip(points, kernel_size))
