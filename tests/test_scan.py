"""`voxkern scan`: verdicts, exit codes, reports, logs, raw frames, and light through codecs."""

import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from voxkern import pse
from voxkern.pse import colour
from voxkern.pse.frames import Colour

av = pytest.importorskip("av")
pytest.importorskip("typer")

from voxkern import cli, scan, scan_stream  # noqa: E402

REAL = Path(__file__).parents[2] / "shared/data/real"
SDR = (1, 1, 1)


@pytest.fixture
def run(capsys):
    """Run `voxkern scan`; gives its exit code, stdout and stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.app(["scan", *map(str, arguments)])
        return end.value.code, *capsys.readouterr()

    return run


def encode(path, frames, rate=30, codec="ffv1", pixels="bgr0", **options):
    """Write frames ``(H, W, 3)`` as a video; lossless unless told otherwise."""
    muxer = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=muxer) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for frame in frames:
            shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            if pixels.startswith("yuv"):
                shown = shown.reformat(format=pixels, dst_colorspace="ITU709")
                stream.codec_context.colorspace = 1
            container.mux(stream.encode(shown))
        container.mux(stream.encode())
    return path


def flashing(low=30, high=220, seconds=2, hertz=5, rate=30, shape=(48, 64)):
    """Frames that go from one gray to another and back `hertz` times a second."""
    frames = np.empty((round(seconds * rate), *shape, 3), np.uint8)
    frames[...] = low
    frames[np.arange(len(frames)) * 2 * hertz // rate % 2 == 1] = high
    return frames


@pytest.fixture
def clips(tmp_path):
    """A folder: calm.mkv passes, sub/strobe.mkv fails, text.mp4 is none, sub/notes.txt no video."""
    (tmp_path / "in/sub").mkdir(parents=True)
    encode(tmp_path / "in/calm.mkv", flashing(high=40))
    encode(tmp_path / "in/sub/strobe.mkv", flashing())
    (tmp_path / "in/text.mp4").write_text("no video")
    (tmp_path / "in/sub/notes.txt").write_text("notes")
    return tmp_path / "in"


def test_exit_codes_say_pass_fail_and_unknown(run, clips):
    assert run(clips / "calm.mkv")[0] == 0
    assert run(clips / "sub/strobe.mkv")[0] == 1
    assert run(clips / "text.mp4")[0] == 2
    assert run(clips / "calm.mkv", clips / "text.mp4")[0] == 2
    assert run(clips / "calm.mkv", clips / "gone.mp4")[0] == 2
    assert run(clips)[0] == 1


def test_a_warning_passes_unless_it_is_strict(run, tmp_path):
    path = encode(tmp_path / "long.mkv", flashing(seconds=7, hertz=3, rate=24), rate=24)
    code, out, _ = run(path, "-p", "bt1702")
    assert (code, "warning" in out, "extended" in out) == (0, True, True)
    assert run(path, "-p", "bt1702", "--strict")[0] == 1


def test_the_table_has_every_video_and_profile(run, clips):
    _, out, _ = run(clips, "-p", "wcag22", "--profile", "bt1702")
    lines = out.splitlines()
    rows = {Path(line.split()[0]).name: line.split()[1:] for line in lines[1:4]}
    assert lines[0].split() == ["video", "length", "verdict", "wcag22", "bt1702"]
    assert rows["calm.mkv"] == ["2.0", "s", "pass", "pass", "pass"]
    assert rows["strobe.mkv"] == ["2.0", "s", "fail", "fail", "fail"]
    assert rows["text.mp4"] == ["error"]
    assert "text.mp4 is not a video" in out
    assert "WCAG 2.2 SC 2.3.1" in out
    assert "BT.1702-3" in out
    assert "3 videos: 1 pass, 1 fail, 1 error" in out


def test_names_are_shown_without_control_characters(run, tmp_path):
    path = encode(tmp_path / "a [red]\x1b[31m\n.mkv", flashing(high=40, seconds=1))
    code, out, _ = run(path)
    assert (code, "\x1b" in out, "a [red]" in out) == (0, False, True)


def test_reports_of_one_video_are_the_files_named(run, clips, tmp_path):
    files = {option: tmp_path / f"r.{option[2:]}" for option in ("--json", "--csv", "--vtt")}
    options = itertools.chain.from_iterable(files.items())
    assert run(clips / "sub/strobe.mkv", *options, "-p", "bt1702")[0] == 1
    report = json.loads(files["--json"].read_text())
    assert (report["source"], report["verdict"], report["frames"]) == ("strobe.mkv", "fail", 60)
    assert len(files["--csv"].read_text().splitlines()) == 61
    assert "-->" in files["--vtt"].read_text()


def test_reports_of_several_videos_keep_their_folders(run, clips, tmp_path):
    pytest.importorskip("plotly")
    run(clips, "--json", tmp_path / "out", "--html", tmp_path / "pages")
    made = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*") if clips not in p.parents}
    assert made == {
        "out/calm.mkv.json",
        "out/sub/strobe.mkv.json",
        "pages/calm.mkv.html",
        "pages/sub/strobe.mkv.html",
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "VIDEO is missing"),
        (["in/calm.mkv", "-p", "wcag99"], "--profile is 'wcag99'; it may be wcag22"),
        (["in/calm.mkv", "--json", "no/such/file"], "--json"),
        (["in/calm.mkv", "--json", "in/calm.mkv"], "--json"),
        (["in/calm.mkv", "--json", "a", "--csv", "a"], "--csv"),
        (["in", "--json", "in/text.mp4"], "--json: in/text.mp4 must be a folder"),
        (["in/calm.mkv", "--jobs", "0"], "--jobs"),
        (["in/calm.mkv", "--workers", "0"], "--workers"),
        (["in/calm.mkv", "--workers", "2", "--jobs", "2"], "exclude each other"),
        (["in/calm.mkv", "--workers", "2", "--scheduler", "tcp://a:1"], "exclude each other"),
        (["in/calm.mkv", "--resume", "in"], "--resume"),
        (["in/*.avi"], "in/*.avi matches no file"),
        (["empty"], "empty is a folder without a video"),
        (["in/calm.mkv", "--realtime", "--size", "8x8"], "--realtime reads stdin"),
    ],
)
def test_bad_arguments_are_named_before_any_work(
    run, clips, tmp_path, monkeypatch, arguments, says
):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pse, "analyze", None)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("voxkern: error: ")
    assert says in err
    assert err.count("\n") == 1
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_files_folders_and_patterns_are_found_once(clips, monkeypatch):
    monkeypatch.chdir(clips)
    (clips / "odd[1].mkv").write_bytes(b"")

    def names(*patterns):
        return [str(path) for path in scan.find(patterns)]

    assert names("calm.mkv", "./calm.mkv") == ["calm.mkv"]
    assert names(".") == ["calm.mkv", "odd[1].mkv", "sub/strobe.mkv", "text.mp4"]
    assert names("sub/*") == ["sub/notes.txt", "sub/strobe.mkv"]
    assert names("**/*.mkv") == ["calm.mkv", "odd[1].mkv", "sub/strobe.mkv"]
    assert names("odd[1].mkv") == ["odd[1].mkv"]
    assert names("gone.mp4", "calm.mkv") == ["gone.mp4", "calm.mkv"]


def test_a_log_is_taken_up_again(run, clips, tmp_path, monkeypatch):
    log = tmp_path / "log.jsonl"
    first = run(clips, "--resume", log, "-p", "bt1702")
    assert len(log.read_text().splitlines()) == 3
    log.write_text(log.read_text() + '{"path": "killed here')
    done = []
    analyze = pse.analyze

    def counted(path, **options):
        done.append(path.name)
        return analyze(path, **options)

    monkeypatch.setattr(pse, "analyze", counted)
    assert run(clips, "--resume", log, "-p", "bt1702") == first
    assert done == ["text.mp4"]  # an error may have been another program's
    encode(clips / "calm.mkv", flashing())
    code, *_ = run(clips / "calm.mkv", "--resume", log, "-p", "bt1702")
    assert (code, done[1:]) == (1, ["calm.mkv"])
    run(clips / "calm.mkv", "--resume", log, "-p", "wcag22")
    assert done[2:] == ["calm.mkv"]
    run(clips / "calm.mkv", "--resume", log, "-p", "wcag22", "--json", tmp_path / "new.json")
    assert done[3:] == ["calm.mkv"]
    assert (tmp_path / "new.json").exists()


def test_jobs_change_nothing(run, clips):
    one = run(clips, "-p", "wcag22", "-p", "bt1702")
    assert run(clips, "-p", "wcag22", "-p", "bt1702", "--jobs", 3) == one


def test_a_fault_of_ours_is_an_error_of_that_video_alone(run, clips, monkeypatch):
    analyze = pse.analyze

    def broken(path, **options):
        if path.name == "calm.mkv":
            raise ZeroDivisionError("a fault")
        return analyze(path, **options)

    monkeypatch.setattr(pse, "analyze", broken)
    code, out, _ = run(clips / "calm.mkv")
    assert (code, "ZeroDivisionError: a fault" in out) == (2, True)
    assert "1 fail, 2 error" in run(clips)[1]


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def test_a_video_that_breaks_off_never_passes(run, tmp_path):
    rng = np.random.default_rng(1)
    calm = flashing(high=32, seconds=4) + rng.integers(0, 3, (120, 48, 64, 3), np.uint8)
    path = cut(encode(tmp_path / "calm.mp4", calm, codec="libx264", pixels="yuv420p", qp="4"), 0.6)
    code, out, _ = run(path, "--json", tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert (code, "incomplete" in out, "could be decoded" in out) == (2, True, True)
    assert (report["complete"], report["verdict"]) == (False, "incomplete")
    assert {result["verdict"] for result in report["results"]} == {"incomplete"}
    assert 20 < report["frames"] < 110
    strobe = flashing(high=220, seconds=4) + rng.integers(0, 3, (120, 48, 64, 3), np.uint8)
    path = encode(tmp_path / "strobe.mp4", strobe, codec="libx264", pixels="yuv420p", qp="4")
    code, out, _ = run(cut(path, 0.6))
    assert (code, "fail" in out, "could be decoded" in out) == (1, True, True)


def test_an_interrupted_scan_ends_at_once(run, clips, tmp_path, monkeypatch):
    def endless(path, progress, **options):
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        for count in itertools.count():
            progress(count, 0)
            time.sleep(0.01)

    monkeypatch.setattr(pse, "analyze", endless)
    code, out, _ = run(clips / "calm.mkv", "--resume", tmp_path / "log.jsonl")
    assert (code, out) == (130, "")
    assert not (tmp_path / "log.jsonl").exists()


# Raw frames.


def stream(run, monkeypatch, data, *options):
    """`voxkern scan --realtime` on bytes; its exit code, its lines and stderr."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    code, out, err = run("--realtime", "--size", "64x48", *options)
    return code, [json.loads(line) for line in out.splitlines()], err


@pytest.mark.parametrize("pixels", scan_stream.FORMATS)
def test_raw_frames_have_the_values_of_a_report(run, monkeypatch, pixels):
    frames = flashing(seconds=1.5)
    frames[:, :, 40:] = [200, 30, 30] if pixels != "gray" else 60
    shown = [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames]
    matrix = {"dst_colorspace": "ITU709"} if pixels.startswith("yuv") else {}
    known = {"rgb0": "rgba", "bgr0": "bgra"}.get(pixels, pixels)
    data = b"".join(f.reformat(format=known, **matrix).to_ndarray().tobytes() for f in shown)
    options = ["--pix-fmt", pixels, "--fps", 30, "-p", "wcag22", "-p", "bt1702"]
    code, lines, _ = stream(run, monkeypatch, data, *options)
    *lines, end = lines
    report = pse.analyze(frames, 30, ["wcag22", "bt1702"])
    assert (code, len(lines)) == (1, 45)
    for result in report.results:
        got = [line["profiles"][result.profile] for line in lines]
        for name, off in {"flashes": 0, "area": 0.01, "luminance": 0.03}.items():
            np.testing.assert_allclose([g[name] for g in got], result.timeline[name], atol=off)
        assert got[0]["hazard"] == []
        assert got[-1]["hazard"] == ["luminance"]
    assert [line["frame"] for line in lines] == list(range(45))
    assert end["verdicts"] == {"wcag22": "fail", "bt1702": "fail"}
    assert [i["kind"] for i in end["incidents"]] == ["luminance", "luminance"]


def test_raw_frames_go_by_the_clock(run, monkeypatch):
    code, lines, _ = stream(run, monkeypatch, bytes(64 * 48 * 3 * 5))
    times = [line["time"] for line in lines[:-1]]
    assert (code, len(times)) == (0, 5)
    assert (np.diff(times) > 0).all()
    assert times[-1] < 10


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--size", "64"], "--size is '64'"),
        (["--size", "0x48"], "--size is '0x48'"),
        (["--pix-fmt", "rgb"], "--pix-fmt is 'rgb'; it may be rgb24"),
        (["--fps", "0"], "--fps is 0.0"),
        (["--fps", "nan"], "--fps is nan"),
    ],
)
def test_bad_stream_options_are_named(run, monkeypatch, options, says):
    code, lines, err = stream(run, monkeypatch, b"", *options)
    assert (code, lines) == (2, [])
    assert says in err


@pytest.mark.parametrize("count", [0, 100, 64 * 48 * 3 + 1])
def test_a_stream_that_breaks_off_is_an_error(run, monkeypatch, count):
    code, _, err = stream(run, monkeypatch, bytes(count))
    assert (code, "stdin" in err) == (2, True)


# Light through codecs: cd/m2 that are just enough and just too little.


def code_of(light, transfer, bits=10):
    """The gray code in narrow range whose light is nearest to `light` cd/m2."""
    c = Colour("ycbcr", bits, transfer, full_range=False)
    table = colour.light(c)[: colour.GRID : 1 << 12 - bits]
    scale, exponent = colour.system(c)
    return int(np.abs(colour.WHITE * scale * table**exponent - light).argmin())


TAGS = {"bt709": (1, 1, 1), "pq": (9, 16, 9), "hlg": (9, 18, 9)}
STEPS = [  # transfer, cd/m2 of the two states, verdict of BT.1702-3
    ("bt709", 50, 71, "fail"),
    ("bt709", 50, 69, "pass"),
    ("bt709", 158, 182, "fail"),
    ("bt709", 162, 199, "pass"),
    ("pq", 50, 71, "fail"),
    ("pq", 50, 69, "pass"),
    ("pq", 300, 345, "fail"),  # Michelson 0.070
    ("pq", 300, 330, "pass"),  # Michelson 0.048; 1/17 is 0.059
    ("pq", 1000, 1200, "fail"),
    ("hlg", 50, 71, "fail"),
    ("hlg", 50, 69, "pass"),
    ("hlg", 300, 345, "fail"),
    ("hlg", 300, 330, "pass"),
]


@pytest.mark.parametrize(("transfer", "low", "high", "verdict"), STEPS)
@pytest.mark.parametrize("codec", ["ffv1", "libx264", "libx265"])
def test_thresholds_in_light_survive_codecs(tmp_path, codec, transfer, low, high, verdict):
    options = {"libx264": {"qp": "10"}, "libx265": {"x265-params": "qp=10:log-level=none"}}
    codes = [code_of(light, transfer) for light in (low, high)]
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options.get(codec, {}))
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = TAGS[transfer]
        context.color_range = 1
        for index in range(45):
            shown = av.VideoFrame(64, 64, "yuv420p10le")
            for plane, code in zip(shown.planes, (codes[index // 3 % 2], 512, 512)):
                np.frombuffer(plane, "<u2")[:] = code
            shown.pts = index
            container.mux(stream.encode(shown))
        container.mux(stream.encode())
    report = pse.analyze(tmp_path / "a.mkv", profile="bt1702")
    assert (report.verdict, report.complete) == (verdict, True)


def gray(light):
    """The sRGB code of a relative luminance."""
    return int(np.abs(colour.light(Colour("gray")) - light).argmin())


def left(share, low, high, ground):
    """A part of the screen that goes between two lights 5 times a second."""

    def frames(height=120, width=160, count=45):
        clip = np.full((count, height, width, 3), gray(ground), np.uint8)
        for index, frame in enumerate(clip):
            frame[:, : round(share * width)] = gray((low, high)[index // 3 % 2])
        return clip

    return frames


def counterphase(**size):
    clip = left(1.0, 0.1, 0.9, 0)(**size)
    half = clip.shape[2] // 2
    clip[:, :, half:] = left(1.0, 0.9, 0.1, 0)(**size)[:, :, half:]
    return clip


WRONG_ELSEWHERE = {  # what other tools get wrong, and the truth by the rule for the whole screen
    "30 % of the screen": (left(0.30, 0.05, 0.35, 0.05), "fail"),
    "halves in counter-phase": (counterphase, "fail"),
    "27 % on white": (left(0.27, 0.30, 0.75, 1.0), "fail"),
    "15 % of the screen": (left(0.15, 0.0, 1.0, 0.2), "pass"),
}
WAYS = {
    "lossless": {},
    "h264": {"codec": "libx264", "pixels": "yuv420p", "crf": "18"},
    "noise": {},
    "half size": {"codec": "libx264", "pixels": "yuv420p", "crf": "18"},
}


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("name", list(WRONG_ELSEWHERE))
def test_what_others_get_wrong_is_right_after_coding(tmp_path, name, way):
    make, verdict = WRONG_ELSEWHERE[name]
    frames = make()
    if way == "half size":
        frames = frames[:, ::2, ::2]
    elif way == "noise":
        frames = np.clip(
            frames.astype(int) + np.random.default_rng(2).integers(-1, 2, frames.shape), 0, 255
        ).astype(np.uint8)
    path = encode(tmp_path / "a.mkv", frames, **WAYS[way])
    report = pse.analyze(path, profile=["bt1702", "ofcom", "iso9241"])
    assert [result.verdict for result in report.results] == [verdict] * 3


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not here")
def test_a_real_video_passes(run):
    profiles = [name for name in pse.PROFILES if name != "carreira"]
    options = itertools.chain.from_iterable(("-p", name) for name in profiles)
    code, out, _ = run(REAL / "cockatoo.mp4", *options)
    assert (code, out.splitlines()[1].split()[1:3]) == (0, ["14.0", "s"])


def test_the_import_of_the_library_leaves_the_scan_alone():
    heavy = "av plotly typer rich voxkern.pse voxkern.scan"
    code = f"import sys, voxkern; print([m for m in {heavy.split()} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
    code = "import sys, voxkern; voxkern.pse.analyze; print('av' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


@pytest.mark.skipif(os.name == "nt", reason="a pseudo-terminal is needed")
def test_a_terminal_sees_progress(tmp_path):
    import pty

    encode(tmp_path / "a.mkv", flashing(seconds=10, shape=(120, 160)))
    main, side = pty.openpty()
    command = [sys.executable, "-m", "voxkern", "scan", str(tmp_path / "a.mkv")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=side)
    os.close(side)
    seen = b""
    with contextlib.suppress(OSError):  # a terminal whose other end is closed
        while data := os.read(main, 4096):
            seen += data
    assert process.wait(60) == 1
    assert b"frames/s" in seen
    assert b"/300" in seen
