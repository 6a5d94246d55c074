"""The command line: what it prints and writes, and one line with exit code 2 for bad input."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import voxkern
from voxkern import reference

av = pytest.importorskip("av")
pytest.importorskip("typer")
pytest.importorskip("matplotlib")


from voxkern import cli, strobe, video  # noqa: E402

REAL = Path(__file__).parents[2] / "shared/data/real"


@pytest.fixture
def run(capsys):
    """Run one command; gives its exit code, stdout and stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.app([str(a) for a in arguments])
        return end.value.code, *capsys.readouterr()

    return run


def pictures(count=11, height=32, width=48):
    """Gray frames with a square that steps to the right and flashes on every odd frame."""
    frames = np.full((count, height, width, 3), 60, np.uint8)
    for i, frame in enumerate(frames):
        frame[8:24, 2 * i : 2 * i + 16] = 230 if i % 2 else 20
    return frames


def encode(path, frames, codec="ffv1", pixels="bgr0", rate=20, **options):
    """Write frames as a video; lossless unless told otherwise."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def clip(tmp_path):
    return encode(tmp_path / "clip.mkv", pictures())


def test_frames_of_a_lossless_video_are_those_encoded(clip):
    with video.Video(clip) as opened:
        assert (opened.width, opened.height, opened.rate) == (48, 32, 20)
        times, frames = zip(*opened)
    np.testing.assert_array_equal(np.stack(frames), pictures())
    np.testing.assert_allclose(times, np.arange(11) / 20, atol=1e-3)


@pytest.mark.parametrize("matrix", ["ITU709", "ITU601"])
@pytest.mark.parametrize("span", ["MPEG", "JPEG"])
def test_colours_follow_the_matrix_and_range_of_the_file(tmp_path, matrix, span):
    colours = np.array([[[200, 40, 30], [20, 220, 60]], [[30, 50, 240], [250, 250, 5]]], np.uint8)
    frame = av.VideoFrame.from_ndarray(colours.repeat(16, axis=0).repeat(16, axis=1))
    frame = frame.reformat(format="yuv444p", dst_colorspace=matrix, dst_color_range=span)
    path = tmp_path / "coded.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=20)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv444p"
        stream.codec_context.colorspace = {"ITU709": 1, "ITU601": 5}[matrix]
        stream.codec_context.color_range = {"MPEG": 1, "JPEG": 2}[span]
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with video.Video(path) as opened:
        ((_, shown),) = opened
    np.testing.assert_allclose(shown[8::16, 8::16].astype(int), colours, atol=2)


def test_flash_writes_the_table_of_the_oracle(run, clip, tmp_path):
    files = [tmp_path / name for name in ("t.csv", "t.json", "t.png")]
    code, out, _ = run("flash", clip, "--csv", files[0], "--json", files[1], "--plot", files[2])
    want = reference.flash_table(pictures())[:, 0]
    rows = list(csv.DictReader(files[0].open()))
    content = json.loads(files[1].read_text())
    assert code == 0
    np.testing.assert_allclose([float(r["change"]) for r in rows], want, rtol=1e-12)
    np.testing.assert_allclose(content["change"], want, rtol=1e-12)
    assert [r["frame"] for r in rows] == [str(i) for i in range(1, 11)]
    assert content["time_s"] == [float(r["time_s"]) for r in rows]
    assert (content["width"], content["height"], content["frames"]) == (48, 32, 11)
    assert files[2].read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in tmp_path.iterdir()} == {"clip.mkv", "t.csv", "t.json", "t.png"}
    assert all(str(f) in out for f in files)


def test_flash_prints_the_strongest_rows_or_all(run, clip):
    def printed(*options):
        lines = run("flash", clip, *options)[1].splitlines()
        return {int(line.split()[0]): line for line in lines if line[:8].strip().isdigit()}

    want = reference.flash_table(pictures(), k=3)[:, 0]
    assert list(printed("--all", "-k", 3)) == list(range(1, 11))
    strongest = printed("--top", 4, "-k", 3)
    assert list(strongest) == sorted(np.argsort(-np.abs(want), kind="stable")[:4] + 1)
    assert all(f"{want[i - 1]:+.3f}" in line for i, line in strongest.items())


def test_batches_do_not_change_the_table(run, clip, tmp_path, monkeypatch):
    run("flash", clip, "--csv", tmp_path / "whole.csv")
    monkeypatch.setattr(cli, "BATCH_BYTES", 1)
    run("flash", clip, "--csv", tmp_path / "pairs.csv")
    assert (tmp_path / "pairs.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_video_of_one_frame_has_no_rows(run, tmp_path):
    path = encode(tmp_path / "one.mkv", pictures(1))
    code, out, _ = run("flash", path, "--csv", tmp_path / "t.csv")
    assert (code, "no rows" in out) == (0, True)
    assert (tmp_path / "t.csv").read_text() == "frame,time_s,change\n"


def test_a_file_name_is_never_a_protocol(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = encode(tmp_path / "clip.mkv", pictures()).rename("12:30 [b]clip.mkv")
    code, out, _ = run("flash", path.name)
    assert (code, out.split(": 48x32")[0]) == (0, "12:30 [b]clip.mkv")


def cut(path, share):
    """Drop the end of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def make_bad(name, folder):
    """A path that is no good as VIDEO."""
    path = folder / f"{name}.mp4"
    lossy = {"codec": "mpeg4", "pixels": "yuv420p"}
    noise = np.random.default_rng(5).integers(0, 256, (40, 64, 64, 3), np.uint8)
    if name == "empty":
        path.touch()
    elif name == "directory":
        path.mkdir()
    elif name == "text":
        path = folder / "text.txt"
        path.write_text("frames\n" * 500)
    elif name == "random":
        path.write_bytes(noise.tobytes())
    elif name == "volume":
        path = folder / "volume.npz"
        np.savez(path, noise)
    elif name == "sound":
        write_sound(path)
    elif name == "headless":
        path = folder / "headless.avi"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width = stream.height = 64
            container.start_encoding()
    elif name == "cut_index":
        cut(encode(path, noise, **lossy), 0.7)
    elif name == "cut_frames":
        cut(encode(path, noise, **lossy, movflags="faststart"), 0.7)
    elif name == "cut_matroska":
        path = folder / "cut.mkv"
        cut(encode(path, noise, **lossy), 0.5)
    elif name == "two_sizes":
        path = folder / "two.mjpeg"
        parts = [
            encode(folder / f"{n}.mjpeg", frames, "mjpeg", "yuvj420p").read_bytes()
            for n, frames in enumerate((noise, noise[:, :32]))
        ]
        path.write_bytes(b"".join(parts))
    return path


def write_sound(path):
    """A file with an audio stream alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def assert_refused(run, folder, arguments, *names):
    """Exit code 2, one line on stderr with `names`, nothing on stdout, nothing written."""
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("voxkern: error: ")
    assert err.count("\n") == 1
    assert all(name in err for name in names)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing", "cannot be read"),
        ("empty", "is empty"),
        ("directory", "is a directory"),
        ("text", "is a text file"),
        ("random", "is not a video"),
        ("volume", "is not a video"),
        ("sound", "has no video stream"),
        ("headless", "has no video frames"),
        ("cut_index", "index is cut off"),
        ("cut_frames", "of about 40 frames could be decoded"),
        ("cut_matroska", "of about 40 frames could be decoded"),
        ("two_sizes", "changes its frame size"),
    ],
)
def test_bad_videos_are_named(run, tmp_path, name, says):
    path = make_bad(name, tmp_path)
    outputs = ["--csv", tmp_path / "t.csv", "--json", tmp_path / "t.json"]
    assert_refused(run, tmp_path, ["flash", path, *outputs], "VIDEO", str(path), says)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-k", "0"], "k is 0"),
        (["-k", "-3"], "k is -3"),
        (["-k", "99999"], "k is 99999"),
        (["--curve", "nonsense"], "curve is 'nonsense'"),
        (["--csv", "no/such/folder.csv"], "--csv"),
        (["--json", "."], "--json"),
        (["--plot", "chart.jpg"], "--plot"),
        (["--csv", "same", "--json", "same"], "--json"),
        (["--csv", "clip.mkv"], "--csv"),
        (["--csv", "good.csv", "--json", "no/such/folder.json"], "--json"),
    ],
)
def test_bad_options_are_named(run, clip, tmp_path, monkeypatch, options, says):
    monkeypatch.chdir(tmp_path)
    assert_refused(run, tmp_path, ["flash", "clip.mkv", *options], says)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["flash"], "video"),
        (["flash", "clip.mkv", "-k", "nan"], "-k"),
        (["flash", "clip.mkv", "-k", "2.5"], "-k"),
        (["flash", "clip.mkv", "--top", "-1"], "--top"),
        (["flash", "clip.mkv", "--csv"], "--csv"),
        (["flash", "clip.mkv", "--what"], "--what"),
        (["flash", "clip.mkv", "more"], "more"),
        (["bench", "--threads", "0"], "--threads"),
        (["flush"], "flush"),
        (["--what"], "--what"),
    ],
)
def test_bad_usage_is_one_line(run, clip, tmp_path, monkeypatch, command, says):
    monkeypatch.chdir(tmp_path)
    assert_refused(run, tmp_path, command, says)


def test_no_arguments_show_the_help(run):
    assert run() == run("--help")


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(path, data):
        raise OSError(28, "No space left on device", str(path))

    (tmp_path / "a").write_text("before")
    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space"):
        cli.write({tmp_path / "a": b"after", tmp_path / "b": b"new"})
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a": "before"}


def test_strobes_are_stretches_of_opposing_changes():
    times = np.arange(20) / 10
    rows = np.full(20, 0.1)
    rows[5:12] = [9, -8, 9, -9, 7, -9, 9]
    ((begin, end, changes, weakest),) = strobe.strobes(times, rows)
    assert (begin, end, changes, weakest) == (0.5, 1.1, 7, 7)
    assert strobe.strobes(times, np.abs(rows)) == []
    assert strobe.strobes(times * 10, rows) == []
    assert strobe.strobes([], []) == []
    assert strobe.strobes(times, np.full(20, np.nan)) == []


def test_info_says_what_runs(run):
    code, out, _ = run("info")
    assert code == 0
    for word in (voxkern.__version__, "level", "threads", "native", "jit", "cuda", "reference"):
        assert word in out


def test_demo_finds_the_strobe_and_draws_a_chart(run, tmp_path):
    code, out, _ = run("demo", "--output", tmp_path / "new")
    assert code == 0
    assert "strobe at 3.20 to 4.76 s: 40 changes" in out
    assert all(name in out for name in ("flash_table", "conv3d", "batch_norm", "max_pool3d"))
    assert (tmp_path / "new/voxkern-demo.png").read_bytes().startswith(b"\x89PNG")


def test_demo_needs_a_folder(run, tmp_path):
    (tmp_path / "file").touch()
    assert_refused(run, tmp_path, ["demo", "--output", tmp_path / "file"], "--output")


def test_import_leaves_the_extras_alone():
    heavy = "typer rich av matplotlib scipy torch onnxruntime numba"
    code = f"import sys, voxkern; print([m for m in {heavy.split()} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


@pytest.mark.parametrize(
    ("missing", "command"), [("typer", "info"), ("av", "flash x.mp4"), ("matplotlib", "demo")]
)
def test_a_missing_extra_is_named(tmp_path, missing, command):
    code = f"import sys; sys.modules[{missing!r}] = None; sys.argv = 'voxkern {command}'.split()\n"
    code += "from voxkern.__main__ import main; main()"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert process.returncode == 1
    assert process.stderr.strip().endswith(
        f'{missing} is missing: pip install "voxkern[cli,video]"'
    )
    assert process.stderr.count("\n") == 1


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "voxkern", "--help"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(word in out for word in ("flash", "demo", "bench", "info"))


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not here")
def test_a_real_video(run, tmp_path):
    code, out, _ = run("flash", REAL / "cockatoo.mp4", "--csv", tmp_path / "t.csv")
    assert code == 0
    assert "1280x720, 280 frames" in out
    rows = np.loadtxt(tmp_path / "t.csv", delimiter=",", skiprows=1)
    with video.Video(REAL / "cockatoo.mp4") as opened:
        first = [frame for _, (_, frame) in zip(range(4), opened)]
    np.testing.assert_allclose(rows[:3, 2], reference.flash_table(np.stack(first))[:, 0], 1e-12)
    np.testing.assert_allclose(rows[:, 1], np.arange(1, 280) / 20, atol=1e-6)
