"""Transitions of every pixel of a video, and their counts: what native's pse.h does, by pixels.

A thread has a pixel, whose state is bytes. What differs is decided as by the oracle, in float64:
there is no screen of 16 bits, for reading the state is what takes time.
"""

import numpy as np

from voxkern.kernels.cuda._cuda import THREADS, cuda, device, float64, launch, run
from voxkern.kernels.cuda._reduce import block_sum

LUMINANCE, RED, LEGACY_RED, RAMP = range(4)
ROSE, FELL = 1, 2  # directions of a transition, and bits of a step
TURNED, MANY = 1, 2  # bits of the ring: a transition, and one of a pixel that has made too many
MOST_LANES = 32
SUMS = 2 * MOST_LANES
# A step is told: slot of the ring, place of the frame, how many frames are before it and how many
# slots leave; then the places of the former, the latter, and the slots of the former but the last.
HEAD = 4


@device
def _luminance(table, row, red, green, blue):
    """Of three codes, whose tables have their weights: a sum has no product to be fused with."""
    return table[row, 0, red] + table[row, 1, green] + table[row, 2, blue]


@device
def _brightens(dark, bright, change, limit, factor):
    return bright >= (dark + change if dark < limit else dark * factor)


@device
def _product(numbers, lane, row, red, green, blue):
    """One of the rows of a lane's matrices times linear light."""
    at = 5 + 3 * row
    return numbers[lane, at] * red + numbers[lane, at + 1] * green + numbers[lane, at + 2] * blue


@device
def _hue(numbers, lane, legacy, red, green, blue):
    """Whether linear light is a saturated red, and u', v', or the amount of red and 0."""
    r = _product(numbers, lane, 0, red, green, blue)
    g = _product(numbers, lane, 1, red, green, blue)
    b = _product(numbers, lane, 2, red, green, blue)
    pure = r >= numbers[lane, 0] * (r + g + b)
    more = r - g - b
    if legacy:
        return pure and r > 0, more * 320 if more > 0 else 0.0, 0.0
    x = _product(numbers, lane, 3, red, green, blue)
    y = _product(numbers, lane, 4, red, green, blue)
    total = x + 15 * y + 3 * _product(numbers, lane, 5, red, green, blue)
    saturated = pure and more >= numbers[lane, 1]
    if total > 0:
        return saturated, 4 * x / total, 9 * y / total
    return saturated, numbers[lane, 3], numbers[lane, 4]


@device
def _reddens(table, numbers, lane, legacy, red, green, blue, red0, green0, blue0):
    """Bits of a step to a saturated red and of one that leaves it, from the codes with a 0."""
    is_red, u, v = _hue(
        numbers, lane, legacy, table[lane, 0, red], table[lane, 1, green], table[lane, 2, blue]
    )
    was_red, u0, v0 = _hue(
        numbers, lane, legacy, table[lane, 0, red0], table[lane, 1, green0], table[lane, 2, blue0]
    )
    far = numbers[lane, 2]
    steps = 0
    if legacy:
        if (is_red or was_red) and u - u0 > far:
            steps |= ROSE
        if (is_red or was_red) and u0 - u > far:
            steps |= FELL
    elif (u - u0) * (u - u0) + (v - v0) * (v - v0) > far * far:
        if is_red and (not was_red or u > u0):
            steps |= ROSE
        if was_red and (not is_red or u0 > u):
            steps |= FELL
    return steps


@device
def _lightens(table, numbers, lane, red, green, blue, red0, green0, blue0):
    """Bits of a step to a brighter state and of one to a darker, from the codes with a 0."""
    change, limit, factor = numbers[lane, 0], numbers[lane, 1], numbers[lane, 2]
    now = _luminance(table, lane, red, green, blue)
    before = _luminance(table, lane, red0, green0, blue0)
    if now > before and _brightens(before, now, change, limit, factor):
        return ROSE
    return FELL if before > now and _brightens(now, before, change, limit, factor) else 0


@device
def _steps(frames, at, table, kind, numbers, lane, pixel, ring):
    """Bits of a pixel's steps to this frame, from those that are not older than its last turn."""
    now, befores, planes = at[1], at[2], frames.shape[1]
    slots = HEAD + befores + at[3]
    red, green = frames[now, 0, pixel], frames[now, 1 % planes, pixel]  # of gray, all are one
    blue = frames[now, 2 % planes, pixel]
    steps = 0
    for k in range(befores):
        if k > 0 and ring[at[slots + k - 1], lane, pixel] & TURNED:
            break
        before = at[HEAD + k]
        red0, green0 = frames[before, 0, pixel], frames[before, 1 % planes, pixel]
        blue0 = frames[before, 2 % planes, pixel]
        if red == red0 and green == green0 and blue == blue0:
            continue
        if kind == LUMINANCE:
            steps |= _lightens(table, numbers, lane, red, green, blue, red0, green0, blue0)
        else:
            legacy = kind == LEGACY_RED
            steps |= _reddens(table, numbers, lane, legacy, red, green, blue, red0, green0, blue0)
    return steps


@device
def _ramp(frames, at, table, numbers, lane, pixel, direction, extreme, place):
    """The bit of a turn of a pixel's 16-bit luminance from its last extreme, however slow."""
    now, planes = at[1], frames.shape[1]
    red, green = frames[now, 0, pixel], frames[now, 1 % planes, pixel]
    light = int(_luminance(table, lane, red, green, frames[now, 2 % planes, pixel]))
    least, dark = numbers[lane, 0], numbers[lane, 1]
    last = extreme[place]
    if at[2] == 0 or (direction == ROSE and light > last) or (direction == FELL and light < last):
        last = light
    step = 0
    if direction != ROSE and light - last >= least and last < dark:
        step = ROSE
    elif direction != FELL and last - light >= least and light < dark:
        step = FELL
    extreme[place] = light if step else last
    return step


@cuda.jit
def _step(frames, at, table, kinds, numbers, width, ramps, direction, count, ring, extreme, out):
    lanes, pixels = direction.shape
    slot, befores, leaving = at[0], at[2], at[3]
    sums = cuda.shared.array(SUMS, np.int32)
    for i in range(cuda.threadIdx.x, 2 * lanes, cuda.blockDim.x):
        sums[i] = 0
    cuda.syncthreads()
    for pixel in range(cuda.grid(1), pixels, cuda.gridsize(1)):
        y = pixel // width
        for lane in range(lanes):
            kind, last, made = kinds[lane, 0], direction[lane, pixel], count[lane, pixel]
            if kind != RAMP:
                steps = _steps(frames, at, table, kind, numbers, lane, pixel, ring)
            elif y % ramps == 0:
                place = y // ramps * width + pixel - y * width
                own = extreme[kinds[lane, 2]]
                steps = _ramp(frames, at, table, numbers, lane, pixel, last, own, place)
            else:
                steps = 0
            for e in range(leaving):
                made -= ring[at[HEAD + befores + e], lane, pixel] & TURNED
            # A step in the direction of the last transition is one with it, unless that was more
            # than a second ago.
            turned = 0
            if steps & ROSE and not (last == ROSE and made > 0):
                turned = ROSE
            elif steps & FELL and not (last == FELL and made > 0):
                turned = FELL
            bits = 0
            if turned:
                bits = TURNED
                made += 1
                direction[lane, pixel] = turned
                cuda.atomic.add(sums, 2 * lane, 1)
                if made > kinds[lane, 1]:
                    bits = TURNED | MANY
                    cuda.atomic.add(sums, 2 * lane + 1, 1)
            count[lane, pixel] = made
            ring[slot, lane, pixel] = bits
    cuda.syncthreads()
    for i in range(cuda.threadIdx.x, 2 * lanes, cuda.blockDim.x):
        if sums[i] > 0:
            cuda.atomic.add(out, i, sums[i])


@device
def _turn(turn, fold):
    """The line or column of a cell of 1 << fold of them, far apart from one turn to the next."""
    return (turn & 1) * 2 + (turn >> 1 & 1) if fold == 2 else turn & fold


@cuda.jit
def _cells(plane, fold, width, out):
    for pixel in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        row = pixel // width
        column = pixel - row * width
        block, cell = column // 8, 1 << fold
        k = block % cell
        y = (row << fold) + _turn(row + k, fold)
        x = (column << fold) + _turn(row + (row >> fold) + 2 * k + block // cell, fold)
        out[pixel] = plane[y, x]


@cuda.jit
def _luminances(frame, table, width, across, down, out):
    shared = cuda.shared.array(THREADS, float64)
    planes, pixels = frame.shape
    columns, light = (width + across - 1) // across, cuda.blockIdx.x
    rows = (pixels // width + down - 1) // down
    total = 0.0
    for item in range(cuda.threadIdx.x, rows * columns, cuda.blockDim.x):
        pixel = item // columns * down * width + item % columns * across
        red, green = frame[0, pixel], frame[1 % planes, pixel]
        blue = frame[2 % planes, pixel]
        total += _luminance(table, light, red, green, blue)
    total = block_sum(total, shared)
    if cuda.threadIdx.x == 0:
        out[light] = total


@cuda.jit
def _gather(lane, slots, least, step, bit, width, count, ring, out):
    rows, octets = out.shape
    used = slots.size
    column, row = cuda.grid(2)
    columns, high = cuda.gridsize(2)
    for r in range(row, rows, high):
        for i in range(column, octets, columns):
            bits = 0
            for x in range(8 * i, 8 * i + 8):
                if x >= width:
                    break
                pixel = r * step * width + x
                for s in range(used):
                    if ring[slots[s], lane, pixel] & bit:
                        if count[lane, pixel] >= least:
                            bits |= 1 << (x - 8 * i)
                        break
            out[r, i] = bits


def step(frames, at, table, kinds, numbers, width, ramps, direction, count, ring, extreme, *, out):
    """Take a frame into the state; out, zeros, becomes the sums of a lane's bits of the ring.

    `frames` (places, planes, pixels) and `at` say which, see HEAD; `table` (lanes, 3, codes) is
    float64, `kinds` (lanes, 3) have the kind, the limit and the row of `extreme`, `numbers` are
    those of light.py. `direction` and `count` are (lanes, pixels), `ring` (slots, lanes, pixels),
    `extreme` (lanes of ramps, pixels of their rows).
    """
    arguments = frames, at, table, kinds, numbers, width, ramps, direction, count, ring, extreme
    launch(_step, direction.shape[1], *arguments, out=out)


def cells(plane, fold, width, *, out):
    """out = the cells of a plane, `width` in a row."""
    launch(_cells, out.size, plane, fold, width, out=out)


def luminance(frame, table, width, across, down, *, out):
    """out = sums by each light of every `across`-th pixel of every `down`-th row."""
    run(_luminances, out.size, THREADS, frame, table, width, across, down, out=out)


def gather(lane, slots, least, step, many, width, count, ring, *, out):
    """out, (rows, bytes), = bits of the pixels in any of the slots whose count is at least so much.

    Of those that turned, or of those that then had made too `many`; of every `step`-th row.
    """
    bit = MANY if many else TURNED
    launch(_gather, out.shape, lane, slots, least, step, bit, width, count, ring, out=out)
