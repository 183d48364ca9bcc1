"""The catalog's tables: what they hold, what they hide, and what was refused."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.catalog import TABLES
from echoingecg.catalog.build import build, first_events, hours_since, seconds
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.catalog.scan import scan
from echoingecg.common import ExportError, hash_files
from echoingecg.ecg.decode import source_files
from echoingecg.recipe import CatalogSettings
from helpers.cases.hospital import (
    KEY,
    append_row,
    generic_export,
    mimic_export,
    read_csv,
    refused,
    rows,
    tables_of,
    write_csv,
    write_ecg,
)


@pytest.mark.parametrize("make", [generic_export, mimic_export])
def test_everything_an_export_holds(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    tables = tables_of(make(tmp_path))
    assert {name: table.num_rows for name, table in tables.items()} == {
        "ecgs": 3,
        "echoes": 3,
        "reports": 6,
        "measurements": 3,
        "subgroups": 3 if make is mimic_export else 0,
        "quarantine": 0,
    }
    for contract in TABLES:
        contract.check(tables[contract.name])
    patients = [set(tables[name]["patient_id"].to_pylist()) for name in ("ecgs", "echoes", "reports", "measurements")]
    assert all(one == patients[0] and len(one) == 3 for one in patients)
    records, studies = set(tables["ecgs"]["record_id"].to_pylist()), set(tables["echoes"]["study_id"].to_pylist())
    assert {row["subject_id"] for row in rows(tables["reports"]) if row["method"] == "ECG"} == records
    assert {row["subject_id"] for row in rows(tables["reports"]) if row["method"] == "ECHO"} == studies
    assert {row["study_id"] for row in rows(tables["measurements"])} - {None} <= studies


def test_a_value_may_be_stated_for_an_ecg(tmp_path: Path) -> None:
    export = generic_export(tmp_path)
    (first, *_) = read_csv(export / "ecgs.csv")
    stated = {name: first[name] for name in ("patient_id", "ecg_id", "time")}
    plain = read_csv(export / "measurements.csv")
    flag = plain[0] | stated | {"study_id": "", "measurement": "flag", "value": "1", "unit": ""}
    write_csv(export / "measurements.csv", [row | {"ecg_id": ""} for row in plain] + [flag])
    tables = tables_of(export)
    found = {row["measurement"]: row["record_id"] for row in rows(tables["measurements"])}
    assert found.pop("flag") == Pseudonyms(KEY).record(first["patient_id"], first["ecg_id"])
    assert set(found.values()) == {None}


def test_hours_count_from_the_first_event(tmp_path: Path) -> None:
    tables = tables_of(mimic_export(tmp_path))
    assert tables["ecgs"]["hours"].to_pylist() == [0.0] * 3
    assert tables["echoes"]["hours"].to_pylist() == [2.0] * 3
    assert tables["measurements"]["hours"].to_pylist() == pytest.approx([2.1] * 3)
    machine = [row for row in rows(tables["reports"]) if row["method"] == "ECG"]
    assert {(row["hours"], row["text"]) for row in machine} == {(0.0, "Sinus rhythm. Normal ECG.")}


def test_nothing_raw_gets_past(tmp_path: Path) -> None:
    """Identifiers, dates, paths of the hospital in no table's bytes, whatever was refused."""
    for make, canaries in (
        (generic_export, ("PAT0", "2021-", "rec0", "clip0", "signals", "R0")),
        (mimic_export, ("1000000", "2180-", "4000000", "9000000", "p1000", "N-0", "M-0", "files")),
    ):
        export = make(tmp_path / make.__name__)
        first = next(export.rglob("*record*list.csv" if make is mimic_export else "e*s.csv"))
        for change in ({"path": "../PAT0", "dicom_filepath": "/2180-"}, {"time": "PAT0", "ecg_time": "1000000"}):
            present = {
                name: value for name, value in change.items() if name in first.read_text().splitlines()[0].split(",")
            }
            append_row(first, **present)
        tables = tables_of(export)
        assert tables["quarantine"].num_rows > 0
        for table in tables.values():
            plain = io.BytesIO()
            pq.write_table(table, plain, compression="none", use_dictionary=False)
            for canary in canaries:
                assert canary.encode() not in plain.getvalue(), canary


def test_the_key_makes_the_names(tmp_path: Path) -> None:
    export = generic_export(tmp_path)
    one, same, other = tables_of(export), tables_of(export), tables_of(export, b"another key")
    for name, table in one.items():
        assert table.equals(same[name])
        for column in table.column_names:
            if column.endswith("_id") and table.num_rows:
                both = set(table[column].to_pylist()) & set(other[name][column].to_pylist())
                assert both <= {None}, column
    for name in ("ecgs", "echoes"):
        hashes = [set(tables[name]["content_hash"].to_pylist()) for tables in (one, other)]
        assert not hashes[0] & hashes[1], "whoever holds a file cannot find its row without the key"
        plain = {hash_files(source_files(export / row["path"])) for row in read_csv(export / f"{name}.csv")}
        assert len(plain) == len(hashes[0])
        assert not hashes[0] & plain


def test_growth_changes_no_pseudonym(tmp_path: Path) -> None:
    small = tables_of(generic_export(tmp_path, 2))
    large = tables_of(generic_export(tmp_path, 4))
    for name, column in (("ecgs", "record_id"), ("echoes", "clip_id"), ("reports", "report_id")):
        assert set(small[name][column].to_pylist()) < set(large[name][column].to_pylist())


def test_rows_order_does_not_matter(tmp_path: Path) -> None:
    first = tables_of(generic_export(tmp_path))
    for table in tmp_path.glob("*.csv"):
        frame = pd.read_csv(table, dtype=str, keep_default_na=False)
        frame.iloc[::-1].to_csv(table, index=False)
    again = tables_of(tmp_path)
    assert all(again[name].equals(table) for name, table in first.items())


def test_stated_unit_and_rate_are_handed_on(tmp_path: Path) -> None:
    generic_export(tmp_path, 2)
    table = tmp_path / "ecgs.csv"
    frame = pd.read_csv(table, dtype=str)
    frame.assign(unit=["uV", ""], sampling_frequency=["500", ""]).to_csv(table, index=False)
    found = {(row["stated_unit"], row["stated_sampling_frequency"]) for row in rows(tables_of(tmp_path)["ecgs"])}
    assert found == {("uV", 500.0), (None, None)}


@pytest.mark.parametrize(
    ("table", "change", "reasons"),
    [
        ("ecgs.csv", {"ecg_id": "2", "path": "signals/none"}, ["missing_file"]),
        ("ecgs.csv", {"ecg_id": "2", "path": "../none"}, ["outside_export"]),
        ("ecgs.csv", {"ecg_id": "2", "path": ""}, ["bad_row"]),
        ("ecgs.csv", {"ecg_id": "2", "time": "2021-13-01 00:00:00"}, ["bad_row"]),
        ("ecgs.csv", {"ecg_id": "2", "time": "2021-03-01"}, ["bad_row"]),
        ("ecgs.csv", {"ecg_id": "2", "time": "2021-03-01T00:00:00+02:00"}, ["bad_row"]),
        ("ecgs.csv", {"ecg_id": ""}, ["bad_row"]),
        ("ecgs.csv", {"patient_id": " "}, ["bad_row"]),
        ("ecgs.csv", {}, ["bad_row"]),  # the same row again
        ("ecgs.csv", {"path": "signals/rec1"}, ["bad_row", "bad_row"]),  # one identifier, two files
        ("ecgs.csv", {"ecg_id": "2"}, ["bad_row"]),  # one file, two identifiers
        ("ecgs.csv", {"patient_id": "PAT0009"}, ["duplicate"]),  # one file, two patients
        ("echoes.csv", {"study_id": ""}, ["bad_row"]),
        ("echoes.csv", {"patient_id": "PAT0009"}, ["duplicate"]),
        ("echoes.csv", {"study_id": "8"}, ["bad_row", "bad_row"]),  # one file, two studies
        ("reports.csv", {"report_id": "X", "method": "MRI"}, ["bad_row"]),
        ("reports.csv", {"report_id": "X", "text": " "}, ["bad_row"]),
        ("reports.csv", {"text": "other"}, ["bad_row", "bad_row"]),
        ("measurements.csv", {"value": "Mild (1+)", "measurement": "mitral_regurg"}, []),
        ("measurements.csv", {"value": "as Mrs Berg reports"}, ["free_text"]),
        ("measurements.csv", {"value": "35,5"}, ["bad_row"]),
        ("measurements.csv", {"value": "> 55"}, ["bad_row"]),
        ("measurements.csv", {"value": "inf"}, ["bad_row"]),
        ("measurements.csv", {"value": ""}, ["bad_row"]),
        ("measurements.csv", {"measurement": ""}, ["bad_row"]),
    ],
)
def test_generic_refusals(tmp_path: Path, table: str, change: dict[str, str], reasons: list[str]) -> None:
    generic_export(tmp_path)
    append_row(tmp_path / table, **change)
    assert refused(tmp_path) == reasons


def test_the_same_content_under_two_patients_is_refused_for_both(tmp_path: Path) -> None:
    generic_export(tmp_path)
    content = (tmp_path / "clips/clip0.dcm").read_bytes()
    (tmp_path / "clips/clip1.dcm").write_bytes(content)
    tables = tables_of(tmp_path)
    assert [row["reason"] for row in rows(tables["quarantine"])] == ["duplicate", "duplicate"]
    assert tables["echoes"].num_rows == 1


def test_the_same_content_twice_for_one_patient_stays(tmp_path: Path) -> None:
    generic_export(tmp_path)
    (tmp_path / "clips/copy.dcm").write_bytes((tmp_path / "clips/clip2.dcm").read_bytes())
    append_row(tmp_path / "echoes.csv", path="clips/copy.dcm")
    assert tables_of(tmp_path)["echoes"].num_rows == 4


def test_patients_may_share_identifiers_of_ecgs_and_studies(tmp_path: Path) -> None:
    """The generic export numbers every patient's first ECG `1`."""
    tables = tables_of(generic_export(tmp_path))
    assert len(set(tables["ecgs"]["record_id"].to_pylist())) == 3
    assert len(set(tables["echoes"]["study_id"].to_pylist())) == 3


def test_rows_with_too_many_values_are_not_lost(tmp_path: Path) -> None:
    generic_export(tmp_path)
    for table in ("ecgs.csv", "reports.csv"):
        with (tmp_path / table).open("a") as file:
            file.write("PAT0001,1\nPAT0001,1,2,3,4,5,6,7,8\n")
    assert refused(tmp_path) == ["bad_row"] * 4


def test_mimic_refusals(tmp_path: Path) -> None:
    mimic_export(tmp_path)
    append_row(tmp_path / "mimic-iv-echo/echo_notes.csv", note_id="N-9")  # of no study
    append_row(tmp_path / "mimic-iv-echo/echo_notes.csv", note_id="N-0")  # of another patient's study
    append_row(tmp_path / "mimic-iv-echo/structured_measurement.csv", result="mild")
    append_row(tmp_path / "mimic-iv-ecg/machine_measurements.csv", study_id=1, report_0=" ", report_2="")
    tables = tables_of(tmp_path)
    details = sorted(row["detail"] for row in rows(tables["quarantine"]))
    assert details == ["no study names this report"] * 2 + ["no text"], "a result in words is no fault"
    assert tables["reports"].num_rows == 6


def test_a_note_on_two_studies_is_a_report_on_each(tmp_path: Path) -> None:
    mimic_export(tmp_path)
    append_row(tmp_path / "mimic-iv-echo/echo-study-list.csv", study_id=91_000_000)
    tables = tables_of(tmp_path)
    assert tables["reports"].num_rows == 7
    assert tables["quarantine"].num_rows == 0


def test_notes_without_the_list_that_links_them(tmp_path: Path) -> None:
    mimic_export(tmp_path)
    (tmp_path / "mimic-iv-echo/echo-study-list.csv").unlink()
    with pytest.raises(ExportError, match=r"needs echo-study-list\.csv"):
        tables_of(tmp_path)


@pytest.mark.parametrize("make", [generic_export, mimic_export])
def test_a_table_of_a_header_alone_is_empty(tmp_path: Path, make: Callable[..., Path]) -> None:
    for path in sorted(make(tmp_path).rglob("*.csv")):
        content = path.read_bytes()
        path.write_bytes(content[: content.index(b"\n") + 1])
        assert tables_of(tmp_path)["ecgs"].num_rows == (0 if path.name in ("ecgs.csv", "record_list.csv") else 3)
        path.write_bytes(content)


def test_a_table_that_changes_between_scan_and_build(tmp_path: Path) -> None:
    found = scan(generic_export(tmp_path), CatalogSettings(), KEY)
    append_row(tmp_path / "reports.csv", report_id="X")
    with pytest.raises(ExportError, match=r"reports\.csv changed while it was read"):
        build(found, KEY)


def test_an_export_of_ecgs_alone(tmp_path: Path) -> None:
    generic_export(tmp_path)
    for table in ("echoes.csv", "reports.csv", "measurements.csv"):
        (tmp_path / table).unlink()
    tables = tables_of(tmp_path)
    assert {name: table.num_rows for name, table in tables.items() if table.num_rows} == {"ecgs": 3}


def test_times_of_missing_files_count(tmp_path: Path) -> None:
    """An ECG that arrives late moves no other event."""
    generic_export(tmp_path, 1)
    append_row(tmp_path / "ecgs.csv", ecg_id="0", path="signals/late", time="2021-02-28 08:00:00")
    before = tables_of(tmp_path)
    write_ecg(tmp_path / "signals/late", 50)
    after = tables_of(tmp_path)
    assert before["ecgs"]["hours"].to_pylist() == [24.0]
    assert sorted(after["ecgs"]["hours"].to_pylist()) == [0.0, 24.0]
    assert after["echoes"].equals(before["echoes"])


moments = st.datetimes(min_value=pd.Timestamp("1900-01-01"), max_value=pd.Timestamp("2250-01-01"))


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), moments), min_size=1, max_size=20))
def test_hours_against_the_slow_way(events: list[tuple[str, Any]]) -> None:
    frame = pd.DataFrame(
        {"patient": [who for who, _ in events], "time": [str(when) for _, when in events]}, dtype="str"
    )
    frame["seconds"] = seconds(frame["time"])
    found = hours_since(frame["seconds"], frame["patient"].map(first_events([frame])))
    for (who, when), hours in zip(events, found, strict=True):
        first = min(other for patient, other in events if patient == who)
        exact = (when - first).total_seconds()
        assert hours >= 0
        assert abs(hours * 3600 - exact) <= 0.5 + 1e-3
        assert abs(hours * 3600 - round(hours * 3600)) < 1e-4


@given(st.text(max_size=30))
def test_other_text_is_no_time(text: str) -> None:
    (found,) = seconds(pd.Series([text], dtype="str"))
    assert pd.isna(found)


@given(st.text(), st.text(), st.text(), st.text())
def test_pseudonyms_keep_apart_what_differs(a: str, b: str, c: str, d: str) -> None:
    names = Pseudonyms(KEY)
    assert (names.record(a, b) == names.record(c, d)) == ((a, b) == (c, d))
    kinds = [
        names.patient(a),
        names.record(a, b),
        names.study(a, b),
        names.clip(a, b),
        names.report(a, b),
        names.source(a),
    ]
    assert len({one.rpartition("-")[2] for one in kinds}) == 6
