"""Bars along lines and regions of them, as :mod:`voxkern.pse.patterns` asks for them."""

import itertools

import numpy as np


def bars(picture, places, cells, starts, ends, upright, step, bright, few, *, bars, period):
    """Paint the lines of one direction; line i has samples starts[i] to starts[i + 1]."""
    for begin, end in itertools.pairwise(starts):
        values = picture[places[begin:end]]
        for count, length, first, last in runs(values, ends, upright, step, bright):
            if count >= few:
                for cell in cells[begin:end][first : last + 1]:
                    if cell >= 0 and count > bars[cell]:
                        bars[cell], period[cell] = count, length


def turns(values, step):
    """Indices of a line's extremes, between which it changes by `step` or more."""
    found, high, low, direction = [], 0, 0, 0
    for i in range(1, len(values)):
        high = i if values[i] > values[high] else high
        low = i if values[i] < values[low] else low
        if direction >= 0 and values[high] - values[i] >= step:
            found.append(high)
            direction, low = -1, i
        elif direction <= 0 and values[i] - values[low] >= step:
            found.append(low)
            direction, high = 1, i
    return found + [high if direction > 0 else low] * (direction != 0)


def edges(values, at):
    """Where the line crosses half the height between one extreme and the next."""
    found = []
    for a, b in itertools.pairwise(at):
        half = np.float32(0.5) * (values[a] + values[b])
        up = values[b] > values[a]
        i = next(i for i in range(a + 1, b + 1) if (values[i] >= half) == up or values[i] == half)
        found.append(i - 1 + (half - values[i - 1]) / (values[i] - values[i - 1]))
    return np.array(found, np.float32)


def runs(values, ends, upright, step, bright):
    """Bars in a row: how many, their period, and the samples of the first and the last."""
    at = turns(values, step)
    height, edge = values[at], edges(values, at)

    def visible(bar):
        return height[bar] < height[bar - 1 if bar else 1] or height[bar] > bright

    def goes_on(start, j):
        swing, before = abs(height[j + 1] - height[j]), abs(height[j] - height[j - 1])
        if max(swing, before) > 2.2 * min(swing, before) or not visible(j):
            return False
        if j - start < 3:
            return True
        now, last = edge[j] - edge[j - 2], edge[j - 1] - edge[j - 3]
        return abs(now - last) <= 0.25 * min(now, last) + 0.75

    def outer(at, way, at_end, room):
        bar = at if way < 0 else at + 1
        inner, like, twin = (abs(edge[at - n * way] - edge[at - (n + 1) * way]) for n in range(3))
        if inner < 0.8 * twin:
            return 0, 0
        if at_end and room <= 1.3 * like + 0.75 and visible(bar):
            return min(1, room / like), room
        level = abs(height[bar] - height[bar - 2 * way])
        same = level <= 0.25 * abs(height[bar] - height[bar - way])
        return 0, 0.5 * like if upright and same else 0

    found, first = [], 0
    while first < len(edge) - 1:
        last = first
        while last + 1 < len(edge) and goes_on(first, last + 1):
            last += 1
        if last - first >= 3:
            more, before = outer(first, -1, ends and first == 0, edge[first] + 0.5)
            at_end = ends and last == len(edge) - 1
            most, after = outer(last, 1, at_end, len(values) - 0.5 - edge[last])
            begin = max(0, int(np.ceil(edge[first] - before)))
            end = min(len(values) - 1, int(np.floor(edge[last] + after)))
            length = 2 * (edge[last] - edge[first]) / (last - first)
            found.append((last - first + more + most, length, begin, end))
        first = max(last, first + 1)
    return found


def repetition(picture, steps, period, cell, part, *, out):
    """For each direction (steps 0 and 0: circles) and cell how far the picture repeats itself."""
    height, width = picture.shape
    rows, columns = -(-height // cell), -(-width // cell)
    y, x = (cell * n.ravel() + cell // 2 for n in np.indices((rows, columns)))
    y, x = np.minimum(y, height - 1.0), np.minimum(x, width - 1.0)

    def change(step, length):
        down, across = step[0] * length, step[1] * length
        if not step.any():
            angle, dy, dx = 2 * np.pi / 1024 * length, y - height / 2, x - width / 2
            down = dx * np.sin(angle) + dy * (np.cos(angle) - 1)
            across = dx * (np.cos(angle) - 1) - dy * np.sin(angle)
        return np.abs(between(picture, y + down, x + across) - between(picture, y, x))

    for step, length, row in zip(steps, period, out):
        same = np.minimum(change(step, -length), change(step, length))
        other = change(step, -length / 2) + change(step, length / 2)
        row[...] = np.where(length > 0, 0.5 * part * other - same, 0)


def between(picture, y, x):
    """Values of a picture at places between its pixels; beyond the border those of the border."""
    y, x = (np.clip(n, 0, most - 1) for n, most in zip((y, x), picture.shape))
    v, u = y.astype(int), x.astype(int)
    below, right = (np.minimum(n + 1, most - 1) for n, most in zip((v, u), picture.shape))
    upper = picture[v, u] * (1 - x + u) + picture[v, right] * (x - u)
    lower = picture[below, u] * (1 - x + u) + picture[below, right] * (x - u)
    return upper * (1 - y + v) + lower * (y - v)


def regions(period, *, out):
    """Number the regions of joined cells in `out`, which is 0; how many there are."""
    count, (height, width) = 0, out.shape

    def joined(a, b):
        p, q = period[:, *a], period[:, *b]
        return bool(((p > 0) & (q > 0) & (p <= 1.25 * q) & (q <= 1.25 * p)).any())

    for seed in np.ndindex(height, width):
        if out[seed] or not joined(seed, seed):
            continue
        count += 1
        out[seed] = count
        stack = [seed]
        while stack:
            y, x = cell = stack.pop()
            for v in range(max(0, y - 1), min(height, y + 2)):
                for u in range(max(0, x - 1), min(width, x + 2)):
                    if not out[v, u] and joined(cell, (v, u)):
                        out[v, u] = count
                        stack.append((v, u))
    return count
