"""The page of a report: its text without a browser, its behaviour in a headless Chromium.

The browser's tests skip where Chromium, its driver or Selenium is not installed, and fail there if
``VOXKERN_BROWSER`` is ``required``.
"""

import html.parser
import io
import itertools
import json
import os
import re
import shutil
import zlib

import numpy as np
import pytest

import pse_reports

pytest.importorskip("plotly", reason="plotly is not installed")

from voxkern.pse import Incident
from voxkern.pse import html as pages

HOSTILE = pse_reports.HOSTILE


# --- the text -----------------------------------------------------------------------------------


class Outline(html.parser.HTMLParser):
    """The elements of a page, and the text of those asked for."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.open = [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


@pytest.fixture(scope="module")
def page():
    return pse_reports.report(source=HOSTILE, complete=False).to_html()


def test_names_stay_text(page):
    outline = Outline(page)
    assert outline.texts["title"][0].endswith(HOSTILE)
    assert [tag for tag, _ in outline.elements].count("script") == 3
    assert not [tag for tag, _ in outline.elements if tag == "b"]
    assert not [attrs for _, attrs in outline.elements if any(a.startswith("on") for a in attrs)]
    assert "broken &lt;here&gt; &amp; there" in page


def test_data_in_the_script_cannot_end_it():
    report = pse_reports.report((HOSTILE, "]]>"))
    text = report.to_html()
    data = text.partition('id="data">')[2].partition("</script>")[0]
    assert json.loads(data)["results"][0]["name"] == HOSTILE
    assert not re.search(r"[<>&]", data)


def test_nothing_of_the_page_lies_elsewhere(page):
    for tag, attrs in Outline(page).elements:
        for name in ("src", "href", "srcset", "action", "data"):
            assert attrs.get(name, "#").startswith(("#", "data:image/png")), (tag, attrs)
    assert "url(" not in pages._asset("report.css")
    assert "@import" not in pages._asset("report.css")


def test_headings_do_not_skip_a_level():
    for profiles in (("wcag22",), ("wcag22", "bt1702")):
        text = pse_reports.report(profiles).to_html()
        levels = [int(tag[1]) for tag, _ in Outline(text).elements if re.fullmatch(r"h\d", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def test_an_incomplete_video_is_not_called_a_pass():
    text = pse_reports.report(("wcag22",), complete=False, passed=True).to_html()
    assert 'class="badge pass"' not in text
    assert text.count('class="badge incomplete"') == 2  # of the video, of its standard
    assert 'class="badge pass"' in pse_reports.report(("wcag22",), passed=True).to_html()


@pytest.mark.parametrize("frames", [1, 2, 300])
def test_reports_of_any_length(frames):
    text = pse_reports.report(frames=frames).to_html()
    assert "Fail" in text


def test_long_films_keep_their_extremes():
    frames = 300_000
    report = pse_reports.report(("wcag22",), frames=frames)
    curves = report.results[0].timeline
    curves["flashes"][123_457] = 17
    curves["luminance"][223_457] = 0.001
    data = pages._curves(report.results[0])
    assert len(data["time"]) < 20_000
    assert max(data["flashes"]) == 17
    assert min(data["luminance"]) == 0.001
    assert data["time"] == sorted(data["time"])


def test_files_are_what_is_returned(tmp_path, page):
    report = pse_reports.report(source=HOSTILE, complete=False)
    assert report.to_html(tmp_path / "page.html") == page
    assert (tmp_path / "page.html").read_bytes() == page.encode()


def test_without_plotly_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "plotly.offline", None)
    with pytest.raises(ImportError, match=r"pip install 'voxkern\[report\]'"):
        pse_reports.report().to_html()


# --- stills -------------------------------------------------------------------------------------


def unpacked(png):
    """The pixels of a PNG that this module wrote."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, body, size = 8, b"", None
    while at < len(png):
        length, kind = int.from_bytes(png[at : at + 4]), png[at + 4 : at + 8]
        content = png[at + 8 : at + 8 + length]
        assert int.from_bytes(png[at + 8 + length : at + 12 + length]) == zlib.crc32(kind + content)
        size = (
            (int.from_bytes(content[:4]), int.from_bytes(content[4:8])) if kind == b"IHDR" else size
        )
        body += content if kind == b"IDAT" else b""
        at += 12 + length
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(size[1], -1)
    assert (rows[:, 0] == 2).all()
    return np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8).reshape(size[1], size[0], 3)


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (270, 480)])
def test_png_keeps_the_pixels(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    data = pages.png(image)
    np.testing.assert_array_equal(unpacked(data), image)
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    np.testing.assert_array_equal(np.asarray(pillow.open(io.BytesIO(data))), image)


def light(codes):
    signal = codes / 255
    linear = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_stills_are_dim_and_stripes_are_flat():
    stripes = np.repeat(np.where(np.arange(480) // 20 % 2, 255, 0)[None, :, None], 270, 0)
    stripes = stripes.repeat(3, 2).astype(np.uint8)
    mask = np.zeros((270, 480), bool)
    mask[40:200, 40:400] = True
    image = pages.masked(stripes, mask)
    assert light(image).max() <= 0.1  # of 200 cd/m2: 20, where a bright stripe has 50
    inside = light(image[60:180, 60:380])
    assert np.ptp(inside) <= 0.02


def test_a_still_without_a_mask_is_shown_dimmed():
    report = pse_reports.report(("wcag22",))
    picture, _ = pse_reports.still(64, 36)
    report.results[0].incidents = [
        Incident("red", "fail", 1, 2, 4, 0.3, (0, 0, 1, 1), "x", picture, None)
    ]
    assert "data:image/png" in report.to_html()


def test_stills_are_hidden_and_warned_of_before(page):
    first = page.index("data:image/png")
    assert "Before you open a still" in page[:first]
    assert page[:first].rindex("<details>") > page[:first].rindex("</details>")
    assert "<details open" not in page


def test_colours_have_enough_contrast():
    css = pages._asset("report.css")
    for scheme in css.split("@media")[:2]:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", scheme))

        def ratio(a, b, colours=colours):
            codes = ([int(colours[n][i : i + 2], 16) for i in (1, 3, 5)] for n in (a, b))
            low, high = sorted(light(np.array(c)) for c in codes)
            return (high + 0.05) / (low + 0.05)

        for text in ("ink", "soft", "accent", "fail", "warning", "pass", "incomplete"):
            assert ratio(text, "paper") >= 4.5
            assert ratio(text, "card") >= 4.5
        for state in ("fail", "warning", "pass", "incomplete"):
            assert ratio(state, f"{state}-soft") >= 4.5
        assert ratio("ink", "warning-soft") >= 4.5
        assert ratio("focus", "paper") >= 3
        assert ratio("focus", "card") >= 3


# --- in a browser -------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1200,900",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    missing = pytest.fail if os.environ.get("VOXKERN_BROWSER") == "required" else pytest.skip
    try:
        from selenium import webdriver
    except ImportError:
        missing("Selenium is not installed")
    if not CHROMIUM or not DRIVER:
        missing("Chromium or its driver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens a report's page and waits for its chart."""
    from selenium.webdriver.support.ui import WebDriverWait

    def open_page(report, **media):
        path = tmp_path / "page <i>.html"
        report.to_html(path)
        features = [{"name": n.replace("_", "-"), "value": v} for n, v in media.items()]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get_log("performance")
        browser.get_log("browser")
        browser.get(path.as_uri())
        ready = "return document.documentElement.dataset.ready === 'true'"
        WebDriverWait(browser, 30).until(lambda b: b.execute_script(ready))
        return browser

    return open_page


def shown(browser):
    """The chart's range in seconds."""
    ends = browser.execute_script("return document.getElementById('chart').layout.xaxis.range")
    return [np.datetime64(end).astype("datetime64[ms]").astype(int) / 1000 for end in ends]


def click(browser, selector):
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def settles(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 10, 0.05).until(lambda b: condition())


def test_the_page_asks_nothing_of_the_network(opened):
    browser = opened(pse_reports.report(source=HOSTILE))
    click(browser, "article details summary")
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    events = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    asked = [
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    ]
    assert asked
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert not [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]


def test_the_policy_forbids_requests_and_other_scripts(opened):
    browser = opened(pse_reports.report())
    result = browser.execute_async_script("""
        const done = arguments[0];
        const script = document.createElement("script");
        script.textContent = "window.intruder = true";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.intruder=1'>");
        fetch("https://voxkern.invalid/").then(() => "sent", () => "refused")
            .then((sent) => setTimeout(() => done([sent, window.intruder === undefined]), 200));
    """)
    assert result == ["refused", True]


def test_a_hostile_name_stays_text_in_the_browser(opened):
    browser = opened(pse_reports.report((HOSTILE, "x"), source=HOSTILE))
    heading = browser.find_element("css selector", "h1")
    assert heading.get_property("textContent") == HOSTILE
    assert browser.execute_script("return document.querySelectorAll('b[onmouseover]').length") == 0
    name = browser.execute_script("return document.querySelector('#profile option').textContent")
    assert name == HOSTILE


def test_the_chart_answers_to_the_mouse(opened):
    from selenium.webdriver.common.action_chains import ActionChains

    browser = opened(pse_reports.report())
    chart = browser.find_element("css selector", "#chart .nsewdrag")
    ActionChains(browser).scroll_to_element(chart).move_to_element(chart).perform()
    label = "return document.querySelector('#chart .hoverlayer').textContent"
    settles(browser, lambda: "Mean luminance" in browser.execute_script(label))
    assert "Red flashes" in browser.execute_script(label)
    wide = shown(browser)
    drag = ActionChains(browser).move_to_element(chart).click_and_hold()
    drag.move_by_offset(120, 0).release().perform()
    settles(browser, lambda: shown(browser) != wide)
    assert np.diff(shown(browser)) < 0.5 * np.diff(wide)
    hint = browser.find_element("id", "range")
    settles(browser, lambda: "0:00.00 to 0:10.00" not in hint.text)
    click(browser, "button[data-do=all]")
    settles(browser, lambda: shown(browser) == wide)


def test_the_chart_answers_to_the_keyboard(opened):
    from selenium.webdriver.common.keys import Keys

    browser = opened(pse_reports.report())
    frame = browser.find_element("id", "frame")
    frame.send_keys("+")
    settles(browser, lambda: shown(browser) == [2.5, 7.5])
    frame.send_keys(Keys.ARROW_LEFT)
    settles(browser, lambda: shown(browser) == [1.25, 6.25])
    assert "0:01.25 to 0:06.25" in browser.find_element("id", "range").text
    assert "at most 5 flashes a second" in browser.find_element("id", "range").text
    frame.send_keys("-", "-", "-")
    settles(browser, lambda: shown(browser) == [0, 10])
    frame.send_keys(*"++++++++++++")
    settles(browser, lambda: np.diff(shown(browser)) == pytest.approx(0.1))
    frame.send_keys("0")
    settles(browser, lambda: shown(browser) == [0, 10])


def test_everything_can_be_reached_by_tab(opened):
    from selenium.webdriver.common.keys import Keys

    browser = opened(pse_reports.report())
    body = browser.find_element("css selector", "body")
    body.send_keys(Keys.TAB)
    active = "return document.activeElement"
    assert browser.execute_script(active).get_attribute("class") == "skip"
    seen = []
    for _ in range(40):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        element = browser.execute_script(active)
        seen.append(element.tag_name + "#" + (element.get_attribute("id") or ""))
        outline = "return getComputedStyle(document.activeElement).outlineStyle"
        assert element.tag_name == "body" or browser.execute_script(outline) != "none"
    assert "select#profile" in seen
    assert "div#frame" in seen
    assert seen.count("button#") >= 8
    assert seen.count("summary#") >= 5


def test_an_incident_is_shown_in_the_chart(opened):
    browser = opened(pse_reports.report())
    click(browser, 'button[data-profile="1"][data-incident="2"]')
    settles(browser, lambda: shown(browser) == [4.5, 6.5])
    assert browser.find_element("id", "profile").get_property("value") == "1"
    assert browser.switch_to.active_element.get_attribute("id") == "frame"
    assert browser.find_element("id", "range").text.startswith("ITU-R BT.1702-3")


def test_profiles_can_be_chosen(opened):
    from selenium.webdriver.support.ui import Select

    browser = opened(pse_reports.report())
    shapes = "return document.getElementById('chart').layout.shapes.length"
    assert browser.execute_script(shapes) == 3  # an incident and two limits
    Select(browser.find_element("id", "profile")).select_by_index(1)
    settles(browser, lambda: browser.execute_script(shapes) == 5)


def test_stills_open_when_asked_for(opened):
    browser = opened(pse_reports.report())
    image = browser.find_element("css selector", "article img")
    assert not image.is_displayed()
    click(browser, "article details summary")
    settles(browser, image.is_displayed)
    assert image.get_property("naturalWidth") == 480
    assert "top right" in image.get_attribute("alt")
    running = "return document.getAnimations().length"
    assert browser.execute_script(running) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(opened, scheme):
    browser = opened(pse_reports.report(), prefers_color_scheme=scheme)
    back = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    bright = sum(map(int, re.findall(r"\d+", back)[:3])) > 380
    assert bright == (scheme == "light")
    ink = browser.execute_script("return document.getElementById('chart').layout.font.color")
    assert (int(ink[1:3], 16) < 128) == (scheme == "light")


def test_the_chart_fits_on_paper(opened):
    browser = opened(pse_reports.report(), prefers_color_scheme="dark")
    browser.execute_script("""
        addEventListener("beforeprint", () => {
            const chart = document.getElementById("chart");
            const wide = chart.querySelector(".main-svg").clientWidth;
            window.printed = [wide, chart.layout.font.color];
        });
    """)
    wide = "return document.querySelector('#chart .main-svg').clientWidth"
    before = browser.execute_script(wide)
    browser.execute_cdp_cmd("Page.printToPDF", {})
    settles(browser, lambda: browser.execute_script("return window.printed"))
    width, ink = browser.execute_script("return window.printed")
    assert width <= 680 < before
    assert int(ink[1:3], 16) < 128  # on paper all is light
    settles(browser, lambda: browser.execute_script(wide) == before)


@pytest.mark.parametrize("width", [320, 768, 1400])
def test_the_page_fits_its_window(opened, browser, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    opened(pse_reports.report(source="a_very_long_name_without_any_blank" * 4))
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= width


def test_a_report_without_incidents_has_a_chart(opened):
    browser = opened(pse_reports.report(("wcag22",), passed=True, frames=1))
    assert "Pass" in browser.find_element("id", "verdict-title").text
    assert "There are none" in browser.find_element("tag name", "main").text


def test_names_of_controls_for_screen_readers(opened):
    browser = opened(pse_reports.report())
    unnamed = browser.execute_script("""
        const named = (e) => (e.textContent || e.alt || e.getAttribute("aria-label")
            || e.labels?.length || e.getAttribute("aria-labelledby"));
        const all = "button, select, img, [role=region], [role=group], section";
        return [...document.querySelectorAll(all)]
            .filter((e) => !named(e) && !e.closest("#chart")).map((e) => e.outerHTML);
    """)
    assert unnamed == []
    landmarks = [len(browser.find_elements("tag name", n)) for n in ("header", "main", "footer")]
    assert landmarks == [1, 1, 1]
    assert browser.execute_script("return document.documentElement.lang") == "en"
