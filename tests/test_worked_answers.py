"""Answers worked by hand from the formulas, each with the exam and the question it belongs to.

CS230 is Stanford's midterm of 2020 or 2021, I2DL the Technical University of Munich's
"Introduction to Deep Learning" of 2020/21.
"""

import pytest

from voxkern import shapes


def answers(*rows):
    """Exam and question as the test's name, the call and the worked answer as arguments."""
    return pytest.mark.parametrize(
        ("call", "answer"), [r[1:] for r in rows], ids=[r[0] for r in rows]
    )


CNN = [
    shapes.conv(8, 3, padding=1),
    shapes.activation("leaky ReLU"),
    shapes.pool(2),
    shapes.batch_norm(),
    shapes.conv(16, 3, padding=1),
    shapes.activation("leaky ReLU"),
    shapes.pool(2),
    shapes.flatten(),
    shapes.linear(10),
]


@pytest.mark.parametrize(
    ("place", "shape", "parameters"),
    [
        (1, (32, 32, 8), (3 * 3 * 1 + 1) * 8),
        (2, (32, 32, 8), 0),
        (3, (16, 16, 8), 0),
        (4, (16, 16, 8), 2 * 8),
        (5, (16, 16, 16), (3 * 3 * 8 + 1) * 16),
        (6, (16, 16, 16), 0),
        (7, (8, 8, 16), 0),
        (8, (1024,), 0),
        (9, (10,), 10 * 1024 + 10),
    ],
    ids=lambda value: str(value),
)
def test_cs230_2020_the_table_of_a_small_cnn(place, shape, parameters):
    row = shapes.trace(CNN, (32, 32, 1))[place]
    assert (row.shape, row.parameters) == (shape, parameters)


@answers(
    (
        "CS230 2020, table of a CNN: all parameters",
        lambda: shapes.trace(CNN, (32, 32, 1)).parameters,
        11514,
    ),
    ("CS230 2020, size of a convolution: 5 on 32", lambda: shapes.output_size(32, 5), 28),
    ("CS230 2020, size of a convolution: stride 2", lambda: shapes.output_size(32, 3, 2, 1), 16),
    (
        "CS230 2020, size of a convolution: dilation 2",
        lambda: shapes.output_size(32, 3, dilation=2),
        28,
    ),
    ("CS230 2020, size of a pool: 3, stride 2, on 13", lambda: shapes.output_size(13, 3, 2), 6),
    (
        "CS230 2021, size of a 3-D convolution",
        lambda: shapes.output_size((16, 64, 48), 3, 1, 0),
        (14, 62, 46),
    ),
    (
        "CS230 2021, parameters of a 3-D convolution",
        lambda: shapes.conv_parameters(3, 8, (3, 3, 3)),
        8 * 82,
    ),
    (
        "CS230 2020, parameters of a 1x1 convolution",
        lambda: shapes.conv_parameters(64, 16, 1),
        1040,
    ),
    (
        "CS230 2020, two-layer softmax network",
        lambda: shapes.linear_parameters(784, 100) + shapes.linear_parameters(100, 10),
        79510,
    ),
    (
        "I2DL 2020/21, padding of a 5x5 filter that keeps the size",
        lambda: shapes.same_padding(5),
        2,
    ),
    (
        "I2DL 2020/21, padding of a 7x7 filter that keeps the size",
        lambda: shapes.same_padding(7),
        3,
    ),
    (
        "I2DL 2020/21, first layer of a large image network",
        lambda: shapes.output_size(224, 7, 2, 3),
        112,
    ),
    (
        "I2DL 2020/21, first layer without bias",
        lambda: shapes.conv_parameters(3, 64, 7, bias=False),
        9408,
    ),
    (
        "I2DL 2020/21, three 3x3 convolutions see 7",
        lambda: shapes.receptive_field([(3, 1)] * 3),
        [3, 5, 7],
    ),
    (
        "I2DL 2020/21, field with pooling between",
        lambda: shapes.receptive_field([(3, 1), (2, 2), (3, 1)]),
        [3, 4, 8],
    ),
    (
        "I2DL 2020/21, field of strided convolutions",
        lambda: shapes.receptive_field([(5, 2), (5, 2), (3, 1)]),
        [5, 13, 21],
    ),
    (
        "I2DL 2020/21, three 3x3 layers or one 7x7",
        lambda: 3 * shapes.conv_parameters(9, 9, 3, bias=False),
        2187,
    ),
    ("I2DL 2020/21, one 7x7 layer", lambda: shapes.conv_parameters(9, 9, 7, bias=False), 3969),
    (
        "I2DL 2020/21, learned parameters of batch norm",
        lambda: shapes.batch_norm_parameters(64),
        128,
    ),
    (
        "I2DL 2020/21, a depthwise convolution",
        lambda: shapes.conv_parameters(32, 32, 3, groups=32),
        320,
    ),
)
def test_shapes(call, answer):
    assert call() == answer
