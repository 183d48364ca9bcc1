"""Fixtures that every test may use. Outside recordings are read in place, never copied here."""

import os
from pathlib import Path

import pytest

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
