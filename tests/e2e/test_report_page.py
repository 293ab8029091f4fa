"""The report in a browser: headless Chromium, mouse and keyboard, light, dark, wide and narrow."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Project

import pcam_kit as pcam
from pcam_kit.metrics import confusion
from pcam_kit.progress import SILENT

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="the report in a browser needs playwright"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

# what JavaScript says of each element with text of its own: its colour, what is behind it, its size
COLOURS = """
() => {
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim();
    const element = walk.currentNode.parentElement;
    if (!text || ["SCRIPT", "STYLE", "OPTION"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    if (style.visibility === "hidden" || box.width === 0) continue;
    let behind = element;
    while (behind && getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") {
      behind = behind.parentElement;
    }
    const inSvg = element.closest("svg") !== null;
    found.push({
      text: text.slice(0, 40),
      ink: inSvg ? style.fill : style.color,
      paper: behind ? getComputedStyle(behind).backgroundColor : "rgb(255, 255, 255)",
      large: parseFloat(style.fontSize) >= 24,
    });
  }
  return found;
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of one run with maps, and one of two runs."""
    folder = tmp_path_factory.mktemp("reports")
    names = [path.name for path in finished.runs() if "-tiny" in path.name]
    one, two = folder / "one.html", folder / "two.html"
    finished.quick("report", names[0], "--out", one).ok()
    finished.quick("report", *names, "--out", two).ok()
    return {"one": one, "two": two}


class Visit:
    """An open page, with everything that it asked for and complained about."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        options = {"viewport": {"width": 1280, "height": 900}, **options}
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.url = path.as_uri()
        self.page.goto(self.url)

    def number(self, name: str) -> float:
        """A number of the threshold tool."""
        return float(self.page.locator(f"#{name}").inner_text().replace(",", ""))

    def close(self) -> None:
        """Nothing was loaded but the file, and the console is empty."""
        self.context.close()
        outside = [url for url in self.requests if url != self.url and url[:5] != "data:"]
        assert outside == []
        assert self.complaints == []


@pytest.fixture
def visit(browser: Any) -> Iterator[Any]:
    opened: list[Visit] = []

    def open_page(path: Path, **options: Any) -> Visit:
        opened.append(Visit(browser, path, **options))
        return opened[-1]

    yield open_page
    for one in opened:
        one.close()


def answers(finished: Project, i: int = 0) -> tuple[np.ndarray, np.ndarray, float]:
    """Labels, probabilities and threshold of the i-th run of `tiny`."""
    run = [path for path in finished.runs() if "-tiny" in path.name][i]
    evaluation = pcam.evaluate(run, workspace=finished.path, display=SILENT)
    return evaluation.labels, evaluation.probabilities, evaluation.scores.threshold


def check_numbers(one: Visit, labels: np.ndarray, p: np.ndarray) -> float:
    """What the tool shows is what NumPy says at its threshold, which is returned."""
    i = int(one.page.locator("#threshold").input_value())
    run = one.page.locator("#threshold-run")
    which = int(run.input_value()) if run.count() else 0
    data = one.page.evaluate("JSON.parse(document.getElementById('threshold-data').textContent)")
    threshold = data[which]["t"][i]
    counts = confusion(labels, p, threshold)
    said = p.astype(np.float64) >= threshold
    assert one.number("at-tp") == counts.tp == int((said & (labels == 1)).sum())
    assert one.number("at-fp") == counts.fp == int((said & (labels == 0)).sum())
    assert one.number("at-fn") == counts.fn
    assert one.number("at-tn") == counts.tn
    for name in ("accuracy", "sensitivity", "specificity", "precision", "f1"):
        expected = getattr(counts, name)
        if expected is None:
            assert one.page.locator(f"#at-{name}").inner_text() == "–"
        else:
            assert one.number(f"at-{name}") == pytest.approx(expected, abs=6e-5)
    assert one.number("threshold-value") == pytest.approx(threshold, abs=6e-5)
    place = one.page.evaluate(
        """() => {
          const axes = document.getElementById("roc-axes").getBoundingClientRect();
          const use = document.querySelector("#roc-point use").getBoundingClientRect();
          return [(use.x + use.width / 2 - axes.x) / axes.width,
                  1 - (use.y + use.height / 2 - axes.y) / axes.height];
        }"""
    )
    limits = (-0.02, 1.02)
    shown = [limits[0] + value * (limits[1] - limits[0]) for value in place]
    expected = [1 - (counts.specificity or 0), counts.sensitivity or 0]
    assert shown == pytest.approx(expected, abs=0.01), "the marker is on the curve"
    return threshold


def test_the_threshold_moves_by_keyboard_and_mouse(
    visit: Any, pages: dict[str, Path], finished: Project
) -> None:
    labels, p, chosen = answers(finished)
    one = visit(pages["one"])
    assert check_numbers(one, labels, p) == pytest.approx(chosen, abs=1e-12)
    slider = one.page.get_by_label("Threshold", exact=True)
    slider.focus()
    seen = {chosen}
    for key in ("ArrowRight", "ArrowLeft", "PageUp", "PageUp", "Home", "End", "PageDown"):
        one.page.keyboard.press(key)
        seen.add(check_numbers(one, labels, p))
    assert {0.0, 1.0} < seen
    assert len(seen) >= 6
    box = slider.bounding_box()
    for share in (0.1, 0.62, 0.9):
        one.page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        seen.add(check_numbers(one, labels, p))
    assert len(seen) >= 9
    assert slider.get_attribute("aria-valuetext") == one.page.inner_text("#threshold-value")
    one.page.get_by_role("button", name="One half").press("Enter")
    assert check_numbers(one, labels, p) == 0.5
    one.page.get_by_role("button", name="The chosen one").click()
    assert check_numbers(one, labels, p) == pytest.approx(chosen, abs=1e-12)


def test_of_several_runs_each_can_be_chosen(
    visit: Any, pages: dict[str, Path], finished: Project
) -> None:
    two = visit(pages["two"])
    for i in (1, 0):
        labels, p, chosen = answers(finished, i)
        two.page.get_by_label("Run", exact=True).select_option(str(i))
        assert check_numbers(two, labels, p) == pytest.approx(chosen, abs=1e-12)


def test_without_javascript_there_is_a_table(visit: Any, pages: dict[str, Path]) -> None:
    page = visit(pages["one"], java_script_enabled=False).page
    assert not page.locator("#threshold-tool").is_visible()
    assert not page.locator("#theme").is_visible()
    assert page.get_by_role("row", name=re.compile("^chosen")).is_visible()
    assert page.locator("img.map").first.is_visible()


@pytest.mark.parametrize("kind", ["one", "two"])
def test_it_fits_a_phone(visit: Any, pages: dict[str, Path], kind: str) -> None:
    page = visit(pages[kind], viewport={"width": 360, "height": 740}).page
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("kind", ["one", "two"])
def test_pictures_and_inputs_have_names(visit: Any, pages: dict[str, Path], kind: str) -> None:
    page = visit(pages[kind]).page
    pictures = page.locator("img").all()
    assert pictures
    assert all((picture.get_attribute("alt") or "").strip() for picture in pictures)
    assert page.locator("svg").count() > 3
    assert page.locator("svg:not([aria-label])").count() == 0
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("input, select, button")]
             .filter((one) => !(one.labels && one.labels.length)
                              && !one.getAttribute("aria-label") && !one.textContent.trim())
             .map((one) => one.outerHTML)"""
    )
    assert unnamed == []
    headings = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))"
    )
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(headings))


@pytest.mark.parametrize("kind", ["one", "two"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(visit: Any, pages: dict[str, Path], kind: str, scheme: str) -> None:
    """At least 4.5 to 1, of large texts 3 to 1 (WCAG 2.2, AA)."""
    page = visit(pages[kind], color_scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = page.evaluate(COLOURS)
    assert len(found) > 150
    weak = [
        (text["text"], text["ink"], text["paper"])
        for text in found
        if contrast(text["ink"], text["paper"]) < (3 if text["large"] else 4.5)
    ]
    assert weak == []


def contrast(first: str, second: str) -> float:
    """WCAG's ratio of two CSS colours."""
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in channels]
    return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.01)


def test_the_theme_can_be_changed_and_is_kept(visit: Any, pages: dict[str, Path]) -> None:
    page = visit(pages["one"], color_scheme="light").page
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.get_by_role("button", name="Change between light and dark").click()
    dark = page.evaluate(paper)
    assert luminance(dark) < 0.05 < 0.8 < luminance(light)
    page.reload()
    assert page.evaluate(paper) == dark
    page.emulate_media(media="print")
    assert luminance(page.evaluate(paper)) > 0.95, "paper is white"


def test_maps_can_be_switched_off(visit: Any, pages: dict[str, Path]) -> None:
    page = visit(pages["one"]).page
    first = sync_api.expect(page.locator("img.map").first)
    first.to_have_css("opacity", "1")
    page.get_by_label("Show what the network’s answer rests on").focus()
    page.keyboard.press("Space")
    first.to_have_css("opacity", "0")
