"""Which algorithm serves a convolution: what ``"auto"`` takes, and what each name can do.

An algorithm is a name and a tile: for Winograd the outputs per tile along each of three axes (1
where an axis is summed directly), None for the others.
"""

ALGORITHMS = ("auto", "direct", "winograd", "fft", "im2col")


def automatic(x, weight, out, stride, padding, dilation, groups):
    """What ``"auto"`` takes for these shapes of five axes and arguments of three."""
    outputs, inputs, *kernel_size = weight
    tile = winograd_tile(out[2:], kernel_size, stride, dilation)
    if min(inputs, outputs // groups) >= 16 and sum(t > 1 for t in tile) >= 2:
        return "winograd", tile
    return "direct", None


def check(algorithm, kernel_size, stride, dilation):
    """Raise unless there is an algorithm of that name and it can serve the arguments."""
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm is {algorithm!r}; it may be {', '.join(ALGORITHMS)}")
    if algorithm == "fft":
        for name, values in (("stride", stride), ("dilation", dilation)):
            if any(v != 1 for v in values):
                raise ValueError(f"algorithm 'fft' needs {name} 1; {name} is {values}")
    if algorithm == "winograd" and not any(map(transforms, kernel_size, stride, dilation)):
        raise ValueError(
            "algorithm 'winograd' needs an axis of kernel_size 2 to 5, stride 1 and dilation 1; "
            f"kernel_size is {tuple(kernel_size)}, stride {stride}, dilation {dilation}"
        )


def chosen(algorithm, x, weight, out, stride, padding, dilation, groups):
    """The name and tile that serve a checked call."""
    if algorithm == "auto":
        return automatic(x, weight, out, stride, padding, dilation, groups)
    if algorithm == "winograd":
        return algorithm, winograd_tile(out[2:], weight[2:], stride, dilation)
    return algorithm, None


def transforms(kernel_size, stride, dilation):
    """Whether Winograd transforms such an axis; others are summed directly."""
    return 2 <= kernel_size <= 5 and stride == dilation == 1


def winograd_tile(count, kernel_size, stride, dilation):
    """Outputs per tile along each axis: of six points, or of four where those are enough."""
    points = [4 if max(n, 2) <= 5 - k else 6 for n, k in zip(count, kernel_size)]
    served = map(transforms, kernel_size, stride, dilation)
    return tuple(p + 1 - k if s else 1 for p, k, s in zip(points, kernel_size, served))
