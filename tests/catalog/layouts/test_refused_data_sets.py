"""Data sets that cannot be read: each is named, with what is missing, unless the user's own tables stand beside it."""

from pathlib import Path

import pytest

from echoingecg.catalog.scan import scan
from echoingecg.common import ExportError
from echoingecg.recipe import CatalogSettings
from helpers.cases.hospital import KEY, generic_export

LISTS = {  # layout -> its list, the first columns as published, and what the line says
    "music": ("subject-info.csv", "Patient ID;Age;Gender (male=1);LVEF (%)", "X, Y and Z"),
}


@pytest.mark.parametrize("automatic", [True, False])
@pytest.mark.parametrize("layout", LISTS)
def test_the_line_says_what_is_missing_and_where_to_read_on(tmp_path: Path, layout: str, automatic: bool) -> None:
    name, header, words = LISTS[layout]
    (tmp_path / name).write_text(f"{header}\n")
    settings = CatalogSettings.model_validate({"layout": "auto" if automatic else layout})
    with pytest.raises(ExportError, match=f"{words}.*docs/howto/public_cohorts.md") as fault:
        scan(tmp_path, settings, KEY)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("layout", LISTS)
def test_tables_of_the_users_own_are_read_beside_it(tmp_path: Path, layout: str) -> None:
    export = generic_export(tmp_path)
    (export / LISTS[layout][0]).write_text(f"{LISTS[layout][1]}\n")
    assert scan(export, CatalogSettings(), KEY).layout.name == "generic"
