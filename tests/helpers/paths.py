"""Folders of the checkout that tests and helpers need."""

import os
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
DATA = TESTS / "data"
CASES = Path(os.environ.get("ECHOINGECG_SHARED", ROOT.parent / "shared")) / "cases"  # small inputs that went wrong

Recording = Callable[[str], Path]  # the fixture `recording`: path of a real recording by its name
