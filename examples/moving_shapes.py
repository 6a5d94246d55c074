"""A 3-D convolutional network that sees what moves in a clip, and where to.

    python examples/moving_shapes.py --plot curve.svg

Discs and crosses drift left, right, up or down over a frame that wraps around: no frame alone tells
the direction. CONV3-16, ReLU, POOL-2, BATCHNORM, the residual relu(w * x + x), a mean over time and
space, FC-8. Clips played backwards are shown too: left must become right.
"""

import numpy as np

import voxkern
from voxkern import activations, augment, init, losses

from _common import adamw, panels, parse

FRAMES, SIZE, CHANNELS = 8, 16, 16
SHAPES = "disc", "cross"
MOVES = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
CLASSES = [f"{shape} {move}" for shape in SHAPES for move in MOVES]


def clips(rng, count, noise=0.2):
    """Noisy clips ``(count, 1, FRAMES, SIZE, SIZE)`` and their places in `CLASSES`."""
    classes = rng.integers(0, len(CLASSES), count)
    step = np.array(list(MOVES.values()))[classes % len(MOVES)] * rng.uniform(0.7, 2, (count, 1))
    centre = rng.uniform(0, SIZE, (count, 2))[:, None] + np.arange(FRAMES)[:, None] * step[:, None]
    radius = rng.uniform(2.5, 5, (count, 1, 1, 1))
    place = np.arange(SIZE) + 0.5
    away = (place - centre[..., None] + SIZE / 2) % SIZE - SIZE / 2
    rows, columns = np.abs(away[:, :, 0, :, None]), np.abs(away[:, :, 1, None, :])
    disc = radius - np.hypot(rows, columns)
    cross = np.minimum(radius - np.maximum(rows, columns), radius / 3 - np.minimum(rows, columns))
    inside = np.where((classes < len(MOVES))[:, None, None, None], disc, cross)
    x = np.clip(inside + 0.5, 0, 1)[:, None].astype(np.float32)
    return augment.gaussian_noise(x, noise, rng), classes


def initial(rng):
    """Random parameters, and the running mean and variance of the batch normalisation."""
    weights = [
        init.kaiming_normal((CHANNELS, 1, 3, 3, 3), rng=rng),
        init.kaiming_normal((CHANNELS, CHANNELS, 3, 3, 3), rng=rng),
        init.xavier_normal((len(CLASSES), CHANNELS), rng=rng),
    ]
    biases = [np.zeros(len(w), np.float32) for w in weights]
    scale, shift = np.ones(CHANNELS, np.float32), np.zeros(CHANNELS, np.float32)
    running = np.zeros(CHANNELS, np.float32), np.ones(CHANNELS, np.float32)
    return [*weights, *biases, scale, shift], running


def forward(params, running, x, training):
    """The scores of each class, and what the gradients need of the way there."""
    w1, w2, w3, b1, b2, b3, scale, shift = params
    maps = voxkern.conv3d(x, w1, b1, padding=1, activation="relu")
    pooled, places = voxkern.max_pool3d(maps, 2, return_indices=True)
    normal = voxkern.batch_norm(pooled, *running, scale, shift, training=training)
    residual = activations.relu(voxkern.conv3d(normal, w2, b2, padding=1) + normal)
    code = voxkern.flatten(voxkern.global_avg_pool(residual))
    return voxkern.linear(code, w3, b3), (maps, pooled, places, normal, residual, code)


def backward(params, x, kept, grad):
    """The gradients of the parameters, from that of the scores."""
    w1, w2, w3, _, _, _, scale, _ = params
    maps, pooled, places, normal, residual, code = kept
    grad, grad_w3, grad_b3 = voxkern.linear_backward(grad, code, w3)
    grad = voxkern.global_avg_pool_backward(grad[..., None, None, None], residual.shape[2:])
    # The result of a ReLU is positive where its argument is, which is all that its gradient asks.
    around = activations.relu_backward(grad, residual)
    through, grad_w2, grad_b2 = voxkern.conv3d_backward(around, normal, w2, padding=1)
    grad, grad_scale, grad_shift = voxkern.batch_norm_backward(
        through + around, pooled, scale, *voxkern.batch_norm_stats(pooled)
    )
    grad = voxkern.max_pool3d_backward(grad, places, maps.shape[2:])
    grad = activations.relu_backward(grad, maps)
    need = (False, True, True)
    _, grad_w1, grad_b1 = voxkern.conv3d_backward(grad, x, w1, padding=1, need=need)
    return [grad_w1, grad_w2, grad_w3, grad_b1, grad_b2, grad_b3, grad_scale, grad_shift]


def gradients(params, running, x, classes):
    """The loss of a batch, and the gradients of the parameters."""
    scores, kept = forward(params, running, x, training=True)
    loss, grad = losses.cross_entropy_and_gradient(scores, classes)
    return loss, backward(params, x, kept, grad)


def train(rng, epochs, steps=16):
    """Batches of 64 fresh clips: the parameters, the running statistics and the losses."""
    params, running = initial(rng)

    def epoch():
        return (gradients(params, running, *clips(rng, 64)) for _ in range(steps))

    return params, running, adamw(params, epoch, epochs, steps, lr=2e-2)


def draw(x, guesses, curve):
    def fill(figure, axes):
        axes[0].plot(range(1, len(curve) + 1), curve)
        axes[0].set(title="cross-entropy, training", xlabel="epoch", yscale="log")
        axes[1].set(title="test clips, and what the network says")
        axes[1].set_axis_off()
        for i, (clip, guess) in enumerate(zip(x, guesses)):
            inset = axes[1].inset_axes((0.22, 0.78 - 0.25 * i, 0.78, 0.2))
            frames = np.pad(clip[0], ((0, 0), (0, 0), (0, 2)), constant_values=np.nan)
            strip = np.concatenate(list(frames), axis=1)
            inset.imshow(strip, cmap="gray", interpolation="none")
            inset.set_axis_off()
            axes[1].text(0.2, 0.88 - 0.25 * i, CLASSES[guess], ha="right", va="center")

    return fill


def main(argv=None):
    arguments = parse(argv, __doc__.splitlines()[0], epochs=20)
    rng = np.random.default_rng(arguments.seed)
    params, running, curve = train(rng, arguments.epochs)
    x, classes = clips(rng, 1000)
    guesses = forward(params, running, x, training=False)[0].argmax(axis=1)
    accuracy = float((guesses == classes).mean())
    print(f"test accuracy {accuracy:.4f}")
    # Left and right, up and down lie beside one another in the list of classes.
    backwards = forward(params, running, x[:, :, ::-1], training=False)[0].argmax(axis=1)
    opposite = float((backwards == classes ^ 1).mean())
    print(f"played backwards, called the opposite: {opposite:.4f}")
    if arguments.plot:
        # One clip of four classes.
        shown = [np.flatnonzero(classes == i)[0] for i in (0, 3, 5, 6)]
        fill = draw(x[shown], guesses[shown], curve)
        panels(arguments.plot, fill, ncols=2, width_ratios=(2, 3))
    return {"loss": curve, "accuracy": accuracy, "opposite": opposite}


if __name__ == "__main__":
    main()
