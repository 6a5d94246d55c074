"""The oracles of cs230: the exam's questions, answered as the exam would."""

import numpy as np


def get_tiled_dim(img_dim, kern_dim, stride=1):
    """Oracle of :func:`voxkern.get_tiled_dim`: count the positions."""
    return len(range(0, img_dim - kern_dim + 1, stride))


def conv3d_naive(image, weight, stride=1):
    """Oracle of :func:`voxkern.conv3d_naive`: loops."""
    n, _, *size = image.shape
    o, _, kh, kw, kd = weight.shape
    h, w, d = (get_tiled_dim(i, k, stride) for i, k in zip(size, (kh, kw, kd)))
    result = np.zeros((n, o, h, w, d))
    for i, f, y, x, z in np.ndindex(result.shape):
        top, left, near = y * stride, x * stride, z * stride
        patch = image[i, :, top : top + kh, left : left + kw, near : near + kd]
        result[i, f, y, x, z] = (patch * weight[f]).sum()
    return result


def conv3d_no_loop(image, weight, stride=1):
    """Oracle of :func:`voxkern.conv3d_no_loop`: windows and one matrix product."""
    windows = np.lib.stride_tricks.sliding_window_view(image, weight.shape[2:], (2, 3, 4))
    windows = windows[:, :, ::stride, ::stride, ::stride]
    return np.moveaxis(np.tensordot(windows, weight, ((1, 5, 6, 7), (1, 2, 3, 4))), -1, 1)


def forward_batchnorm(Z, gamma, beta, eps, cache_dict, beta_avg, mode):
    """Oracle of :func:`voxkern.forward_batchnorm`."""
    if mode == "train":
        mu, var = np.mean(Z, axis=0), np.var(Z, axis=0)
        cache_dict["mu"] = beta_avg * cache_dict["mu"] + (1 - beta_avg) * mu
        cache_dict["var"] = beta_avg * cache_dict["var"] + (1 - beta_avg) * var
    else:
        mu, var = cache_dict["mu"], cache_dict["var"]
    return gamma * (Z - mu) / np.sqrt(var + eps) + beta


def optim_adam(weights_dict, gradients_dict, cache_dict, step):
    """Oracle of :func:`voxkern.optim_adam`."""
    for name, grad in gradients_dict.items():
        v = 0.9 * cache_dict["v" + name] + (1 - 0.9) * grad
        s = 0.999 * cache_dict["s" + name] + (1 - 0.999) * grad**2
        cache_dict["v" + name], cache_dict["s" + name] = v, s
        v_hat, s_hat = v / (1 - 0.9**step), s / (1 - 0.999**step)
        weights_dict[name] = weights_dict[name] - 1e-3 * v_hat / np.sqrt(s_hat + 1e-8)
    return weights_dict, cache_dict


def video_flashinator(frames):
    """Oracle of :func:`voxkern.video_flashinator`."""
    gray = frames.mean(axis=-1, dtype=np.float64) if frames.ndim == 4 else frames.astype(float)
    luminance = 4 * (0.2 * gray + 1) ** 2.2
    table = np.zeros((len(frames) - 1, 1))
    for i in range(len(frames) - 1):
        change = (luminance[i + 1] - luminance[i]).ravel()
        rise = np.sort(np.maximum(change, 0))[-5:].mean()
        fall = np.sort(np.maximum(-change, 0))[-5:].mean()
        table[i] = rise if rise > fall else -fall
    return table
