"""Fixtures that every test may use. Outside recordings are read in place, never copied here."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")

SHARED = Path(os.environ.get("ECHOINGECG_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def _needed(name: str) -> Path:
    folder = SHARED / name
    if not folder.exists():
        pytest.skip(f"needs {name} in a folder 'shared' beside the checkout, or ECHOINGECG_SHARED")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of golden cases."""
    return _needed("golden")


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder of real recordings."""
    return _needed("data")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, without a window."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `ui`")
    with sync_api.sync_playwright() as playwright:
        # Chromium's own sandbox needs user namespaces, which a container may not grant.
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()
