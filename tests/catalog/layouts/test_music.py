"""MUSIC 1.0.1: its clinical table is read, and each recording of X, Y and Z is refused without being opened."""

from pathlib import Path

import numpy as np
import pytest
import wfdb

from echoingecg.catalog.build import build, build_catalog
from echoingecg.catalog.check import check_export
from echoingecg.catalog.exports import SitedExport
from echoingecg.catalog.layouts.base import patient_of_site
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.catalog.scan import scan
from echoingecg.catalog.several import scan_exports
from echoingecg.common import UserError
from echoingecg.recipe import CatalogSettings
from flows.request import find_recipe
from helpers.cases.hospital import KEY, generic_export, read_csv, write_csv
from helpers.cases.public_jobs import make_job
from tasks.all_stages import WORKS

# Columns and their spelling as published; the last one ends in a blank.
HEADER = (
    "Patient ID;Follow-up period from enrollment (days);days_4years;Exit of the study;Cause of death;Age;"
    "Gender (male=1);NYHA class;LVEF (%);Holter available;Hig-resolution ECG available;ECG rhythm "
)
ROWS = (
    "P0001;1460;1460;;0;58;1;2;35;1;1;0",
    "P0002;200;200;3;3;71;0;3;28;1;0;1",
    "P0003;900;900;;0;66;1;2;;0;0;0",
    "P0004;900;900;;0;66;1;2;n/a;0;1;0",
)
NAMES = Pseudonyms(KEY)


def music(root: Path, rows: tuple[str, ...] = ROWS) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "subject-info.csv").write_text("\n".join((HEADER, *rows)) + "\n")
    (root / "High-resolution_ECG").mkdir(exist_ok=True)
    wave = np.exp(-(((np.arange(2000) / 1000 % 0.9) - 0.45) ** 2) / 0.015**2)[:, None] * [1, 0.8, 0.5]
    wfdb.wrsamp(
        "P0001_H", fs=1000, units=["mV"] * 3, sig_name=["X", "Y", "Z"], p_signal=wave, fmt=["16"] * 3,
        write_dir=str(root / "High-resolution_ECG"),
    )  # fmt: skip
    return root


@pytest.mark.parametrize("layout", ["auto", "music"])
@pytest.mark.parametrize("folder", ["", "1.0.1"])
def test_the_table_is_read_and_each_recording_is_a_row_with_a_reason(tmp_path: Path, layout: str, folder: str) -> None:
    export = music(tmp_path / "music" / folder)
    for file in export.glob("High-resolution_ECG/*"):
        file.chmod(0o000)
    seen = scan(tmp_path / "music", CatalogSettings.model_validate({"layout": layout}), KEY)
    assert (seen.layout.name, seen.read_files) == ("music", 0)
    result = build_catalog(seen, KEY)
    tables = result.tables
    assert tables["ecgs"].num_rows == tables["echoes"].num_rows == 0
    measured = {
        (row["patient_id"], row["measurement"]): (row["value"], row["unit"])
        for row in tables["measurements"].to_pylist()
    }
    first, second, third, fourth = (NAMES.patient(patient_of_site("MUSIC", f"P000{number}")) for number in range(1, 5))
    assert measured[first, "lvef"] == (35.0, "%")
    assert measured[second, "cause_of_death"] == (3.0, "")
    assert measured[second, "nyha_class"] == (3.0, "")
    assert (third, "lvef") not in measured, "an empty field is no bad row"
    assert result.gaps == 1
    refused = tables["quarantine"].to_pylist()
    leads = [row for row in refused if row["reason"] == "missing_leads"]
    assert len(leads) == 4, "two Holters, two high-resolution ECGs"
    assert all("X, Y and Z: twelve leads from them would be a guess" in row["detail"] for row in leads)
    assert [row["detail"] for row in refused if row["reason"] != "missing_leads"] == ["the value is not a number"]
    assert (fourth, "lvef") not in measured
    names = {
        row["path"].rpartition("/subject")[2].replace("subject-info", "-info")
        for row in result.refused_rows.to_pylist()
    }
    assert "-info.csv#2 High-resolution_ECG/P0001_H" in names
    assert "-info.csv#3 Holter_ECG/P0002" in names


def test_what_check_export_prints(tmp_path: Path) -> None:
    summary = check_export(music(tmp_path), CatalogSettings())
    assert (summary.layout, summary.counts["ECGs"]) == ("music", 0)
    assert summary.measurements.results["lvef", "%"] == 2
    assert {reason: count for (reason, _), count in summary.refused.items()} == {"missing_leads": 4, "bad_row": 1}


def test_a_run_on_it_stops_in_one_line(tmp_path: Path) -> None:
    recipe = find_recipe("smoke", ["catalog.layout=auto"])
    job = make_job(recipe, str(music(tmp_path / "music")), str(tmp_path / "workspace"), only=["catalog"])
    with pytest.raises(UserError, match=r"catalog: 5 of \d+ refused.*missing_leads") as fault:
        WORKS["catalog"].run(job, {})
    assert "\n" not in str(fault.value)


def test_its_numbers_are_labels_of_twelve_lead_ecgs_in_another_export(tmp_path: Path) -> None:
    own = generic_export(tmp_path / "own", 2)
    for name in ("echoes.csv", "reports.csv", "measurements.csv"):
        (own / name).unlink()
    listed = [
        row | {"patient_id": f"P000{number}", "time": "1970-01-01 00:00:00"}
        for number, row in enumerate(read_csv(own / "ecgs.csv"), start=1)
    ]
    write_csv(own / "ecgs.csv", listed)
    exports = SitedExport(music(tmp_path / "music")), SitedExport(own, "MUSIC")
    seen, _ = scan_exports(exports, CatalogSettings(), KEY, [None, None])
    tables = build_catalog(seen, KEY).tables
    owners = set(tables["ecgs"]["patient_id"].to_pylist())
    measured = {row["patient_id"]: row for row in tables["measurements"].to_pylist() if row["measurement"] == "lvef"}
    assert owners == measured.keys()
    assert all(row["hours"] == 0 for row in measured.values())


def test_tables_of_the_users_own_are_read_beside_it(tmp_path: Path) -> None:
    export = generic_export(tmp_path)
    music(tmp_path)
    seen = scan(export, CatalogSettings(), KEY)
    assert seen.layout.name == "generic"
    assert build(seen, KEY)["ecgs"].num_rows == 3
