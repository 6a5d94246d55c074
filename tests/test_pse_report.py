"""A report as JSON, CSV, WebVTT."""

import csv
import dataclasses
import io
import json
import os
import pathlib
import re

import numpy as np
import pytest

from voxkern.pse import Incident, Report, analyze
from voxkern.pse.frames import clip

import pse_reports

SCHEMA = pathlib.Path(__file__).parents[1] / "docs/photosensitivity_report.schema.json"
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}


def check(value, schema, whole, path="report"):
    """Assert that a value is as a JSON Schema says; of the keywords that ours uses, no others."""
    if "$ref" in schema:
        check(value, whole["$defs"][schema["$ref"].removeprefix("#/$defs/")], whole, path)
    if "type" in schema:
        assert isinstance(value, TYPES[schema["type"]]), path
        assert schema["type"] == "boolean" or not isinstance(value, bool), path
    assert "const" not in schema or value == schema["const"], path
    assert "enum" not in schema or value in schema["enum"], path
    assert "minimum" not in schema or value >= schema["minimum"], path
    assert "maximum" not in schema or value <= schema["maximum"], path
    assert "minItems" not in schema or len(value) >= schema["minItems"], path
    assert "maxItems" not in schema or len(value) <= schema["maxItems"], path
    assert set(schema.get("required", ())) <= set(value if isinstance(value, dict) else ()), path
    for name, part in schema.get("properties", {}).items():
        if name in value:
            check(value[name], part, whole, f"{path}.{name}")
    for index, item in enumerate(value if "items" in schema else ()):
        check(item, schema["items"], whole, f"{path}[{index}]")
    known = {"type", "const", "enum", "minimum", "maximum", "minItems", "maxItems", "required"}
    notes = {"$ref", "$defs", "$schema", "$id", "title", "description", "properties", "items"}
    assert set(schema) <= known | notes, f"the test does not know {set(schema) - known - notes}"


@pytest.fixture(scope="module")
def schema():
    if not SCHEMA.exists():
        pytest.skip("docs are not beside the tests")
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


@pytest.mark.parametrize("timeline", [True, False])
@pytest.mark.parametrize("options", [{}, {"complete": False}, {"passed": True, "frames": 1}])
def test_json_is_as_its_schema_says(schema, timeline, options):
    text = pse_reports.report(source=pse_reports.HOSTILE, **options).to_json(timeline=timeline)
    check(json.loads(text), schema, schema)


def test_the_schema_can_fail(schema):
    values = json.loads(pse_reports.report().to_json())
    for path, wrong in [
        (("verdict",), "maybe"), (("frames",), 1.5), (("complete",), 1), (("schema",), "other"),
        (("results", 0, "incidents", 0, "area"), 1.5), (("results", 0, "incidents", 0, "box"), [1]),
        (("results", 0, "timeline", "flashes", 3), -1),
    ]:  # fmt: skip
        broken = json.loads(json.dumps(values))
        part = broken
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = wrong
        with pytest.raises(AssertionError):
            check(broken, schema, schema)


@pytest.mark.parametrize(
    ("verdicts", "complete", "expected"),
    [
        (["pass", "pass"], False, "incomplete"),
        (["pass", "warning"], False, "incomplete"),
        (["pass", "incomplete"], False, "incomplete"),
        (["incomplete", "fail"], False, "fail"),
        (["pass", "warning"], True, "warning"),
        (["pass", "pass"], True, "pass"),
    ],
)
def test_what_was_not_read_to_its_end_never_passes(verdicts, complete, expected):
    report = pse_reports.report(complete=complete)
    for result, verdict in zip(report.results, verdicts):
        result.verdict = verdict
    assert report.verdict == expected
    assert Report.from_json(report.to_json()).verdict == expected


@pytest.mark.parametrize(("high", "expected"), [(60, "incomplete"), (220, "fail")])
def test_a_source_that_breaks_off_never_passes(high, expected):
    codes = np.array([50, high, high, high, 50, 50] * 10, np.uint8)
    whole = clip(np.repeat(codes, 60).reshape(60, 6, 10), 30)
    whole.complete, whole.problem = False, "the rest could not be read"
    report = analyze(whole, profile=["wcag22", "bt1702"])
    assert [result.verdict for result in report.results] == [expected] * 2
    assert (report.verdict, report.complete) == (expected, False)


def test_a_real_report_is_as_the_schema_says(schema):
    dark, bright = np.zeros((768, 1024), np.uint8), np.full((768, 1024), 255, np.uint8)
    report = analyze([dark, bright] * 15, fps=10, profile=["wcag22", "bt1702", "nabj"])
    assert report.verdict == "fail"
    values = json.loads(report.to_json())
    check(values, schema, schema)
    assert values["results"][0]["incidents"][0]["clause"].startswith("WCAG 2.2")
    assert len(values["results"][0]["timeline"]["time"]) == 30


def test_json_reads_back_exactly():
    report = pse_reports.report(source=pse_reports.HOSTILE, complete=False)
    again = Report.from_json(report.to_json())
    for ours, theirs in zip(again.results, report.results, strict=True):
        assert ours.incidents == theirs.incidents
        for name, curve in theirs.timeline.items():
            np.testing.assert_array_equal(ours.timeline[name], curve)
    plain = [dataclasses.replace(r, results=[]) for r in (again, report)]
    assert plain[0] == plain[1]


def test_numbers_of_numpy_are_written():
    report = pse_reports.report(("wcag22",))
    first = Incident("red", "fail", np.float32(1), np.float64(2), np.int64(4), np.float32(0.5),
                     tuple(np.arange(4)), "x")  # fmt: skip
    report.results[0].incidents = [first]
    assert Report.from_json(report.to_json()).results[0].incidents[0].box == (0, 1, 2, 3)


@pytest.mark.parametrize("text", ["[]", '{"schema": "voxkern.pse/2"}', "{}"])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match=r"voxkern\.pse/1"):
        Report.from_json(text)


def test_csv_has_a_row_for_each_profile_and_frame():
    report = pse_reports.report(("a,b", '"quoted"'))
    rows = list(csv.DictReader(io.StringIO(report.to_csv())))
    assert len(rows) == 600
    assert {row["profile"] for row in rows} == {"a,b", '"quoted"'}
    curve = np.array([float(row["luminance"]) for row in rows[:300]])
    np.testing.assert_array_equal(curve, report.results[0].timeline["luminance"])


def cues(text):
    """Start, end and text of the cues of a WebVTT file."""
    blocks = text.strip().split("\n\n")
    assert blocks[0] == "WEBVTT"
    found = []
    for block in blocks[1:]:
        if not block.startswith("NOTE"):
            times, body = block.split("\n")
            match = re.fullmatch(r"(\d\d+):([0-5]\d):([0-5]\d\.\d{3}) --> (\d\d+):([0-5]\d):"
                                 r"([0-5]\d\.\d{3})", times)  # fmt: skip
            hours = [float(match[i]) * 3600 + float(match[i + 1]) * 60 + float(match[i + 2])
                     for i in (1, 4)]  # fmt: skip
            found.append((*hours, body))
    return found


def test_webvtt_has_a_cue_for_each_incident():
    found = cues(pse_reports.report().to_webvtt())
    assert [cue[:2] for cue in found] == [(2, 4), (2, 4), (2, 8), (5, 6)]
    assert found[0][2] == "Hazard (bt1702, luminance): too many"
    assert found[2][2] == "Caution (bt1702, extended): too &lt;long&gt;"


def test_webvtt_cannot_be_broken_by_texts_or_times():
    report = pse_reports.report(("--> <b>",), complete=False)
    late = 3600 * 101 + 59.9999
    report.results[0].incidents = [
        Incident("ramp", "warning", late, late, 1, 0, (0, 0, 1, 1), "a\n\n-->b")
    ]
    report.problem = "x\n\n00:00:00.000 --> 00:00:01.000\nfalse"
    ((start, end, text),) = cues(report.to_webvtt())
    assert start == pytest.approx(late, abs=1e-3)
    assert end > start
    assert "-->" not in text
    assert "<" not in text


@pytest.mark.parametrize("kind", ["json", "csv", "webvtt"])
def test_files_are_what_is_returned(tmp_path, kind):
    report = pse_reports.report(source=pse_reports.HOSTILE)
    text = getattr(report, f"to_{kind}")(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == text.encode()


@pytest.mark.parametrize("kind", ["json", "csv", "webvtt", "html"])
def test_names_that_are_no_text_can_be_written(tmp_path, kind):
    if kind == "html":
        pytest.importorskip("plotly", reason="plotly is not installed")
    report = pse_reports.report(source=os.fsdecode(b"a\xff.mp4"), complete=False)
    report.problem = os.fsdecode(b"\xfe is broken")
    getattr(report, f"to_{kind}")(tmp_path / "file").encode()
