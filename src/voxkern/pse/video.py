"""Frames of a video file as the decoder leaves them: its own planes, their colour, their time.

Y'CbCr of 8, 10 or 12 bits in 4:4:4, 4:2:2 or 4:2:0, planar RGB and gray are neither converted nor
copied. What has no such form (palettes, packed or big-endian samples, odd depths or subsamplings)
goes through libav's converter to the nearest that has, and what has an alpha channel is laid over
black. An interlaced frame gives one for each of its fields: a flash from field to field is one.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path

import av
import numpy as np

from voxkern import _threads
from voxkern import video as files
from voxkern.pse.colour import spread
from voxkern.pse.frames import Colour, Frame, _rate
from voxkern.pse.pixels import Shaper, over_black

# Frames are decoded, shaped and analysed by batches: each of these finds its code and state in the
# cache then, out of which decoding drives all else.
BATCH, BATCH_BYTES = 16, 64 << 20  # frames of a batch: at most so many, and so large
MOST_THREADS = 8  # of a decoder: each holds frames, and eight make more than one analysis takes
MAX_PIXELS = 1 << 27  # 15360x8640 fits; libav refuses a larger picture before it allocates it
BOTTOM_FIRST = 3, 5  # libav's field orders BB and BT: the bottom field is shown first
INSTANT = 1e-6  # seconds between frames that a file shows at one time
JUMP = 0.1  # seconds: a time further back than this starts a new count, as in joined recordings
SHORT = 0.5  # seconds that may be missing from the declared length


def clip(source, fps=None):
    """The :class:`Video` of a path or of an open PyAV container."""
    return Video(source, fps)


class Video:
    """A video file or an open container; iterating gives each :class:`Frame`, on a thread ahead.

    Where the file is damaged, iterating goes on with what can be decoded, as a player would, and
    `complete` and `problem` say so at the end. Memory does not grow with the length. A path may be
    iterated again, a container once.

    Parameters
    ----------
    source : str, path or av.container.InputContainer
    fps : float, optional
        Frames a second to go by instead of the file's times.

    Attributes
    ----------
    name : str
        Of the file, without its folders.
    width, height : int
        As shown: turned where the file says so, once a frame was read.
    expected : int
        Frames by the file's own account, 0 where it gives none.
    complete : bool
        Whether all frames were decoded, known at the end.
    problem : str
        Why not, else empty.
    end : float
        When the last frame ceases to be shown, in seconds, known at the end.
    threads : int
        Most threads that the analysis may use beside the decoder.

    Raises
    ------
    ValueError
        From the constructor, where a file is missing, empty, not a video or too large; while
        iterating, where not one frame can be decoded or its colour is not understood.
    """

    def __init__(self, source, fps=None):
        self._rate = None if fps is None else _rate(fps)
        self._path = None if hasattr(source, "demux") else Path(source)
        self._container = source if self._path is None else files.open_container(self._path)
        self.name = Path(self._path or source.name).name
        try:
            self._stream = files.picture_stream(self._container, self._path or self.name)
            self.width, self.height = self._stream.width, self._stream.height
            if self.width * self.height > MAX_PIXELS:
                raise ValueError(
                    f"{self._path or self.name} is {self.width}x{self.height}; a frame may have "
                    f"{MAX_PIXELS} pixels at most"
                )
        except ValueError:
            self.close()
            raise
        self._length = files.declared_seconds(self._container, self._stream)
        nominal = float(self._stream.average_rate or self._stream.guessed_rate or 25)
        self._step = 1 / (self._rate or nominal)
        self.expected = self._stream.frames or round(self._length * nominal)
        self._batch = min(BATCH, max(1, BATCH_BYTES // max(1, self._bytes())))
        self._begin()

    def _bytes(self):
        """Of a decoded frame, by what the file says of it."""
        pixels = self._stream.codec_context.format
        if pixels is None:
            return 3 * self.width * self.height
        return sum(c.width * c.height * (1 + (c.bits > 8)) for c in pixels.components)

    def _begin(self):
        self.complete, self.problem, self.end = True, "", 0.0
        # The decoder has as many as the analysis could: where both ask for all cores, threads of
        # the one wait for those of the other at every barrier: four times as long on two cores.
        self.threads = max(1, _threads.get_num_threads() // 2)
        self._faults, self._decoded = [], 0

    def close(self):
        """Close the file; an open container stays its owner's to close."""
        if self._path and self._container:
            self._container.close()
        self._container = None

    def __iter__(self):
        if self._container is None:
            if self._path is None:
                raise ValueError(f"source {self.name} is an open container; it can be read once")
            self._container = files.open_container(self._path)
            self._stream = files.picture_stream(self._container, self._path)
            self._begin()
        try:
            with closing(self._frames()) as frames:
                for batch in ahead(batches(frames, self._batch)):
                    yield from drained(batch)
        finally:
            self.close()

    def _frames(self):
        """Frames of one size and colour."""
        form = None
        for frame, duration in self._pictures():
            this = [plane.shape for plane in frame.planes], frame.colour
            if form is None:
                form, (self.height, self.width) = this, this[0][0]
            elif this != form:
                self._fault(f"{change(form, this)} at {frame.time:.2f} s; the rest was not read")
                break
            self.end = frame.time + duration
            yield frame
        if form is None:
            why = ": all are damaged, too large or in a coding that this PyAV lacks"
            raise ValueError(
                f"{self._path or self.name} has no video frames{why if self._faults else ''}"
            )
        self._conclude()

    def _pictures(self):
        """Frames and for how many seconds each is shown."""
        if self._container.format.name == "webp_pipe":
            try:
                for item in webp(self._path or Path(self._container.name.removeprefix("file:"))):
                    self._decoded += 1
                    yield item
            except av.InvalidDataError:
                self._faults.append(self.end)
            return
        shape = Shaper()
        for batch in batches(self._timed(self._decode()), self._batch):
            for picture, time, duration in drained(batch):
                try:
                    frame = shape(picture, time)
                except ValueError as error:
                    raise ValueError(f"{self._path or self.name}: {error}") from None
                yield from self._shown(picture, frame, duration)

    def _shown(self, picture, frame, duration):
        """A picture's frame as it is shown, or its two fields; for how many seconds."""
        turns = round((picture.rotation or 0) / 90) % 4
        if not picture.interlaced_frame:
            yield turned(frame, turns), duration
            return
        top_first = self._stream.codec_context.field_order not in BOTTOM_FIRST
        for field, part in fields(frame, duration, top_first):
            yield turned(field, turns), part

    def _decode(self):
        """What libav decodes; where it fails is noted."""
        self._stream.thread_type = "AUTO"
        context = self._stream.codec_context
        if not context.is_open:
            context.thread_count = decoder_threads()
            context.options = {"max_pixels": str(MAX_PIXELS)}
        packets, reach = self._container.demux(), 0.0
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
            except av.FFmpegError:
                self._faults.append(reach)
                break
            if packet.pts is not None:
                end = packet.pts + (packet.duration or 0)
                reach = max(reach, end * float(packet.time_base))
            if packet.stream is not self._stream:
                continue
            try:
                pictures = packet.decode()
                bad = packet.is_corrupt or any(picture.is_corrupt for picture in pictures)
            except av.FFmpegError:
                pictures, bad = [], True
            if bad:
                self._faults.append(reach)
            self._decoded += len(pictures)
            yield from pictures
        # A cut Matroska file ends without a word; only its declared length tells.
        reach -= (self._container.start_time or 0) / av.time_base
        if not self._faults and reach < self._length - SHORT:
            self._fault(f"ends at {reach:.2f} s of the {self._length:.2f} s that it declares")

    def _timed(self, pictures):
        """Pictures, when they are shown and for how long, in seconds; times only go forward."""
        begin = (self._container.start_time or 0) / av.time_base
        last, step = None, 0.0
        for index, picture in enumerate(pictures):
            if self._rate:
                time = index / self._rate
            elif picture.time is None:
                time = 0.0 if last is None else last + step
            else:
                time = picture.time - begin
                if last is not None and time < last - JUMP:
                    begin += time - last - step
                    time = last + step
                elif last is not None:
                    time = max(time, last + INSTANT)
            step = self._step
            if picture.duration and picture.time_base and not self._rate:
                step = picture.duration * float(picture.time_base)
            last = time
            yield picture, time, step

    def _fault(self, text):
        self.complete = False
        self.problem = f"{self.problem}; {text}" if self.problem else text

    def _conclude(self):
        """Say where decoding failed."""
        if self._faults:
            more = len(self._faults) - 1
            places = f" and {more} more place{'s' * (more > 1)}" if more else ""
            expected = f" of about {self.expected}" if self.expected else ""
            self._fault(
                f"truncated or damaged at {self._faults[0]:.2f} s{places}: "
                f"{self._decoded}{expected} frames could be decoded"
            )


def decoder_threads():
    """Threads of libav's: more than cores, for one waits for rows of the frame before its own."""
    cores = _threads.get_num_threads()
    return min(MOST_THREADS, 2 * cores + 1) if cores > 1 else 1


def ahead(items):
    """The items of a generator, each made on a thread of its own while the one before is in use."""
    with ThreadPoolExecutor(1, "voxkern-decoder") as pool:
        coming = pool.submit(next, items, None)
        try:
            while (item := coming.result()) is not None:
                coming = pool.submit(next, items, None)
                yield item
        finally:
            pool.shutdown(cancel_futures=True)


def batches(items, size):
    """Lists of the items of a generator, each of so many but the last."""
    while batch := list(islice(items, size)):
        yield batch


def drained(batch):
    """The items of a list, none of which is kept: the decoder can write to their memory again."""
    batch.reverse()
    while batch:
        yield batch.pop()


def change(old, new):
    """How the shapes and colour of a frame differ from those before it."""
    if old[0][0] != new[0][0]:
        height, width = new[0][0]
        return f"changes its frame size to {width}x{height}"
    return "changes its colour coding"


def turned(frame, turns):
    """A frame turned by quarters, anticlockwise."""
    if not turns:
        return frame
    planes = frame.planes
    if turns % 2 and planes[-1].shape[0] == planes[0].shape[0]:  # 4:2:2 would become 1x2
        planes = tuple(spread(plane, planes[0].shape) for plane in planes)
    return frame._replace(planes=tuple(np.rot90(plane, turns) for plane in planes))


def fields(frame, duration, top_first):
    """The two fields of an interlaced frame, each a whole frame shown for half of the time.

    The lines between are the mean of their neighbours, as on a display that shows fields: one that
    weaves or follows motion would turn a flash from every field to the next into stripes.
    """
    for half, parity in enumerate((0, 1) if top_first else (1, 0)):
        planes = tuple(interpolated(plane, parity) for plane in frame.planes)
        yield frame._replace(time=frame.time + half * duration / 2, planes=planes), duration / 2


def interpolated(plane, parity):
    """A plane with every second line, from `parity` on, and means between them."""
    whole = plane.copy()
    lines, between = plane[parity::2], whole[1 - parity :: 2]
    if len(lines):
        first = np.arange(len(between)) - parity
        above, below = (lines.take(first + n, axis=0, mode="clip") for n in (0, 1))
        between[:] = (above >> 1) + (below >> 1) + (above & below & 1)  # no wider type is needed
    return whole


def webp(path):
    """Frames and durations of a WebP picture, still or moving; libav reads still ones alone."""
    try:
        from PIL import Image, ImageSequence
    except ModuleNotFoundError:
        raise ValueError(f"{path} is WebP, which needs Pillow: pip install pillow") from None
    time = 0.0
    try:
        with Image.open(path, formats=["WEBP"]) as picture:
            for shown in ImageSequence.Iterator(picture):
                codes = np.asarray(shown.convert("RGBA"))
                duration = shown.info.get("duration", 0) / 1000 or 0.1
                planes = tuple(over_black(codes[..., i], codes[..., 3]) for i in range(3))
                yield Frame(time, planes, Colour("rgb")), duration
                time += duration
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise av.InvalidDataError(0, str(error)) from error
