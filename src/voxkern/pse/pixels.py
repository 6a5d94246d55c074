"""libav's pixel formats and colour numbers as planes and a Colour."""

import re
from typing import NamedTuple

import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from voxkern.pse.frames import Colour, Frame

# Numbers of ITU-T H.273.
UNKNOWN, FULL = (0, 2, 3), 2
MATRICES = {1: "bt709", 4: "bt601", 5: "bt601", 6: "bt601", 7: "bt709", 9: "bt2020"}
TRANSFERS = {8: "linear", 13: "srgb", 16: "pq", 18: "hlg"}  # the others are shown by BT.1886
PRIMARIES = {4: "bt601", 5: "bt601", 6: "bt601", 7: "bt601", 9: "bt2020", 22: "bt601"}
PRIMARIES |= {11: "bt2020", 12: "bt2020"}  # P3: within BT.2020, and its red is near that one's
TO_LIBAV = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709, "bt2020": Colorspace.BT2020}

PLANAR = re.compile(r"(gray|gbrp|yuvj?4(?:44|22|20)p)(10|12|16)?(?:le)?")
SUBSAMPLING = {(1, 1): 444, (2, 1): 422, (2, 2): 420}


class Layout(NamedTuple):
    """How a pixel format becomes the planes of a Frame."""

    kind: str
    bits: int
    through: str | None = None  # the format to convert to first
    alpha: bool = False


def layout(pixels):
    """The :class:`Layout` of a libav pixel format: as it is, or through the nearest that serves."""
    direct = PLANAR.fullmatch(pixels.name)
    if direct:
        kind = {"gray": "gray", "gbrp": "rgb"}.get(direct[1], "ycbcr")
        bits = int(direct[2] or 8)
        if kind != "ycbcr" or bits <= 12:
            return Layout(kind, bits)
    deep = max(part.bits for part in pixels.components)
    if pixels.has_palette or any(part.is_alpha for part in pixels.components):
        return Layout("rgb", 16, "gbrap16le", True) if deep > 8 else Layout("rgb", 8, "gbrap", True)
    if pixels.is_rgb or len(pixels.components) < 3:
        return Layout("rgb", 16, "gbrp16le") if deep > 8 else Layout("rgb", 8, "gbrp")
    steps = tuple(round(2400 / n(2400)) for n in (pixels.chroma_width, pixels.chroma_height))
    bits = 8 if deep <= 8 else 10 if deep <= 10 else 12
    name = f"yuv{SUBSAMPLING.get(steps, 444)}p{'' if bits == 8 else f'{bits}le'}"
    return Layout("ycbcr", bits, name)


def matrix_of(picture):
    """Name of a picture's Y'CbCr matrix; that of its size where the file does not say."""
    number = int(picture.colorspace)
    if number in MATRICES:
        return MATRICES[number]
    if number not in UNKNOWN:
        raise ValueError(
            f"its colour matrix is number {number} of H.273; BT.601, BT.709 and BT.2020 are read"
        )
    return "bt709" if picture.width >= 1280 or picture.height > 576 else "bt601"


def colour_of(picture, form):
    """The :class:`Colour` of a decoded picture whose planes have the layout `form`.

    What a file leaves unsaid is that of most players: narrow range and BT.709's transfer and
    primaries for Y'CbCr, sRGB for RGB and for the pictures of JPEG.
    """
    name = picture.format.name
    still = form.kind == "rgb" or name.startswith("yuvj")
    coded = form.kind == "ycbcr" or (name.startswith("yuv") and picture.colorspace)
    default = "srgb" if still and not name.startswith("yuva") else "bt709"
    transfer = int(picture.color_trc)
    return Colour(
        form.kind,
        form.bits,
        default if transfer in UNKNOWN else TRANSFERS.get(transfer, "bt709"),
        PRIMARIES.get(int(picture.color_primaries), "bt709"),
        matrix_of(picture) if coded else "bt709",
        form.kind == "rgb" or int(picture.color_range) == FULL or name.startswith("yuvj"),
    )


class Shaper:
    """Makes Frames of decoded pictures."""

    def __init__(self):
        self._reformatter = VideoReformatter()  # one for all: it keeps its tables
        self._known = None, None  # what says how the last picture is to be read, and how

    def __call__(self, picture, time):
        """The :class:`Frame` of a picture shown at `time` seconds."""
        form, colour = self._form(picture)
        if any(plane.line_size < 0 for plane in picture.planes):  # stored from the bottom up
            form, colour = Layout("rgb", 16, "gbrp16le"), Colour("rgb", 16, colour.transfer)
        if form.through:
            picture = self._through(picture, form, colour)
        if form.kind == "rgb":
            green, blue, red, *alpha = (plane_array(plane, form.bits) for plane in picture.planes)
            planes = red, green, blue
            if form.alpha:
                planes = tuple(over_black(plane, alpha[0]) for plane in planes)
        else:
            planes = tuple(plane_array(plane, form.bits) for plane in picture.planes)
        return Frame(time, planes, colour)

    def _form(self, picture):
        """The Layout and Colour of a picture."""
        said = (
            *(picture.format.name, picture.width, picture.height, picture.colorspace),
            *(picture.color_range, picture.color_primaries, picture.color_trc),
        )
        if said != self._known[0]:
            form = layout(picture.format)
            self._known = said, (form, colour_of(picture, form))
        return self._known[1]

    def _through(self, picture, form, colour):
        """The picture in a planar format; Y'CbCr stays in its matrix and range."""
        span = ColorRange.JPEG if colour.full_range else ColorRange.MPEG
        source = span
        if form.kind == "rgb" and not picture.format.is_rgb:
            source = ColorRange.JPEG if int(picture.color_range) == FULL else ColorRange.MPEG
        return self._reformatter.reformat(
            picture,
            format=form.through,
            src_colorspace=TO_LIBAV[colour.matrix],
            dst_colorspace=TO_LIBAV[colour.matrix],
            src_color_range=source,
            dst_color_range=span,
            threads=1,
        )


def plane_array(plane, bits):
    """A plane of libav's as a read-only array, no copy."""
    codes = np.frombuffer(plane, np.uint8 if bits == 8 else np.dtype("<u2"))
    array = codes.reshape(plane.height, -1)[:, : plane.width]
    array.setflags(write=False)  # the decoder may refer to it for other frames
    return array


def over_black(plane, alpha):
    """Codes laid over black by their share, as browsers do: in codes, not in light."""
    top = np.iinfo(plane.dtype).max
    return ((plane.astype(np.uint32) * alpha + top // 2) // top).astype(plane.dtype)
