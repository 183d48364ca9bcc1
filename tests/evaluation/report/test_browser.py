"""The report in a real browser: it loads alone, every figure is seen, and no page is wider than the screen."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_contracts.evaluation import FIGURES, REPORT
from echoingecg.evaluation.evaluate import evaluate
from echoingecg.recipe import EvaluationSettings
from helpers.cases.evaluation_case import LVEF, NO_FEW_SHOT, lvef_below, make_inputs

HEIGHT = 900
LONG = "left_ventricular_ejection_fraction_by_biplane_simpson_" * 3
SEEN = """images => images.map(image => {
    const box = image.getBoundingClientRect();
    return {left: box.left, right: box.right, height: box.height, pixels: image.naturalWidth, says: image.alt};
})"""
WIDEST = """() => [document.documentElement.scrollWidth, ...[...document.querySelectorAll("body *")]
    .filter(one => !one.parentElement.closest(".scroll"))
    .map(one => Math.ceil(one.getBoundingClientRect().right))]"""


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of long names without a blank, a script among them."""
    folder = tmp_path_factory.mktemp("crowded")
    inputs = make_inputs(60)
    evil = f"<script>console.error('{LONG}')</script>"
    rows = [row | {"site": evil if at % 2 else "b"} for at, row in enumerate(inputs.subgroups.to_pylist())]
    versions = inputs.provenance["versions"] | {"ecg": LONG}
    outside = replace(
        inputs,
        provenance=inputs.provenance | {"teacher": LONG, "versions": versions, "ecg_findings": {LONG: 10**9}},
        subgroups=type(inputs.subgroups).from_pylist(rows, inputs.subgroups.schema),
    )
    asked = (lvef_below(50, name=LONG), lvef_below(45, name=evil, positive_prompts=(LONG,)))
    numbers = (LVEF.model_copy(update={"name": LONG}),)
    settings = EvaluationSettings(
        endpoints=asked, regressions=numbers, bootstrap_draws=20, few_shot=NO_FEW_SHOT, stress_ecgs=0
    )
    evaluate(outside, settings, folder)
    return folder


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("report", ["evaluated", "crowded"])
def test_the_report_reads_on_a_screen(browser: Any, report: str, width: int, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(report)
    page = browser.new_page(viewport={"width": width, "height": HEIGHT})
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda fault: said.append(str(fault)))
    page.on("request", lambda sent: asked.append(sent.url))
    page.goto((folder / REPORT).as_uri())
    for folded in page.locator("details > summary").all():
        folded.click()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [(folder / REPORT).as_uri()]
    figures = page.locator("img").evaluate_all(SEEN)
    assert len(figures) == len(list((folder / FIGURES).iterdir()))
    for figure in figures:
        assert figure["pixels"] > 700, figure
        assert figure["height"] > 100, figure
        assert 0 <= figure["left"] < figure["right"] <= width, figure
    assert max(page.evaluate(WIDEST)) <= width
    page.close()


def test_the_report_is_read_in_ten_screens_and_printed_on_fifteen_pages(browser: Any, evaluated: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": HEIGHT}, color_scheme="dark")
    page.goto((evaluated / REPORT).as_uri())
    assert page.evaluate("document.documentElement.scrollHeight") < 10 * HEIGHT
    paper, ink = page.evaluate(
        "(() => { const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]; })()"
    )
    assert brightness(paper) < 60 < 200 < brightness(ink)
    page.goto(f"{(evaluated / REPORT).as_uri()}#strata")
    assert page.locator("#strata").is_visible()
    page.close()
    assert 1 < len(re.findall(rb"/Type\s*/Page\b", page_of_paper(browser, evaluated))) <= 15


def brightness(colour: str) -> float:
    """Mean of the channels of `rgb(20, 25, 31)`."""
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def test_the_report_prints_what_it_shows(browser: Any, evaluated: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": HEIGHT})
    page.goto((evaluated / REPORT).as_uri())
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    cut = page.locator(".scroll").evaluate_all("boxes => boxes.map(one => getComputedStyle(one).overflowX)")
    assert set(cut) == {"visible"}
    page.close()
    assert len(page_of_paper(browser, evaluated)) > 100_000


def page_of_paper(browser: Any, folder: Path) -> bytes:
    page = browser.new_page()
    page.goto((folder / REPORT).as_uri())
    printed: bytes = page.pdf(format="A4", print_background=True)
    page.close()
    return printed
