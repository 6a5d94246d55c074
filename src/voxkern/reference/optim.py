"""The oracles of optim: each parameter by the formula, in place."""

import numpy as np


def sgd(params, grads, lr, *, l2=0.0, weight_decay=0.0):
    """Oracle of :func:`voxkern.optim.sgd`."""
    for w, g in zip(params, grads):
        w[...] = (1 - 2 * lr * l2) * w - lr * (g + weight_decay * w)


def momentum(
    params,
    grads,
    velocities,
    lr,
    momentum=0.9,
    *,
    average=False,
    nesterov=False,
    l2=0.0,
    weight_decay=0.0,
):
    """Oracle of :func:`voxkern.optim.momentum`."""
    fresh = 1 - momentum if average else 1
    for w, g, v in zip(params, grads, velocities):
        g = g + (2 * l2 + weight_decay) * w
        v[...] = momentum * v + fresh * g
        w -= lr * (momentum * v + fresh * g if nesterov else v)


def rmsprop(
    params,
    grads,
    square_avgs,
    lr=0.01,
    alpha=0.99,
    eps=1e-8,
    *,
    eps_inside_sqrt=False,
    weight_decay=0.0,
):
    """Oracle of :func:`voxkern.optim.rmsprop`."""
    for w, g, s in zip(params, grads, square_avgs):
        g = g + weight_decay * w
        s[...] = alpha * s + (1 - alpha) * g**2
        w -= lr * g / root(s, eps, eps_inside_sqrt)


def adam(
    params,
    grads,
    exp_avgs,
    exp_avg_sqs,
    step,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    *,
    eps_inside_sqrt=False,
    weight_decay=0.0,
):
    """Oracle of :func:`voxkern.optim.adam`."""
    for w, g, m, s in zip(params, grads, exp_avgs, exp_avg_sqs):
        g = g + weight_decay * w
        m[...] = betas[0] * m + (1 - betas[0]) * g
        s[...] = betas[1] * s + (1 - betas[1]) * g**2
        m_hat, s_hat = m / (1 - betas[0] ** step), s / (1 - betas[1] ** step)
        w -= lr * m_hat / root(s_hat, eps, eps_inside_sqrt)


def adamw(
    params,
    grads,
    exp_avgs,
    exp_avg_sqs,
    step,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    *,
    eps_inside_sqrt=False,
    weight_decay=0.01,
):
    """Oracle of :func:`voxkern.optim.adamw`."""
    for w in params:
        w *= 1 - lr * weight_decay
    rest = {"eps_inside_sqrt": eps_inside_sqrt}
    adam(params, grads, exp_avgs, exp_avg_sqs, step, lr, betas, eps, **rest)


def clip_grad_value(grads, clip_value):
    """Oracle of :func:`voxkern.optim.clip_grad_value`."""
    for g in grads:
        g[...] = np.clip(g, -clip_value, clip_value)


def clip_grad_norm(grads, max_norm, norm_type=2.0):
    """Oracle of :func:`voxkern.optim.clip_grad_norm`."""
    everything = np.concatenate([g.ravel() for g in grads] or [np.zeros(0)])
    norm = np.linalg.norm(everything, norm_type) if everything.size else 0.0
    for g in grads:
        g *= np.minimum(1, max_norm / (norm + 1e-6))
    return float(norm)


def root(square, eps, inside):
    """What an average gradient is divided by."""
    return np.sqrt(square + eps) if inside else np.sqrt(square) + eps


def descend(weight, grad, velocity, *, rate, decay, momentum, fresh, nesterov):
    """Twin of the kernel."""
    grad = fresh * (grad + decay * weight)
    if velocity is not None:
        velocity[...] = momentum * velocity + grad
        grad = momentum * velocity + grad if nesterov else velocity
    weight -= rate * grad


def adapt(weight, grad, mean, square, *, rate, decay, kept, beta1, beta2, inside, outside):
    """Twin of the kernel."""
    grad = grad + decay * weight
    square[...] = beta2 * square + (1 - beta2) * grad**2
    if mean is not None:
        mean[...] = grad = beta1 * mean + (1 - beta1) * grad
    weight[...] = kept * weight - rate * grad / (np.sqrt(square + inside) + outside)
