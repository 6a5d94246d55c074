"""The flash table: one pass over the frames gives the largest change of every cell of pixels.

Of the k cells that change most, every one has a change as large as the least of theirs: the k
largest changes are in those cells, and only their pixels are read again, by one block for each
pair of frames and sign.
"""

import functools
import math

import numpy as np

from voxkern.kernels.cuda._cuda import (
    BLOCKS,
    SIMULATED,
    THREADS,
    cuda,
    device,
    fetched,
    float64,
    launch,
    on_own_stream,
    run,
    send,
    span,
)

# A thread has the luminance of EACH pixels of the last frame in registers. The threads of a block
# are a tile, every CELLS-th of them a cell.
EACH, CELLS = 8, 2 if SIMULATED else 16
TILE, CELL = EACH * THREADS, EACH * THREADS // CELLS
# Pairs of frames whose maxima wait in shared memory, and those that a block walks through: it
# begins with one frame more.
WAITING, SEGMENT = 4, 32
# Bytes for the cells' maxima, and for the changes that are selected from; and for frames that
# come from the host together.
BYTES, CHUNK = 2**26, 2**27
MOST_BLOCKS = 2**20
BYTE_TABLE = 3 * 255 + 1  # entries of the largest table that is held in shared memory


def _table_reader(channels, per, small):
    """Luminance of pixel i of a run of `per`, whose elements fill `channels` words.

    A `small` table is `held` in shared memory.
    """
    bits = 32 // per
    mask = 2**bits - 1

    @device
    def luminance(words, frame, place, i, table, held):
        total = 0
        for c in range(channels):
            element = i * channels + c
            word = int(words[frame, place * channels + element // per])
            total += (word >> element % per * bits) & mask
        return held[total] if small else table[total]

    return luminance


def _power_reader(channels):
    """The same of floats, by a power of gray; `power` is the start of `Power` in flash.h."""

    @device
    def luminance(pixels, frame, place, i, power, held):
        knee, below, scale, slope, offset, exponent = power
        gray = float64(0)
        for c in range(channels):
            gray += float64(pixels[frame, place * channels + c])
        gray /= channels
        if not gray > knee:
            return below * gray
        base = slope * gray + offset
        return scale * base**exponent if base >= 0 else math.nan

    return luminance


@cuda.jit(device=True)
def _hold(table, held):
    for i in range(cuda.threadIdx.x, table.size, THREADS):
        held[i] = table[i]
    cuda.syncthreads()


@device
def _hold_nothing(curve, held):
    pass


@device
def _larger(a, b):
    """The larger of two; a NaN stays."""
    return b if b > a or b != b else a


@functools.cache
def _kernels(channels, per, small, floats):
    """Kernels for pixels of that many channels, `per` elements in a word."""
    luminance = _power_reader(channels) if floats else _table_reader(channels, per, small)
    hold, entries = (_hold, BYTE_TABLE) if small else (_hold_nothing, 1)
    places = EACH // per  # runs of `per` pixels that a thread has

    @cuda.jit
    def luminances(frames, curve, out):
        held = cuda.shared.array(entries, np.float64)
        hold(curve, held)
        runs = out.shape[1] // per
        for item in range(cuda.grid(1), out.shape[0] * runs, cuda.gridsize(1)):
            frame = item // runs
            place = item - frame * runs
            for i in range(per):
                out[frame, place * per + i] = luminance(frames, frame, place, i, curve, held)

    @cuda.jit
    def maxima(frames, before, first, pairs, runs, curve, most):
        """most[pair, sign, cell] of `pairs`, which begin with frame first + pair; -1 is `before`.

        A pixel is in the cell of its thread, modulo CELLS.
        """
        thread = cuda.threadIdx.x
        tops = cuda.shared.array((WAITING, 2, THREADS), np.float64)
        last = cuda.local.array(EACH, np.float64)
        held = cuda.shared.array(entries, np.float64)
        hold(curve, held)
        tiles = most.shape[2] // CELLS
        segments = (pairs + SEGMENT - 1) // SEGMENT
        for task in range(cuda.blockIdx.x, tiles * segments, cuda.gridDim.x):
            tile = task % tiles
            begin = task // tiles * SEGMENT
            end = begin + SEGMENT if begin + SEGMENT < pairs else pairs
            # Beyond the last run a thread sees its first again, or what it saw does not count.
            own = tile * places * THREADS + thread
            inside = own < runs
            own = own if inside else runs - 1
            for j in range(places):
                place = own + j * THREADS if own + j * THREADS < runs else own
                for i in range(per):
                    if first + begin < 0:
                        last[j * per + i] = luminance(before, 0, place, i, curve, held)
                    else:
                        last[j * per + i] = luminance(frames, first + begin, place, i, curve, held)
            for pair in range(begin, end):
                rise = fall = float64(0)
                strange = False
                for j in range(places):
                    place = own + j * THREADS if own + j * THREADS < runs else own
                    for i in range(per):
                        now = luminance(frames, first + pair + 1, place, i, curve, held)
                        change = now - last[j * per + i]
                        last[j * per + i] = now
                        rise = change if change > rise else rise
                        fall = change if change < fall else fall
                        strange |= change != change
                if strange:
                    rise = fall = float64(math.nan)
                waiting = (pair - begin) % WAITING
                tops[waiting, 0, thread] = rise if inside else 0
                tops[waiting, 1, thread] = -fall if inside else 0
                if waiting < WAITING - 1 and pair < end - 1:
                    continue
                cuda.syncthreads()
                for item in range(thread, (waiting + 1) * 2 * CELLS, THREADS):
                    cell = item % CELLS
                    row = item // CELLS
                    top = float64(0)
                    for other in range(cell, THREADS, CELLS):
                        top = _larger(top, tops[row // 2, row % 2, other])
                    most[pair - waiting + row // 2, row % 2, tile * CELLS + cell] = abs(top)
                cuda.syncthreads()

    @cuda.jit
    def means(
        frames, before, first, pairs, runs, k, curve, keys, picked, changes, change_keys, out
    ):
        """out[pair, sign] = the mean of the k largest changes; `keys` are the bits of `most`."""
        thread = cuda.threadIdx.x
        block = cuda.blockIdx.x
        held = cuda.shared.array(entries, np.float64)
        hold(curve, held)
        slots = changes.shape[1] - 1
        for task in range(block, 2 * pairs, cuda.gridDim.x):
            pair = task // 2
            sign = 1 - task % 2 * 2
            bound, count = _pick(keys[pair, task % 2], k, picked[block])
            for item in range(thread, count * CELL, THREADS):
                cell = picked[block, item // CELL]
                member = item % CELL
                i = member % per
                j = member // per % places
                other = cell % CELLS + member // EACH * CELLS
                place = (cell // CELLS * places + j) * THREADS + other
                change = float64(0)
                if place < runs:
                    change = luminance(frames, first + pair + 1, place, i, curve, held)
                    if first + pair < 0:
                        change -= luminance(before, 0, place, i, curve, held)
                    else:
                        change -= luminance(frames, first + pair, place, i, curve, held)
                changes[block, item] = abs(_larger(float64(0), sign * change))
            cuda.syncthreads()
            limit = _kth(change_keys[block], count * CELL, k)
            limit = limit if limit > bound else bound
            if thread == 0:
                change_keys[block, slots] = limit  # which makes a double of its bits
            cuda.syncthreads()
            total = _sum_above(changes[block], change_keys[block], count * CELL, limit, k)
            if thread == 0:
                out[pair, task % 2] = total / k

    return luminances, maxima, means


@cuda.jit(device=True)
def _pick(keys, k, picked):
    """A bound that k of all changes reach, and how many cells in `picked` have more."""
    tops = cuda.shared.array(THREADS, np.int64)
    counts = cuda.shared.array(THREADS, np.int32)
    bound = cuda.shared.array(1, np.int64)
    thread = cuda.threadIdx.x
    cells = keys.size
    top = np.int64(0)
    for cell in range(thread, cells, THREADS):
        if keys[cell] > top:
            top = keys[cell]
    tops[thread] = top
    if thread == 0:
        bound[0] = 0  # and stays so where k is above the number of threads
    cuda.syncthreads()
    rank = 0
    for other in range(THREADS):
        if tops[other] > top or (tops[other] == top and other < thread):
            rank += 1
    if rank == k - 1:
        bound[0] = top
    cuda.syncthreads()
    least = bound[0]
    count = 0
    for cell in range(thread, cells, THREADS):
        if keys[cell] > least:
            count += 1
    counts[thread] = count
    cuda.syncthreads()
    slot = count = 0
    for other in range(THREADS):
        if other == thread:
            slot = count
        count += counts[other]
    for cell in range(thread, cells, THREADS):
        if keys[cell] > least:
            picked[slot] = cell
            slot += 1
    cuda.syncthreads()
    return least, count


@cuda.jit(device=True)
def _kth(keys, size, k):
    """The k-th largest of the first `size` keys, digit by digit; 0 where there are fewer."""
    counts = cuda.shared.array((16, 16), np.int32)
    found = np.int64(0)
    if size < k:
        return found
    thread = cuda.threadIdx.x
    for i in range(thread, 256, THREADS):
        counts[i // 16, i % 16] = 0
    cuda.syncthreads()
    for digit in range(15, -1, -1):
        for i in range(thread, size, THREADS):
            upper = keys[i] >> 4 * digit
            if upper >> 4 == found:
                cuda.atomic.add(counts, (digit, upper & 15), 1)
        cuda.syncthreads()
        value = 15
        while counts[digit, value] < k:
            k -= counts[digit, value]
            value -= 1
        found = found * 16 + value
    return found


@cuda.jit(device=True)
def _sum_above(values, keys, size, limit, k):
    """For thread 0: the values above `limit`, and `limit`, the last value, for the rest of k."""
    totals = cuda.shared.array(THREADS, np.float64)
    counts = cuda.shared.array(THREADS, np.int32)
    thread = cuda.threadIdx.x
    total = float64(0)
    count = 0
    for i in range(thread, size, THREADS):
        if keys[i] > limit:
            total += values[i]
            count += 1
    totals[thread] = total
    counts[thread] = count
    cuda.syncthreads()
    if thread == 0:
        for other in range(1, THREADS):
            total += totals[other]
            count += counts[other]
        total += (k - count) * values[values.size - 1]
    return total


@cuda.jit
def _signed(means, done, pairs, out):
    """Rows of the means of rises and falls."""
    for pair in range(cuda.grid(1), pairs, cuda.gridsize(1)):
        rise = means[pair, 0]
        fall = means[pair, 1]
        out[done + pair, 0] = rise if rise > fall else -fall


def _laid_out(frames, before):
    """The arrays as words of several elements, where they can be, and the kernels for that."""
    pixels, channels = frames.shape[1:]
    floats = frames.dtype.kind == "f"
    addresses = [span(a.data)[0] for a in (frames, before)]
    whole = pixels * channels * frames.dtype.itemsize % 4 == 0
    per = 1
    if not floats and whole and not any(a % 4 for a in addresses):
        per = 4 // frames.dtype.itemsize
    arrays = [a.reshape(a.shape[0], pixels * channels) for a in (frames, before)]
    if per > 1:
        arrays = [a.view("u4") for a in arrays]
    return *arrays, per, _kernels(channels, per, frames.dtype.itemsize == 1, floats)


def luminance(frames, curve, *, out):
    """out[frame, pixel] of frames (frame, pixel, channel); `curve` as for `rows`."""
    words, _, per, (kernel, _, _) = _laid_out(frames, frames)
    blocks = -(-out.size // (per * THREADS))
    run(kernel, min(max(blocks, 1), BLOCKS), THREADS, words, curve, out=out)


def scratch(frames, k):
    """Memory for the rows of as many pairs of such frames as BYTES allow, at most all of these."""
    tiles = -(-frames.shape[1] // TILE)
    cells = tiles * CELLS
    pairs = min(frames.shape[0], max(1, BYTES // (16 * cells)))
    # Of k threads of `_pick`, all but one may have nothing but cells above the bound.
    picked = cells if k > THREADS else min(cells, max(1, (k - 1) * -(-cells // THREADS)))
    blocks = max(1, min(2 * pairs, BYTES // (8 * picked * CELL)))
    shapes = (pairs, 2, cells), (blocks, picked * CELL + 1), (pairs, 2)
    return frames.empty((blocks, picked), "i4"), *[frames.empty(shape, "f8") for shape in shapes]


def rows(frames, before, k, curve, scratch, *, out):
    """Rows of frames (frame, pixel, channel), the first beside `before` unless that is None.

    `curve` is a table on the device, of sums over the channels, or for floats the numbers
    (knee, below, scale, slope, offset, exponent) of a power.
    """
    picked, most, changes, averages = scratch
    keys, change_keys = most.view("i8"), changes.view("i8")
    runs, first = frames.shape[1], 0 if before is None else -1
    frames, before, per, (_, maxima, means) = _laid_out(frames, before or frames)
    runs //= per
    for done in range(0, out.shape[0], most.shape[0]):
        pairs = min(most.shape[0], out.shape[0] - done)
        numbers = done + first, pairs, runs
        grid = min(MOST_BLOCKS, most.shape[2] // CELLS * -(-pairs // SEGMENT))
        run(maxima, grid, THREADS, frames, before, *numbers, curve, out=most)
        arrays = keys, picked, changes, change_keys
        grid = min(changes.shape[0], 2 * pairs)
        run(means, grid, THREADS, frames, before, *numbers, k, curve, *arrays, out=averages)
        launch(_signed, pairs, averages, done, pairs, out=out)


class HostFrames:
    """Rows of a stream of frames on the host: chunks are copied while others are computed.

    Each of two CUDA streams copies a chunk, after the frame before it, and computes that. Copies
    from pinned memory go on while the host hands out the next; others wait for their copy alone.
    """

    def __init__(self, frame, k, make_curve):
        self.k, self.last = k, None
        chunk = max(1, CHUNK // frame.nbytes)
        self.lanes = []
        for _ in range(2):
            buffer = on_own_stream((chunk + 1, *frame.shape), frame.dtype)
            self.lanes.append((buffer, make_curve(buffer), scratch(buffer, k)))

    def rows(self, frames, pixels):
        """Rows of `frames`; ``pixels(some)`` is contiguous (frame, pixel, channel) of some."""
        last, begin = (pixels(frames[:1])[0], 1) if self.last is None else (self.last, 0)
        results = []
        for at in range(begin, len(frames), self.lanes[0][0].shape[0] - 1):
            buffer, curve, memory = self.lanes[len(results) % 2]
            some = pixels(frames[at : at + buffer.shape[0] - 1])
            send(last, buffer.part(0))
            send(some, buffer.part(slice(1, len(some) + 1)))
            results.append(buffer.empty((len(some), 1), "f8"))
            rows(buffer, None, self.k, curve, memory, out=results[-1])
            last = some[-1]
        found = [fetched(result) for result in results]
        self.last = last.copy()
        return np.concatenate([np.empty((0, 1)), *found])
