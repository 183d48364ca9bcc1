"""Rows that are refused: named for the operator by table and number, without a name for everybody else."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from echoingecg.catalog.build import build_catalog
from echoingecg.catalog.layouts.quoting import MALFORMED
from echoingecg.catalog.layouts.tables import seconds
from echoingecg.catalog.pseudonyms import Pseudonyms, source_ids, source_numbers
from echoingecg.catalog.refusals import Refusals
from echoingecg.catalog.scan import scan
from echoingecg.recipe import CatalogSettings
from helpers.cases.hospital import KEY, append_row, generic_export, mimic_export, read_csv, rows

FILES = {
    "ecgs.csv": {"ecg_id": "2", "time": "x"},
    "echoes.csv": {"study_id": ""},
    "reports.csv": {"report_id": "X", "method": "MRI"},
    "measurements.csv": {"value": "35,5"},
}


def refusals(export: Path) -> dict[str, str]:
    """Detail of each refused row by its name in the private index."""
    catalog = build_catalog(scan(export, CatalogSettings(), KEY), KEY)
    details = {row["source_id"]: row["detail"] for row in rows(catalog.tables["quarantine"])}
    return {row["path"]: details[row["source_id"]] for row in rows(catalog.refused_rows)}


@pytest.mark.parametrize("table", FILES)
def test_a_row_is_named_by_its_number_in_the_file(tmp_path: Path, table: str) -> None:
    generic_export(tmp_path)
    path = tmp_path / table
    good = path.read_text()
    last = len(read_csv(path)) + 1  # the header is row 1
    path.write_text(good + "too,few\n")
    append = good.splitlines()[-1]
    path.write_text(path.read_text() + append + "\n")  # repeats an earlier row
    found = refusals(tmp_path)
    assert found[f"{table}#{last + 1}"] == MALFORMED
    if not append.startswith("as far"):  # the last line of a report is not a row
        assert found[f"{table}#{last + 2}"] == "repeats an earlier row"
    path.write_text(good)
    append_row(path, **FILES[table])
    assert list(refusals(tmp_path)) == [f"{table}#{last + 1}"]


TIMES = [
    ("03/14/2024 10:20", False),
    ("03/04/2024 10:20", False),
    ("2024-03-14 10:20", True),
    ("2024-03-14T10:20:05.5", True),
    ("2024-03-14 10:20:00Z", False),
    ("2024-03-14 10:20:00+01:00", False),
    ("2024-03-14", False),
    ("14.03.2024 10:20", False),
    ("9999-12-31 00:00:00", False),
    ("0001-01-01 00:00:00", False),
    ("1753-01-01 00:00:00", False),
    ("2024-02-30 10:00:00", False),
    ("2024-03-14 25:00:00", False),
    ("٢٠٢٤-03-14 10:20", False),
]


@pytest.mark.parametrize(("text", "is_read"), TIMES)
def test_one_form_of_time_is_read(text: str, is_read: bool) -> None:
    assert seconds(pd.Series([text], dtype="str")).notna().tolist() == [is_read]


@pytest.mark.parametrize("text", ["9999-12-31 00:00:00", "03/04/2024 10:20", "2021-03-01T00:00:00+02:00"])
@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("mimic-iv-ecg/record_list.csv", "ecg_time"),
        ("mimic-iv-echo/echo-record-list.csv", "acquisition_datetime"),
        ("mimic-iv-echo/echo_notes.csv", "charttime"),
        ("mimic-iv-echo/structured_measurement.csv", "measurement_datetime"),
    ],
)
def test_another_time_refuses_its_row_and_states_the_rule(tmp_path: Path, table: str, column: str, text: str) -> None:
    mimic_export(tmp_path)
    append_row(tmp_path / table, **{column: text})
    ((name, detail),) = [item for item in refusals(tmp_path).items() if "differs" not in item[1]]
    assert name == f"{table}#5"
    assert "2180-07-23 08:44:00, year 1800 to 2499" in detail


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [("sex", "MALE", "not F, M or X"), ("age", "30-35", "a band such as 30-35 is not read"), ("age", "-1", "number")],
)
def test_other_sexes_and_ages_are_refused_with_the_rule(tmp_path: Path, column: str, value: str, rule: str) -> None:
    generic_export(tmp_path)
    path = tmp_path / "ecgs.csv"
    pd.read_csv(path, dtype=str).assign(sex=["m", "F", ""], age=["30", "", "40"]).to_csv(path, index=False)
    assert refusals(tmp_path) == {}
    frame = pd.read_csv(path, dtype=str)
    frame.loc[1, column] = value
    frame.to_csv(path, index=False)
    ((name, detail),) = refusals(tmp_path).items()
    assert name == "ecgs.csv#3 subgroups"
    assert rule in detail


def test_pseudonyms_of_sources_come_back_from_their_bits_in_their_order() -> None:
    names = [*sorted(Pseudonyms(KEY).source("ecg", str(number)) for number in range(300)), "src-ffffffffffffffff"]
    numbers = source_numbers(names)
    assert (np.diff(numbers.astype(object)) > 0).all()
    assert source_ids(numbers).to_pylist() == names
    assert source_ids(np.zeros(0, np.uint64)).to_pylist() == []


def test_a_source_is_refused_once_for_its_first_reason() -> None:
    names = Pseudonyms(KEY)
    refused = Refusals(names)
    file = names.source("ecg", "a.hea")
    refused.add_sources([file], "missing_file", "not there")
    refused.add_rows(["ecgs.csv#2", "ecgs.csv#3"], "first")
    refused.add_sources([file], "duplicate", "second")
    refused.add_rows(["ecgs.csv#3"], "second")
    refused.add_records("m.csv", " EF", np.array([7, 9]), "third")
    quarantine, named = refused.tables()
    expected = {file: ("missing_file", "not there")}
    expected |= {names.source(f"ecgs.csv#{number}"): ("bad_row", "first") for number in (2, 3)}
    expected |= {names.source(f"m.csv#{number} EF"): ("bad_row", "third") for number in (7, 9)}
    assert [(row["source_id"], (row["reason"], row["detail"])) for row in rows(quarantine)] == sorted(expected.items())
    assert {row["path"] for row in rows(named)} == {"ecgs.csv#2", "ecgs.csv#3", "m.csv#7 EF", "m.csv#9 EF"}
    assert all(names.source(row["path"]) == row["source_id"] for row in rows(named))
