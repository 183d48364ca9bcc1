"""What all tests in a browser do on Prefect's pages (UI version 1)."""

import re
from typing import Any

from helpers.paths import ROOT

SHOTS = ROOT / "build" / "ui"


def shoot(page: Any, name: str) -> None:
    """Keeps a picture of the page in build/ui, for people."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(1500)  # lists and graphs are drawn after the page is there
    page.screenshot(path=SHOTS / f"{name}.png")


def field(page: Any, name: str) -> Any:
    """A field of a deployment's form."""
    label = page.locator(".schema-form-property__label", has_text=re.compile(rf"^{name}( |$)"))
    return page.locator(".schema-form-property").filter(has=label)


def choose(page: Any, name: str, value: str) -> None:
    """Chooses a value of a field."""
    field(page, name).locator(".p-select-button__control").press("ArrowDown")
    page.get_by_role("option", name=value, exact=True).click()


def tab(page: Any, name: str) -> None:
    """Opens a tab of a run's page."""
    page.locator(".p-tab", has_text=re.compile(rf"^{name}$")).click()
