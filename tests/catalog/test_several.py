"""A run of several exports: nobody is merged, and an export gives beside others what it gives alone."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from data_contracts import catalog
from data_contracts.tables import TableContract
from echoingecg.catalog.build import build_catalog
from echoingecg.catalog.exports import SitedExport
from echoingecg.catalog.layouts.base import patient_of_site
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.catalog.several import scan_exports
from echoingecg.common import ExportError, UserError
from echoingecg.recipe import CatalogSettings
from helpers.cases.hospital import (
    KEY,
    generic_export,
    mimic_export,
    read_csv,
    rows,
    tables_of,
    write_csv,
    write_ecg,
    write_echo,
)

NAMES = Pseudonyms(KEY)
OF_PATIENTS = ("ecgs", "echoes", "reports", "measurements")


def built(*exports: SitedExport, **settings: Any) -> Any:
    scanned, _ = scan_exports(exports, CatalogSettings(**settings), KEY, [None] * len(exports))
    return build_catalog(scanned, KEY, release=True)


def other_hospital(root: Path, patients: int = 3) -> Path:
    """Writes an export whose numbers and file names are those of `generic_export`."""
    export = generic_export(root, patients)
    for number in range(patients):
        write_ecg(root / f"signals/rec{number}", 100 + number)
        write_echo(root / f"clips/clip{number}.dcm", 100 + number)
    lowered = [row | {"value": str(float(row["value"]) - 30)} for row in read_csv(export / "measurements.csv")]
    write_csv(export / "measurements.csv", lowered)
    return export


def content(table: Any) -> list[list[tuple[str, str]]]:
    """Rows without the pseudonyms of places in the export."""
    return sorted(
        sorted((k, str(v)) for k, v in row.items() if k not in ("source_id", "clip_id")) for row in rows(table)
    )


def test_equal_numbers_at_two_exports_are_two_patients(tmp_path: Path) -> None:
    north = SitedExport(generic_export(tmp_path / "a"), "North")
    south = SitedExport(other_hospital(tmp_path / "b"), "South")
    both = built(north, south)
    tables = both.tables
    assert tables["quarantine"].num_rows == 0
    wanted = {NAMES.patient(patient_of_site(site, f"PAT{at:04d}")) for site in ("North", "South") for at in range(3)}
    for name in OF_PATIENTS:
        assert set(tables[name]["patient_id"].to_pylist()) == wanted, name
    for at in range(3):
        for site, value in (("North", 55 + at), ("South", 25 + at)):
            patient = NAMES.patient(patient_of_site(site, f"PAT{at:04d}"))
            measured = [row["value"] for row in rows(tables["measurements"]) if row["patient_id"] == patient]
            assert measured == [value]
    sites = {row["record_id"]: row["site"] for row in rows(tables["subgroups"])}
    owner = {row["record_id"]: row["patient_id"] for row in rows(tables["ecgs"])}
    assert len(sites) == 6
    for record, site in sites.items():
        named = "North" if site == NAMES.site("North") else "South"
        assert owner[record] in {NAMES.patient(patient_of_site(named, f"PAT{at:04d}")) for at in range(3)}
    assert len(set(tables["ecgs"]["source_id"].to_pylist())) == 6, "equal paths in two folders are two files"
    again = built(south, north)
    assert {name: content(again.tables[name]) for name in OF_PATIENTS} == {
        name: content(tables[name]) for name in OF_PATIENTS
    }, "the order of the exports does not matter"


def test_an_export_alone_gives_what_it_gives_beside_others(tmp_path: Path) -> None:
    north = SitedExport(other_hospital(tmp_path / "a"), "North")
    south = SitedExport(mimic_export(tmp_path / "b"), "South")
    both = built(north, south).tables
    alone = [built(export).tables for export in (north, south)]
    for name in (*OF_PATIENTS, "subgroups"):
        parts = [rows(tables[name]) for tables in alone]
        together = sorted(parts[0] + parts[1], key=lambda row: sorted(map(str, row.items())))
        assert together == sorted(rows(both[name]), key=lambda row: sorted(map(str, row.items()))), name


def test_a_named_export_is_the_same_as_one_that_states_its_site(tmp_path: Path) -> None:
    """Patients, records and sides of a site do not depend on the way in which the site is stated."""
    named = built(SitedExport(generic_export(tmp_path / "a"), "North")).tables
    stated = generic_export(tmp_path / "b")
    for name in ("ecgs.csv", "echoes.csv", "reports.csv", "measurements.csv"):
        write_csv(stated / name, [row | {"site": "North"} for row in read_csv(stated / name)])
    tables = tables_of(stated)
    for name in (*OF_PATIENTS, "subgroups"):
        assert content(named[name]) == content(tables[name]), name


def test_one_export_without_a_site_is_as_before(tmp_path: Path) -> None:
    export = mimic_export(tmp_path / "a")
    together, alone = built(SitedExport(export)).tables, tables_of(export)
    for contract in catalog.TABLES:
        assert isinstance(contract, TableContract)
        assert together[contract.name].equals(alone[contract.name])


def test_two_exports_of_one_site_share_its_patients(tmp_path: Path) -> None:
    """A second year of the same hospital: its patients go on, and hours count from the first event of both years."""
    first = generic_export(tmp_path / "a")
    second = generic_export(tmp_path / "b")
    for name in ("ecgs.csv", "echoes.csv", "reports.csv", "measurements.csv"):
        later = [row | {"time": row["time"].replace("2021", "2022")} for row in read_csv(second / name)]
        for row in later:
            for column, new in (("ecg_id", "2"), ("study_id", "8" if row.get("study_id") else "")):
                if column in row:
                    row[column] = new
            if "subject_id" in row:
                row["subject_id"] = {"1": "2", "7": "8"}[row["subject_id"]]
        write_csv(second / name, later)
    for number in range(3):
        write_ecg(second / f"signals/rec{number}", 100 + number)
        write_echo(second / f"clips/clip{number}.dcm", 100 + number)
    tables = built(SitedExport(first, "North"), SitedExport(second, "North")).tables
    assert tables["quarantine"].num_rows == 0
    assert len(set(tables["ecgs"]["patient_id"].to_pylist())) == 3
    assert sorted(row["hours"] for row in rows(tables["ecgs"])) == [0.0] * 3 + [365 * 24.0] * 3
    repeated = built(SitedExport(first, "North"), SitedExport(shutil.copytree(first, tmp_path / "c"), "North"))
    alone = built(SitedExport(first, "North")).tables
    for name in ("ecgs", "reports", "measurements"):
        assert {str(row["patient_id"]) for row in rows(repeated.tables[name])} <= set(
            alone[name]["patient_id"].to_pylist()
        )
        kept = repeated.tables[name].num_rows
        assert kept <= alone[name].num_rows, "what is listed twice counts once or is refused, never twice"


def test_layouts_keep_their_rules(tmp_path: Path) -> None:
    """Numbers with a comma are bad rows in plain tables; refused rows name the export."""
    plain = generic_export(tmp_path / "a")
    measured = read_csv(plain / "measurements.csv")
    write_csv(plain / "measurements.csv", [measured[0] | {"value": "35,5"}, measured[1] | {"value": ""}, measured[2]])
    both = built(SitedExport(plain, "North"), SitedExport(mimic_export(tmp_path / "b"), "South"))
    details = sorted(row["detail"] for row in rows(both.tables["quarantine"]) if row["reason"] == "bad_row")
    assert details == ["no value", "the value is neither a number nor words"]
    named = [row["path"] for row in rows(both.refused_rows)]
    assert sorted(named) == ["North//measurements.csv#2", "North//measurements.csv#3"]


def test_files_of_both_exports_are_refused_under_their_own_names(tmp_path: Path) -> None:
    exports = SitedExport(generic_export(tmp_path / "a"), "North"), SitedExport(other_hospital(tmp_path / "b"), "South")
    (exports[1].folder / "clips/clip1.dcm").unlink()
    scanned, indexes = scan_exports(exports, CatalogSettings(), KEY, [None, None])
    tables = build_catalog(scanned, KEY).tables
    (refused,) = rows(tables["quarantine"])
    assert refused["reason"] == "missing_file"
    assert [refused["source_id"] in set(index["source_id"].to_pylist()) for index in indexes] == [False, True]
    assert {row["path"] for row in rows(indexes[0])} == {row["path"] for row in rows(indexes[1])}
    again, _ = scan_exports(exports, CatalogSettings(), KEY, indexes)
    assert again.read_files == 0
    assert again.digest == scanned.digest


def test_what_cannot_be_told_apart_is_refused_in_one_line(tmp_path: Path) -> None:
    north, south = generic_export(tmp_path / "a"), other_hospital(tmp_path / "b")
    with pytest.raises(ExportError, match=f"of several exports each needs the name of its site, as NORTH={south}"):
        built(SitedExport(north, "North"), SitedExport(south))
    for name in ("ecgs.csv", "echoes.csv", "reports.csv", "measurements.csv"):
        write_csv(south / name, [row | {"site": "South"} for row in read_csv(south / name)])
    with pytest.raises(ExportError, match="states its patients' sites itself: give it without 'South='"):
        built(SitedExport(south, "South"))
    mixed = built(SitedExport(north, "North"), SitedExport(south)).tables
    assert len(set(mixed["ecgs"]["patient_id"].to_pylist())) == 6


def test_how_an_export_is_given(tmp_path: Path) -> None:
    (tmp_path / "a=b").mkdir()
    assert SitedExport.parse(str(tmp_path)) == SitedExport(tmp_path)
    assert SitedExport.parse(f"St. Anne-1={tmp_path}") == SitedExport(tmp_path, "St. Anne-1")
    assert SitedExport.parse(str(tmp_path / "a=b")) == SitedExport(tmp_path / "a=b")
    for text, says in ((f"={tmp_path}", "no name of a site"), (f"a#2={tmp_path}", "no name of a site"),
                       ("North=nowhere", "not a folder"), ("nowhere", "not a folder")):  # fmt: skip
        with pytest.raises(UserError, match=says) as fault:
            SitedExport.parse(text)
        assert "\n" not in str(fault.value)
