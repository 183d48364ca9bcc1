"""A person in front of a browser: opens the deployment, fills the form, sees the run, its artifacts and its report."""

import re
from typing import Any

import pytest

from helpers.servers.prefect_server import LIMIT
from helpers.ui import choose, shoot, tab

REUSED = ("catalog", "ecg", "teacher", "pairs")
MADE = ("student", "evaluation")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_start_from_student_in_a_browser(browser: Any, place: Any) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1100})
    page.set_default_timeout(60_000)
    page.goto(f"{place.ui}/deployments")
    page.get_by_role("link", name="retrain").first.wait_for()
    shoot(page, "1-deployments")

    page.get_by_role("link", name="distil").first.click()
    page.wait_for_url("**/deployments/deployment/**")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()
    choose(page, "recipe", "smoke")
    choose(page, "start_from", "student")
    shoot(page, "2-form")
    page.get_by_role("button", name="Submit").click()

    page.locator('a[href*="flow-run/"]').first.click()
    page.get_by_text("smoke on its simulated export, from student").first.wait_for()
    page.get_by_text(re.compile(r"student: \d+/\d+ \(\d+ %\)")).first.wait_for(timeout=LIMIT * 1000)
    shoot(page, "3-running")
    page.locator(".state-badge", has_text="Completed").first.wait_for(timeout=LIMIT * 1000)
    page.reload()
    for stage in REUSED:
        page.get_by_text(f"Finished in state Cached('{place.first.artefacts[stage]}").first.wait_for()
    for stage in MADE:
        page.get_by_text(f"Finished in state Completed('{place.first.artefacts[stage]}").first.wait_for()
    shoot(page, "4-finished")
    tab(page, "Task Runs")
    page.get_by_text("Cached").first.wait_for()
    shoot(page, "5-stages")

    tab(page, "Artifacts")
    for key in (*(f"{stage}-result" for stage in (*REUSED, *MADE)), "student-progress", "evaluation-figures"):
        page.get_by_text(key, exact=True).first.wait_for()
    shoot(page, "6-artifacts")
    page.get_by_text("evaluation-figures", exact=True).first.click()
    figure = page.locator('img[src^="data:image/png"]').first
    figure.wait_for()
    assert figure.evaluate("image => image.naturalWidth") > 100
    shoot(page, "7-figures")
    page.go_back()
    tab(page, "Artifacts")
    page.get_by_text("evaluation-report", exact=True).first.click()
    report = page.locator(f'a[href^="{place.artefacts}"]').first
    report.wait_for()
    shoot(page, "8-link")
    page.goto(report.get_attribute("href"))
    assert str(place.first.versions["student"]) in page.content()
    shoot(page, "9-report")
