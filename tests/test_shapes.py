"""shapes: sizes counted window by window, fields by spreading a mark, tables, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import voxkern
from voxkern import reference, shapes

sizes, small = st.integers(1, 40), st.integers(1, 5)


@given(sizes, small, small, st.integers(0, 4), small, st.booleans())
def test_windows_are_counted(size, kernel, stride, padding, dilation, ceil_mode):
    span, end = dilation * (kernel - 1) + 1, size + 2 * padding
    starts = [s for s in range(0, end, stride) if s + span <= end]
    if not starts:
        with pytest.raises(ValueError, match="kernel_size"):
            shapes.output_size(size, kernel, stride, padding, dilation, ceil_mode)
        return
    partial = [s for s in range(0, size + padding, stride) if s not in starts]
    # The windows that reach past the end: the first of them counts, if it starts before it.
    extra = ceil_mode and bool(partial) and (end - span) % stride != 0
    got = shapes.output_size(size, kernel, stride, padding, dilation, ceil_mode)
    assert got == len(starts) + extra


def test_sizes_are_those_of_the_functions(rng):
    x = rng.standard_normal((2, 3, 17, 13))
    y = voxkern.conv2d(x, rng.standard_normal((5, 3, 5, 3)), stride=(2, 1), padding=1, dilation=2)
    assert y.shape[2:] == shapes.output_size((17, 13), (5, 3), (2, 1), 1, 2)
    y = voxkern.max_pool2d(x, 3, 2, 1, ceil_mode=True)
    assert y.shape[2:] == shapes.output_size((17, 13), 3, 2, 1, ceil_mode=True)
    assert shapes.output_size((17, 13), (5, 4), padding="same") == (17, 13)


@pytest.mark.parametrize("kernel", [1, 3, 5, (7, 3), (3, 5, 1)])
def test_same_padding_keeps_the_size(kernel):
    size = tuple(range(11, 11 + len(kernel))) if isinstance(kernel, tuple) else 11
    assert shapes.output_size(size, kernel, padding=shapes.same_padding(kernel)) == size


def test_parameters_are_those_of_arrays():
    weight, bias = np.zeros((12, 6 // 3, 5, 3)), np.zeros(12)
    assert shapes.conv_parameters(6, 12, (5, 3), groups=3) == weight.size + bias.size
    assert shapes.conv_parameters(6, 12, (5, 3), groups=3, bias=False) == weight.size
    assert shapes.conv_parameters(4, 7, 3) == shapes.conv_parameters(4, 7, (3, 3))
    assert shapes.linear_parameters(7, 3) == 24
    assert shapes.linear_parameters(7, 3, bias=False) == 21
    assert shapes.batch_norm_parameters(7) == 14


@given(st.lists(st.tuples(small, small), min_size=1, max_size=4))
def test_a_field_is_what_reaches_an_element(layers):
    field = shapes.receptive_field(layers)[-1]
    x = np.eye(field + 6)[:, None]  # a mark at each place, some of them beyond the field
    for kernel, stride in layers:
        x = reference.max_pool1d(x, kernel, stride)
    seen = np.flatnonzero(x[:, 0, 0])
    assert (seen[0], seen[-1]) == (0, field - 1)


def test_fields_per_axis():
    assert shapes.receptive_field([((3, 5), 1), (2, (2, 1)), (3, 1)]) == [(3, 5), (4, 6), (8, 8)]
    assert shapes.receptive_field([]) == []


NETWORK = [
    shapes.conv(4, (3, 3, 5), stride=(1, 2, 2), padding=1, bias=False),
    shapes.batch_norm(),
    shapes.activation("relu"),
    shapes.pool(2),
    shapes.conv(6, 1),
    shapes.flatten(),
    shapes.linear(7),
    shapes.linear(2, bias=False),
]


def test_a_trace_of_a_volume():
    rows = shapes.trace(NETWORK, (8, 11, 13, 3))
    names = "input", "CONV3x3x5-4", "BATCHNORM", "relu", "POOL-2", "CONV1-6", "FLATTEN"
    assert tuple(r.name for r in rows) == (*names, "FC-7", "FC-2")
    assert [r.shape for r in rows[:2]] == [(8, 11, 13, 3), (8, 6, 6, 4)]
    assert [r.shape for r in rows[4:]] == [(4, 3, 3, 4), (4, 3, 3, 6), (216,), (7,), (2,)]
    assert [r.parameters for r in rows] == [0, 540, 8, 0, 0, 30, 0, 1519, 14]
    assert rows.parameters == 2111
    fields = [r.receptive_field for r in rows]
    assert fields[4] == fields[6] == (4, 5, 7)
    assert fields[7] == fields[8] == (8, 11, 13)


def test_a_trace_is_what_the_network_does(rng):
    rows = shapes.trace(NETWORK, (8, 11, 13, 3))
    x = rng.standard_normal((1, 3, 8, 11, 13))
    x = voxkern.conv3d(x, rng.standard_normal((4, 3, 3, 3, 5)), stride=(1, 2, 2), padding=1)
    assert x.shape[1:] == (rows[1].shape[-1], *rows[1].shape[:-1])
    x = voxkern.max_pool3d(x, 2)
    assert x.shape[1:] == (rows[4].shape[-1], *rows[4].shape[:-1])


def test_a_trace_prints_as_a_table():
    lines = str(shapes.trace(NETWORK, (8, 11, 13, 3))).splitlines()
    assert len(lines) == len(NETWORK) + 3
    assert lines[0].split() == ["layer", "shape", "parameters", "receptive", "field"]
    assert lines[-1].split() == ["total", "2111"]
    vector = shapes.trace([shapes.linear(3)], (5,))
    assert vector[1] == ("FC-3", (3,), 18, ())


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda: shapes.output_size(0, 3), ValueError, "size is 0"),
        (lambda: shapes.output_size((), 3), ValueError, "size is"),
        (lambda: shapes.output_size(2.0, 3), TypeError, r"size is 2\.0"),
        (lambda: shapes.output_size(5, 0), ValueError, "kernel is 0"),
        (lambda: shapes.output_size(5, (3, 3)), ValueError, "kernel is"),
        (lambda: shapes.output_size(5, 3, 0), ValueError, "stride is 0"),
        (lambda: shapes.output_size(5, 3, 1, -1), ValueError, "padding is -1"),
        (lambda: shapes.output_size(5, 3, 1, "full"), ValueError, "padding is 'full'"),
        (lambda: shapes.output_size(5, 3, 1, 0, 0), ValueError, "dilation is 0"),
        (lambda: shapes.output_size(5, 3, ceil_mode=1), TypeError, "ceil_mode is 1"),
        (lambda: shapes.output_size(5, 7), ValueError, "spans 7 elements"),
        (lambda: shapes.same_padding(4), ValueError, "kernel is 4; it must be odd"),
        (lambda: shapes.same_padding((3, 2)), ValueError, "must be odd"),
        (lambda: shapes.conv_parameters(4, 6, 3, groups=3), ValueError, "groups is 3"),
        (lambda: shapes.conv_parameters(0, 6, 3), ValueError, "in_channels is 0"),
        (lambda: shapes.conv_parameters(4, 6, 3, bias=None), TypeError, "bias is None"),
        (lambda: shapes.linear_parameters(4, "x"), TypeError, "n_out is 'x'"),
        (lambda: shapes.batch_norm_parameters(0), ValueError, "features is 0"),
        (lambda: shapes.receptive_field([3]), ValueError, r"layers\[0\] is 3"),
        (lambda: shapes.receptive_field([(3, 1), (0, 1)]), ValueError, r"kernel of layers\[1\]"),
        (lambda: shapes.conv(0, 3), ValueError, "filters is 0"),
        (lambda: shapes.activation(3), TypeError, "name is 3"),
        (lambda: shapes.linear(0), ValueError, "units is 0"),
        (lambda: shapes.trace([3], (5, 1)), TypeError, r"layers\[0\] is 3"),
        (lambda: shapes.trace([], 5), ValueError, "input_shape is 5"),
        (lambda: shapes.trace([], (5, 0)), ValueError, "input_shape is 0"),
        (lambda: shapes.trace([shapes.conv(2, 7)], (5, 5, 1)), ValueError, r"layers\[0\], CONV7-2"),
        (
            lambda: shapes.trace([shapes.flatten(), shapes.pool(2)], (4, 1)),
            ValueError,
            r"layers\[1\], POOL-2, after \(4,\): size is",
        ),
    ],
)
def test_bad_input_is_named(call, error, names):
    with pytest.raises(error, match=names):
        call()
