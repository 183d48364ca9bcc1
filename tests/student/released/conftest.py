"""The golden small model, as files, for the tests of released weights."""

from pathlib import Path

import pytest

from helpers.cases.released_files import Case, write_case


@pytest.fixture
def case(golden: Path, tmp_path: Path) -> Case:
    return write_case(golden, tmp_path)
