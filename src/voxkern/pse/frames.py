"""What a frame is, and frames out of arrays and iterables."""

import os
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from voxkern import _check, _dispatch

DTYPES = ("uint8", "uint16", *_check.FLOATS)
ON_DEVICE = DTYPES[:2]
ARRAYS = "shape", "__array__", "__dlpack__", "__cuda_array_interface__"
KINDS = {"rgb": 3, "ycbcr": 3, "gray": 1}
TRANSFERS = ("srgb", "bt709", "pq", "hlg", "linear")
PRIMARIES = ("bt709", "bt601", "bt2020")
MATRICES = ("bt601", "bt709", "bt2020")


@dataclass(frozen=True)
class Colour:
    """How the codes of a frame become light.

    Attributes
    ----------
    kind : str
        ``"rgb"`` (planes R, G, B), ``"ycbcr"`` (Y, Cb, Cr) or ``"gray"`` (one plane).
    bits : int
        Of a code: 8, 10, 12 or 16.
    transfer : str
        ``"srgb"``, ``"bt709"`` (shown by BT.1886, exponent 2.4), ``"pq"``, ``"hlg"``, ``"linear"``.
    primaries : str
        ``"bt709"``, ``"bt601"`` (525 and 625 lines folded to one) or ``"bt2020"``.
    matrix : str
        Of Y'CbCr: ``"bt601"``, ``"bt709"`` or ``"bt2020"``.
    full_range : bool
    """

    kind: str
    bits: int = 8
    transfer: str = "srgb"
    primaries: str = "bt709"
    matrix: str = "bt709"
    full_range: bool = True

    def __post_init__(self):
        allowed = {
            "kind": tuple(KINDS),
            "bits": (8, 10, 12, 16),
            "transfer": TRANSFERS,
            "primaries": PRIMARIES,
            "matrix": MATRICES,
            "full_range": (True, False),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                options = ", ".join(map(str, values))
                raise ValueError(f"{name} is {getattr(self, name)!r}; it may be {options}")


class Frame(NamedTuple):
    """A picture and when it is shown.

    Attributes
    ----------
    time : float
        Of presentation, in seconds.
    planes : tuple of ndarray
        2-D uint8 or uint16 arrays of any strides; the last two of Y'CbCr may be subsampled 2x1
        or 2x2. On a CUDA device, what :func:`frame` makes of a picture.
    colour : Colour
    """

    time: float
    planes: tuple
    colour: Colour


class Clip:
    """Frames with what is known of where they come from; iterate once.

    Attributes
    ----------
    name : str
        Of the source, for the report.
    expected : int
        How many frames there should be; 0 where that is not known.
    complete : bool
        Whether iterating gave all there is; known at the end.
    problem : str
        Why it is not complete, else empty.
    end : float
        When the last frame ceases to be shown, in seconds; 0 where that is not known.
    threads : int or None
        Most threads that the analysis may use, where making the frames needs some as well.
    """

    threads = None

    def __init__(self, frames, name="", expected=0, end=0.0):
        self.frames, self.name, self.expected, self.end = frames, name, expected, end
        self.complete, self.problem = True, ""

    def __iter__(self):
        return iter(self.frames)


def clip(source, fps=None):
    """The :class:`Clip` (or :class:`voxkern.pse.video.Video`, which looks the same) of a source."""
    if isinstance(source, str | os.PathLike) or hasattr(source, "demux"):
        from voxkern.pse import video  # PyAV: for files alone

        return video.clip(source, fps)
    if isinstance(source, Clip):
        return source
    rate = None if fps is None else _rate(fps)
    if any(hasattr(source, name) for name in ARRAYS):
        stack = _stack(source)
        if rate is None:
            raise ValueError("fps is missing; frames of an array need their number per second")
        count = stack.shape[0]
        return Clip(_numbered(stack, rate), "array", count, count / rate)
    try:
        iter(source)
    except TypeError:
        raise TypeError(
            f"source is a {type(source).__name__}; it must be a path, an open PyAV container, "
            "an array (F, H, W, 3) or (F, H, W), or an iterable of frames"
        ) from None
    expected = len(source) if hasattr(source, "__len__") else 0
    return Clip(_timed(source, rate), type(source).__name__, expected)


def frame(time, picture, name="frame"):
    """A :class:`Frame` of one picture ``(H, W, 3)`` or ``(H, W)`` of sRGB codes.

    Whole range of uint8 or uint16; floats from 0 to 1 become 16-bit codes. On a CUDA device the
    planes are views of the picture, and floats are refused.
    """
    return _framed(time, _readable(picture, name), name)


def _readable(value, name):
    """An array of a picture or of several, where it lies."""
    if _dispatch.on_device(value):
        return _check.adopted(value, f"{name}, on a CUDA device,", ON_DEVICE)
    return _check.readable(value, name, DTYPES)


def _framed(time, picture, name):
    gray = picture.ndim == 2
    if not gray and (picture.ndim != 3 or picture.shape[2] != 3):
        raise ValueError(f"{name} has shape {picture.shape}; it must be (H, W, 3) or (H, W)")
    if 0 in picture.shape:
        raise ValueError(f"{name} has shape {picture.shape}; it must have pixels")
    codes = _codes(picture, name)
    planes = (codes,) if gray else tuple(_channel(codes, i) for i in range(3))
    bits = 8 * codes.dtype.itemsize
    return Frame(time, planes, Colour("gray" if gray else "rgb", bits))


def _channel(codes, index):
    place = slice(None), slice(None), index
    return codes.part(place) if _dispatch.adopted(codes) else codes[place]


def _codes(picture, name):
    """Codes of a picture: its own integers, or floats from 0 to 1 on the 16-bit grid."""
    if picture.dtype.kind == "u":
        return picture if picture.dtype.isnative else picture.astype(picture.dtype.newbyteorder())
    if not (np.min(picture) >= 0 and np.max(picture) <= 1):  # a NaN is neither
        raise ValueError(f"{name} has values that are not from 0 to 1, as floats must be")
    return np.rint(picture.astype(np.float64) * 65535).astype(np.uint16)


def _stack(source):
    stack = _readable(source, "source")
    if (stack.ndim == 3 and stack.shape[2] == 3) or stack.ndim not in (3, 4):
        raise ValueError(
            f"source has shape {stack.shape}; it must be (F, H, W, 3) or (F, H, W), W not 3"
        )
    if stack.ndim == 4 and stack.shape[3] != 3:
        raise ValueError(f"source has shape {stack.shape}; the last of four axes must be 3")
    return stack


def _rate(fps):
    rate = _check.number(fps, "fps")
    if not 0 < rate <= 10000:
        raise ValueError(f"fps is {fps!r}; it must be above 0 and at most 10000")
    return rate


def _numbered(pictures, rate):
    part = pictures.part if _dispatch.adopted(pictures) else pictures.__getitem__
    for index in range(pictures.shape[0]):
        yield _framed(index / rate, part(index), f"frame {index}")


def _timed(source, rate):
    """Frames of an iterable of pictures (by `rate`), of pairs of a time and one, or of Frames.

    Pictures are copied, for whoever makes them may use one array for all. On a device the watch
    copies what it needs.
    """
    for index, item in enumerate(source):
        name = f"frame {index}"
        if isinstance(item, Frame):
            yield item
        elif isinstance(item, tuple) and len(item) == 2:
            yield frame(_check.number(item[0], f"time of {name}"), _copied(item[1]), name)
        elif rate is None:
            raise ValueError("fps is missing; give it, or pairs of a time and a frame")
        else:
            yield frame(index / rate, _copied(item), name)


def _copied(picture):
    return picture if _dispatch.on_device(picture) else np.array(picture)
