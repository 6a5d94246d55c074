"""Frames of files: the decoder's own planes, light in cd/m2, times, and files that are no good."""

import os
import random
import struct
import threading
import time as clock
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from voxkern.pse import colour
from voxkern.pse.frames import Colour, Frame

av = pytest.importorskip("av")

from voxkern.pse import video  # noqa: E402

REAL = Path(__file__).parents[2] / "shared/data/real"
THOROUGH = bool(os.environ.get("HYPOTHESIS_PROFILE"))
CORRUPTIONS = 500 if THOROUGH else 60
# H.273's numbers: primaries, transfer, matrix.
CODED = {"bt709": (1, 1, 1), "bt601": (5, 6, 5), "bt2020": (9, 14, 9), "pq": (9, 16, 9)}
CODED |= {"hlg": (9, 18, 9)}
DTYPES = {8: np.uint8, 10: np.dtype("<u2"), 12: np.dtype("<u2"), 16: np.dtype("<u2")}


def picture(pixels, planes, index=0):
    """A libav picture of a planar format that holds `planes`."""
    height, width = planes[0].shape
    shown = av.VideoFrame(width, height, pixels)
    for plane, codes in zip(shown.planes, planes):
        lines = np.frombuffer(plane, codes.dtype).reshape(plane.height, -1)
        lines[:, : plane.width] = codes
    shown.pts = index
    return shown


def write(path, pictures, codec="ffv1", rate=25, tags=(2, 2, 2), full=None, turn=0, **options):
    """Encode pictures; lossless unless told otherwise."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = pictures[0].width, pictures[0].height
        stream.pix_fmt = pictures[0].format.name
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = tags
        context.color_range = 0 if full is None else 1 + full
        if turn:
            stream.set_display_rotation(turn)
        for shown in pictures:
            container.mux(stream.encode(shown))
        container.mux(stream.encode())
    return path


def solid(values, pixels="yuv420p", shape=(32, 48), count=1):
    """Pictures of one colour each."""
    steps = {"420": (2, 2), "422": (1, 2), "444": (1, 1)}[pixels[3:6]]
    small = tuple(n // s for n, s in zip(shape, steps))
    return [
        picture(pixels, [np.full(s, v, np.uint8) for s, v in zip((shape, small, small), value)], i)
        for i, value in enumerate(values * count)
    ]


def read(path, fps=None):
    """The clip and its frames, planes copied: the decoder uses its buffers again."""
    opened = video.clip(path, fps)
    return opened, [f._replace(planes=tuple(p.copy() for p in f.planes)) for f in opened]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", list(CODED))
@pytest.mark.parametrize("sampling", ["420", "422", "444"])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_planes_are_those_of_the_file(tmp_path, bits, sampling, name, full):
    rng = np.random.default_rng(bits)
    height, width = 34, 46
    rows, columns = (2 if sampling == "420" else 1), (1 if sampling == "444" else 2)
    shapes = [(height, width), *[(height // rows, width // columns)] * 2]
    planes = [rng.integers(0, 1 << bits, s).astype(DTYPES[bits]) for s in shapes]
    pixels = f"yuv{sampling}p" + ("" if bits == 8 else f"{bits}le")
    path = write(tmp_path / "a.mkv", [picture(pixels, planes)], tags=CODED[name], full=full)
    opened, (frame,) = read(path)
    for got, want in zip(frame.planes, planes):
        np.testing.assert_array_equal(got, want)
    space = name if name in ("bt709", "bt601") else "bt2020"
    transfer = name if name in ("pq", "hlg") else "bt709"
    assert frame.colour == Colour("ycbcr", bits, transfer, space, space, full)
    assert (opened.width, opened.height, opened.complete) == (width, height, True)


LEVELS = [  # transfer, 10-bit code, cd/m2: BT.1702-3, BT.2408-7 (38 %, 58 %, 75 % of the signal)
    ("bt709", 64, 0),
    ("bt709", 400, 20.1),
    ("bt709", 863, 160.4),
    ("bt709", 940, 200),
    ("pq", 397, 26),
    ("pq", 572, 203),
    ("pq", 940, 10000),
    ("hlg", 397, 26),
    ("hlg", 721, 203),
    ("hlg", 940, 1000),
]


@pytest.mark.parametrize(("name", "code", "candela"), LEVELS)
@pytest.mark.parametrize("codec", ["ffv1", "libx264", "libx265"])
def test_grays_have_the_light_that_the_standards_print(tmp_path, codec, name, code, candela):
    planes = [np.full((64, 64), value, "<u2") for value in (code, 512, 512)]
    options = {"libx264": {"qp": "0"}, "libx265": {"x265-params": "lossless=1:log-level=none"}}
    path = write(
        tmp_path / "a.mkv",
        [picture("yuv444p10le", planes)],
        codec,
        tags=CODED[name],
        full=False,
        **options.get(codec, {}),
    )
    frame = next(iter(video.clip(path)))
    np.testing.assert_allclose(200 * colour.luminance(frame), candela, rtol=0.015, atol=0.01)


COLOURS = np.array([[235, 30, 20], [40, 220, 60], [30, 50, 240], [128, 128, 128], [255, 255, 255]])
FORMATS = {  # codec, container and how far a code may be off, for libav's own conversions
    "gbrp": ("utvideo", "avi", 0),
    "gbrp10le": ("ffv1", "mkv", 1),
    "gbrp12le": ("ffv1", "mkv", 1),
    "gbrp16le": ("ffv1", "mkv", 1),
    "bgr0": ("ffv1", "mkv", 0),
    "bgra": ("ffv1", "mkv", 0),
    "rgb24": ("png", "mov", 0),
    "gbrap16le": ("ffv1", "mkv", 1),
    "rgb48be": ("png", "mov", 1),
    "rgba64be": ("png", "mov", 1),
    "pal8": ("png", "mov", 0),
    "yuv410p": ("ffv1", "mkv", 3),
    "yuv411p": ("ffv1", "mkv", 3),
    "yuv440p": ("ffv1", "mkv", 3),
    "yuv420p9le": ("ffv1", "mkv", 3),
    "yuv422p14le": ("ffv1", "mkv", 3),
    "yuv444p16le": ("ffv1", "mkv", 3),
    "yuva444p": ("ffv1", "mkv", 3),
    "yuva420p10le": ("ffv1", "mkv", 3),
    "yuyv422": ("rawvideo", "nut", 4),
    "uyvy422": ("rawvideo", "nut", 4),
    "nv12": ("rawvideo", "nut", 4),
    "yuv420p10be": ("rawvideo", "nut", 4),
}


@pytest.mark.parametrize("pixels", list(FORMATS))
def test_every_pixel_format_becomes_the_same_colours(tmp_path, pixels):
    codec, container, off = FORMATS[pixels]
    codes = np.repeat(np.repeat(COLOURS[None].astype(np.uint8), 32, 0), 16, 1)
    if pixels == "pal8":
        table = np.zeros((256, 4), np.uint8)
        table[: len(COLOURS)] = np.insert(COLOURS, 0, 255, axis=1)  # alpha, red, green, blue
        indices = np.repeat(np.arange(len(COLOURS), dtype=np.uint8), 16)[None].repeat(32, 0)
        shown = av.VideoFrame.from_ndarray((indices, table), format="pal8")
    else:
        shown = av.VideoFrame.from_ndarray(codes, format="rgb24")
        # NUT keeps no matrix, and small pictures are taken to be BT.601.
        matrix = "ITU601" if container == "nut" else "ITU709"
        shown = shown.reformat(format=pixels, dst_colorspace=matrix)
    tags = (2, 2, 2) if container == "nut" else (1, 1, 1 if "yuv" in pixels else 0)
    path = write(tmp_path / f"a.{container}", [shown], codec, tags=tags)
    with av.open(str(path)) as opened:
        assert opened.streams.video[0].pix_fmt == pixels
    _, (frame,) = read(path)
    got = colour.preview(frame)[16, 8::16].astype(int)
    np.testing.assert_allclose(got, COLOURS, atol=off)
    coded = pixels in ("nv12", "yuyv422", "uyvy422") or pixels.startswith("yuv4")
    assert frame.colour.kind == ("ycbcr" if coded else "rgb")


@pytest.mark.parametrize(("pixels", "bits"), [("gray", 8), ("gray10le", 10), ("gray16le", 16)])
def test_gray_has_one_plane(tmp_path, pixels, bits):
    codes = np.linspace(0, (1 << bits) - 1, 32 * 48).astype(DTYPES[bits]).reshape(32, 48)
    path = write(tmp_path / "a.mkv", [picture(pixels, [codes])], full=True)
    _, (frame,) = read(path)
    assert (frame.colour.kind, frame.colour.bits, frame.colour.full_range) == ("gray", bits, True)
    np.testing.assert_array_equal(frame.planes[0], codes)


def test_what_a_file_leaves_unsaid_is_guessed_as_players_do(tmp_path):
    small, large = (solid([(90, 110, 150)], shape=shape) for shape in ((480, 640), (720, 1280)))
    for pictures, matrix in (small, "bt601"), (large, "bt709"):
        _, (frame,) = read(write(tmp_path / "a.mkv", pictures))
        assert frame.colour == Colour("ycbcr", 8, "bt709", "bt709", matrix, False)


def test_jpeg_is_full_range_and_srgb(tmp_path):
    shown = solid([(200, 128, 128)])[0].reformat(
        format="yuvj420p", src_color_range="JPEG", dst_color_range="JPEG"
    )
    _, (frame,) = read(write(tmp_path / "a.avi", [shown], "mjpeg"))
    assert frame.colour == Colour("ycbcr", 8, "srgb", "bt709", "bt601", True)


def test_an_unknown_matrix_is_an_error(tmp_path):
    path = write(tmp_path / "a.mkv", solid([(90, 110, 150)]), tags=(9, 14, 10))
    with pytest.raises(ValueError, match="colour matrix is number 10"):
        read(path)


@pytest.mark.parametrize("name", ["a.gif", "a.apng", "a.webp"])
def test_animations_have_their_delays_and_lie_over_black(tmp_path, name):
    if name == "a.webp":
        pytest.importorskip("PIL")
    codec = {"a.gif": "gif", "a.apng": "apng", "a.webp": "libwebp_anim"}[name]
    options = {"a.webp": {"lossless": "1"}}.get(name, {})
    pictures = []
    for index, when in enumerate((0, 10, 40, 45)):
        codes = np.full((24, 32, 4), 255 * (index % 2), np.uint8)
        codes[:, 16:, 3] = 255 if name == "a.gif" else 51
        codes[:, :16, 3] = 255
        shown = av.VideoFrame.from_ndarray(codes, format="rgba")
        if name == "a.gif":
            shown = shown.reformat(format="gray")
        elif name == "a.webp":
            shown = shown.reformat(format="bgra")
        shown.pts = when
        pictures.append(shown)
    opened, frames = read(write(tmp_path / name, pictures, codec, rate=100, **options))
    times = [frame.time for frame in frames]
    np.testing.assert_allclose(times, [0, 0.1, 0.4, 0.45], atol=1e-9)
    assert opened.end > 0.45
    for index, frame in enumerate(frames):
        assert frame.colour == Colour("rgb")
        for plane in frame.planes:
            assert np.ptp(plane[:, :16]) == np.ptp(plane[:, 16:]) == 0
            white = 255 * (index % 2)
            assert (plane[0, 0], plane[0, 31]) == (white, white if name == "a.gif" else white // 5)


def test_times_of_a_variable_rate_are_kept(tmp_path):
    when = [0, 40, 80, 200, 210, 1000]
    pictures = solid([(60, 128, 128)], count=6)
    for shown, pts in zip(pictures, when):
        shown.pts = pts
    _, frames = read(write(tmp_path / "a.mkv", pictures, rate=1000))
    np.testing.assert_allclose([frame.time for frame in frames], np.array(when) / 1000)
    _, frames = read(tmp_path / "a.mkv", fps=50)
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(6) / 50)


def test_a_stream_without_times_goes_by_its_rate(tmp_path):
    pictures = solid([(60, 128, 128), (160, 128, 128)], count=6)
    path = write(tmp_path / "a.h264", pictures, "libx264", rate=30)
    opened, frames = read(path)
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(12) / 30, atol=1e-6)
    assert opened.end == pytest.approx(12 / 30, abs=1e-6)


def test_joined_recordings_go_on_where_the_first_ended(tmp_path):
    parts = [
        write(
            tmp_path / f"{i}.ts", solid([(60 * i, 128, 128)], count=25), "mpeg2video"
        ).read_bytes()
        for i in (1, 2)
    ]
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    _, frames = read(tmp_path / "both.ts")
    times = np.array([frame.time for frame in frames])
    assert len(times) >= 49
    assert (np.diff(times) > 0).all()
    assert times[-1] == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize(
    ("times", "want"),
    [
        ([0, 0.1, 0.1, 0.2], [0, 0.1, 0.100001, 0.2]),
        ([0, 0.1, 0.05, 0.2], [0, 0.1, 0.100001, 0.2]),
        ([5, 5.1, 0, 0.1], [0, 0.1, 0.2, 0.3]),
        ([None, None, None], [0, 0.1, 0.2]),
        ([0, None, 0.2], [0, 0.1, 0.2]),
    ],
)
def test_times_only_go_forward(times, want):
    clip = SimpleNamespace(_rate=None, _step=0.1, _container=SimpleNamespace(start_time=None))
    start = 0 if times[0] is None else times[0]
    clip._container.start_time = int(start * 1_000_000)
    pictures = [SimpleNamespace(time=t, duration=None, time_base=None) for t in times]
    got = [time for _, time, _ in video.Video._timed(clip, pictures)]
    np.testing.assert_allclose(got, want, atol=1e-9)


@pytest.mark.parametrize("first", ["tff", "bff"])
def test_a_flash_from_field_to_field_is_one(tmp_path, first):
    luma = np.full((64, 64), 16, np.uint8)
    luma[0 if first == "tff" else 1 :: 2] = 235
    gray = np.full((32, 32), 128, np.uint8)
    pictures = [picture("yuv420p", [luma, gray, gray], i) for i in range(5)]
    options = {"x264-params": f"interlaced=1:{first}=1:qp=0:log-level=none"}
    _, frames = read(write(tmp_path / "a.mkv", pictures, "libx264", **options))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(10) / 50, atol=1e-3)
    for index, frame in enumerate(frames):
        assert frame.planes[0].shape == (64, 64)
        assert (frame.planes[0] == (16 if index % 2 else 235)).all()


@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (5, 4), (6, 4)])
@pytest.mark.parametrize("parity", [0, 1])
def test_lines_between_those_of_a_field_are_means(shape, parity):
    plane = np.random.default_rng(2).integers(0, 1024, shape, np.uint16)
    got = video.interpolated(plane, parity)
    own = range(parity, shape[0], 2)
    for line in range(shape[0]):
        if not own or line in own:
            want = plane[line]
        else:
            near = [plane[n].astype(int) for n in (line - 1, line + 1) if n in own]
            want = (near[0] + near[-1]) // 2
        np.testing.assert_array_equal(got[line], want)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("turn", [90, 180, 270])
def test_frames_are_turned_as_they_are_shown(tmp_path, turn, pixels):
    pictures = solid([(40, 100, 160)], pixels, shape=(32, 64))
    luma = np.frombuffer(pictures[0].planes[0], np.uint8).reshape(32, -1)
    luma[:, :8] = 200
    path = write(tmp_path / "a.mp4", pictures, "libx264", turn=turn, qp="0")
    opened, (frame,) = read(path)
    assert frame.planes[0].shape == ((32, 64) if turn == 180 else (64, 32))
    assert (opened.height, opened.width) == frame.planes[0].shape
    edge = {90: np.s_[-8:], 180: np.s_[:, -8:], 270: np.s_[:8]}[turn]
    assert (frame.planes[0][edge] == 200).all()
    assert (frame.planes[0] == 200).sum() == 8 * 32
    colour.luminance(frame)


def test_an_open_container_is_read_once_and_left_open(tmp_path):
    path = write(tmp_path / "a.mkv", solid([(60, 128, 128)], count=5))
    with av.open(str(path)) as container:
        opened = video.clip(container)
        assert len(list(opened)) == 5
        assert container.streams.video[0].width == 48
        with pytest.raises(ValueError, match="read once"):
            next(iter(opened))
    twice = video.clip(path)
    assert [len(list(twice)), len(list(twice))] == [5, 5]


def test_a_reader_that_stops_leaves_no_thread(tmp_path):
    path = write(tmp_path / "a.mkv", solid([(60, 128, 128)], count=50))
    for frame in video.clip(path):
        assert isinstance(frame, Frame)
        break
    assert not [t for t in threading.enumerate() if "voxkern-decoder" in t.name]


def test_planes_cannot_be_written(tmp_path):
    path = write(tmp_path / "a.mkv", solid([(60, 128, 128)]))
    frame = next(iter(video.clip(path)))
    with pytest.raises(ValueError, match="read-only"):
        frame.planes[0][:] = 0


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def noise(count=40, shape=(64, 64)):
    rng = np.random.default_rng(5)
    small = shape[0] // 2, shape[1] // 2
    return [
        picture("yuv420p", [rng.integers(16, 236, s, np.uint8) for s in (shape, small, small)], i)
        for i in range(count)
    ]


def bad(name, folder):
    """A path that is no good as a video at all."""
    path = folder / "bad.mp4"
    if name == "empty":
        path.touch()
    elif name == "folder":
        path.mkdir()
    elif name == "text":
        path.write_text("frames\n" * 500)
    elif name == "zeros":
        path.write_bytes(bytes(100_000))
    elif name == "noise":
        path.write_bytes(np.random.default_rng(1).bytes(100_000))
    elif name == "no index":
        cut(write(path, noise(), "mpeg4"), 0.7)
    elif name == "playlist":
        path = folder / "list.m3u8"
        path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    return path


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing", "cannot be read"),
        ("empty", "is empty"),
        ("folder", "is a directory"),
        ("text", "is not a video"),
        ("zeros", "is not a video"),
        ("noise", "is not a video"),
        ("no index", "index is cut off"),
        ("playlist", "is not a video"),
    ],
)
def test_what_is_no_video_is_an_error(tmp_path, name, says):
    with pytest.raises(ValueError, match=says):
        read(bad(name, tmp_path))


def test_a_picture_too_large_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "MAX_PIXELS", 32 * 32)
    path = write(tmp_path / "a.mkv", solid([(60, 128, 128)], shape=(32, 34)))
    with pytest.raises(ValueError, match="34x32; a frame may have 1024 pixels at most"):
        video.clip(path)


def test_16384_by_16384_is_an_error(tmp_path):
    def chunk(name, data):
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    size = struct.pack(">IIBBBBB", 16384, 16384, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(1)
    lines = b"".join(packer.compress(bytes(16385)) for _ in range(16384)) + packer.flush()
    data = chunk(b"IHDR", size) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    with pytest.raises(ValueError, match="too large"):
        read(tmp_path / "huge.png")


@pytest.mark.parametrize(("name", "share"), [("mp4", 0.6), ("mkv", 0.5), ("avi", 0.5), ("ts", 0.5)])
def test_a_file_that_breaks_off_says_how_far_it_got(tmp_path, name, share):
    pictures = noise(50)
    options = {"movflags": "faststart"} if name == "mp4" else {}
    path = tmp_path / f"a.{name}"
    codec = "mpeg2video" if name == "ts" else "mpeg4"
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for shown in pictures:
            container.mux(stream.encode(shown))
        container.mux(stream.encode())
    opened, frames = read(cut(path, share))
    assert 20 < len(frames) < 40
    if name == "ts" and opened.complete:
        pytest.skip("a transport stream declares no length: a cut between packets is its end")
    assert not opened.complete
    assert "frames could be decoded" in opened.problem or " s of the " in opened.problem


def test_a_change_of_size_ends_the_reading(tmp_path):
    parts = [
        write(tmp_path / f"{n}.mjpeg", [p.reformat(format="yuvj420p") for p in pictures], "mjpeg")
        for n, pictures in enumerate((noise(5), noise(5, (32, 64))))
    ]
    (tmp_path / "both.mjpeg").write_bytes(b"".join(part.read_bytes() for part in parts))
    opened, frames = read(tmp_path / "both.mjpeg")
    assert (len(frames), opened.complete) == (5, False)
    assert opened.problem == "changes its frame size to 64x32 at 0.20 s; the rest was not read"


def corrupted(data, rng):
    """The bytes of a file with some of them changed, dropped or repeated."""
    data = bytearray(data)
    kind = rng.random()
    for _ in range(rng.choice([1, 1, 3, 20, 300])):
        if len(data) < 400:  # a small file may lose nearly all of itself
            break
        place = rng.randrange(len(data))
        if kind < 0.8:
            data[place] = rng.randrange(256)
        elif kind < 0.9:
            del data[place : place + rng.randrange(1, 200)]
        else:
            data[place:place] = data[place : place + rng.randrange(1, 200)]
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.1 else data)


def survey(path, source, count, seed):
    """Read `count` corruptions of a file; how many were whole, partial, and errors."""
    rng = random.Random(seed)
    outcomes = {"whole": 0, "partial": 0, "error": 0}
    for _ in range(count):
        path.write_bytes(corrupted(source, rng))
        began = clock.monotonic()
        try:
            opened = video.clip(path)
            last = -1.0
            for frame in opened:
                assert frame.time > last
                last = frame.time
        except ValueError:
            outcomes["error"] += 1
        else:
            assert opened.complete == (not opened.problem)
            outcomes["whole" if opened.complete else "partial"] += 1
        assert clock.monotonic() - began < 60
    return outcomes


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.gif", "a.webp"])
def test_corrupted_files_end_in_frames_or_an_error(tmp_path, name):
    pictures = noise(12, (48, 64))
    codec = {"a.avi": "mpeg4", "a.gif": "gif", "a.webp": "libwebp_anim"}.get(name, "libx264")
    if name == "a.webp":
        pytest.importorskip("PIL")
    if name == "a.gif":
        pictures = [p.reformat(format="gray") for p in pictures]
    source = write(tmp_path / name, pictures, codec).read_bytes()
    outcomes = survey(tmp_path / name, source, CORRUPTIONS, 1)
    assert outcomes["partial"] + outcomes["error"] > CORRUPTIONS / 10, outcomes


@pytest.mark.skipif(not THOROUGH, reason="slow: set HYPOTHESIS_PROFILE=thorough")
@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not here")
def test_corruptions_of_a_real_video(tmp_path):
    source = (REAL / "cockatoo.mp4").read_bytes()
    outcomes = survey(tmp_path / "a.mp4", source, CORRUPTIONS, 2)
    assert outcomes["partial"] > CORRUPTIONS / 2, outcomes


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not here")
def test_a_real_video_is_read_whole():
    opened = video.clip(REAL / "cockatoo.mp4")
    times = [frame.time for frame in opened]
    np.testing.assert_allclose(times, np.arange(280) / 20, atol=1e-6)
    assert (opened.complete, opened.end) == (True, pytest.approx(14))
