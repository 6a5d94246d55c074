"""The oracles of the photosensitivity analysis: every pixel by itself, every pair of frames.

Light is relative: 1 is 200 cd/m2 in video and the brightest of a screen. Arrays are ``(F, H, W)``,
or ``(F, H, W, 3)`` for linear R, G, B; `times` are seconds.
"""

import numpy as np

STEP = 0.0655  # seconds: 66 ms, less what a container rounds away that counts milliseconds
ROUNDING = 1e-6  # seconds, of times


def luminance(rgb, weights, scale=1.0, exponent=1.0):
    """Luminance of linear R, G, B, summed in this order."""
    total = weights[0] * rgb[..., 0] + weights[1] * rgb[..., 1] + weights[2] * rgb[..., 2]
    return total if exponent == 1 else scale * total**exponent


def brighter(dark, change, limit, contrast):
    """How bright the brighter state of a transition from or to `dark` must be at least.

    `contrast` is Michelson's, for darker states from `limit` up; 0 where these are exempt.
    """
    above = dark * ((1 + contrast) / (1 - contrast)) if contrast else np.inf
    return np.where(dark < limit, dark + change, above)


def luminance_steps(light, change, limit, contrast):
    """A function of two frames: where luminance rises and where it falls enough between them."""

    def steps(before, now):
        up = light[now] >= brighter(light[before], change, limit, contrast)
        down = light[before] >= brighter(light[now], change, limit, contrast)
        return up, down

    return steps


def red_steps(rgb, rows, share, floor, distance):
    """A function of two frames: where the colour goes to saturated red and where it leaves it.

    `rows` are the matrix of BT.709's R, G, B, and X, Y, Z. Saturated is R / (R + G + B) >= share
    with R - G - B >= floor; a step is farther than `distance` in u', v', black being as white.
    """
    r, g, b = (m[0] * rgb[..., 0] + m[1] * rgb[..., 1] + m[2] * rgb[..., 2] for m in rows[0])
    x, y, z = (m[0] * rgb[..., 0] + m[1] * rgb[..., 1] + m[2] * rgb[..., 2] for m in rows[1])
    red = (r >= share * (r + g + b)) & (r - g - b >= floor)
    total = x + 15 * y + 3 * z
    black = total <= 0
    white = rows[1].sum(1) @ [1, 15, 3]
    safe = np.where(black, 1, total)
    u = np.where(black, 4 * rows[1][0].sum() / white, 4 * x / safe)
    v = np.where(black, 9 * rows[1][1].sum() / white, 9 * y / safe)

    def steps(before, now):
        far = (u[now] - u[before]) ** 2 + (v[now] - v[before]) ** 2 > distance**2
        redder = red[now] & (~red[before] | (u[now] > u[before]))
        paler = red[before] & (~red[now] | (u[before] > u[now]))
        return far & redder, far & paler

    return steps


def legacy_red_steps(rgb, rows, share, change):
    """As :func:`red_steps`, by WCAG 2.0: max(0, R - G - B) * 320 changes by more than `change`."""
    r, g, b = (m[0] * rgb[..., 0] + m[1] * rgb[..., 1] + m[2] * rgb[..., 2] for m in rows[0])
    red = (r >= share * (r + g + b)) & (r > 0)
    amount = np.maximum(0, r - g - b) * 320

    def steps(before, now):
        either = red[before] | red[now]
        rise = amount[now] - amount[before]
        return either & (rise > change), either & (-rise > change)

    return steps


def transitions(steps, times, shape):
    """Where a transition completes, ``(F, H, W)`` bool.

    A frame steps from the one before it, and from those of the last 66 ms that are not older than
    the pixel's last transition. Successive steps in one direction are one transition, if not a
    second lies between: no second depends on what was before it.
    """
    done = np.zeros((len(times), *shape), bool)
    direction = np.zeros(shape, int)
    last = np.zeros(shape, int)
    for now in range(1, len(times)):
        up, down = np.zeros(shape, bool), np.zeros(shape, bool)
        for before in range(now - 1, -1, -1):
            if before < now - 1 and times[now] - times[before] > STEP:
                break
            rises, falls = steps(before, now)
            up |= rises & (last <= before)
            down |= falls & (last <= before)
        old = times[now] - np.array(times)[last] > 1 - ROUNDING
        direction = np.where(old, 0, direction)
        turn = np.where(up & (direction < 1), 1, np.where(down & (direction > -1), -1, 0))
        done[now] = turn != 0
        direction = np.where(turn, turn, direction)
        last = np.where(turn, now, last)
    return done


def counts(done, times, seconds=1.0):
    """Transitions of every pixel in the `seconds` that end with each frame, ``(F, H, W)``."""
    result = np.zeros(done.shape, int)
    for now in range(len(times)):
        for before in range(now, -1, -1):
            if times[now] - times[before] > seconds - ROUNDING:
                break
            result[now] += done[before]
    return result


def too_many(done, times, limit, together):
    """Pixels of each frame that made more than `limit` transitions in a second, ``(F, H, W)`` bool.

    The second may have ended with any transition of the last `together` seconds: one that is over
    for the pixels that turned first still counts when others end theirs.
    """
    here = done & (counts(done, times) > limit)
    result = np.zeros(done.shape, bool)
    for now in range(len(times)):
        for before in range(now, -1, -1):
            if times[now] - times[before] > together:
                break
            result[now] |= here[before]
    return result


def largest_area(mask, window=None):
    """Most pixels of `mask` in any window (height, width), or in all of it."""
    if window is None:
        return int(mask.sum())
    height, width = min(window[0], mask.shape[0]), min(window[1], mask.shape[1])
    total = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), int)
    total[1:, 1:] = mask.cumsum(0).cumsum(1)
    top, bottom = total[:-height], total[height:]
    return int((bottom[:, width:] - bottom[:, :-width] - top[:, width:] + top[:, :-width]).max())


def turns(light, change, limit):
    """Where luminance has turned back by `change` since its last extreme, however slowly.

    The first frame counts as an extreme until the first turn. ``(F, H, W)`` bool.
    """
    done = np.zeros(light.shape, bool)
    extreme, direction = light[0].copy(), np.zeros(light.shape[1:], int)
    for now in range(1, len(light)):
        here = light[now]
        extreme = np.where(direction > 0, np.maximum(extreme, here), extreme)
        extreme = np.where(direction < 0, np.minimum(extreme, here), extreme)
        up = (direction < 1) & (here - extreme >= change) & (extreme < limit)
        down = (direction > -1) & (extreme - here >= change) & (here < limit)
        done[now] = up | down
        direction = np.where(up, 1, np.where(down, -1, direction))
        extreme = np.where(done[now], here, extreme)
    return done
