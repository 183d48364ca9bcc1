"""PTB-XL's layout on its real table and records; EchoNext refused with its reasons."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from echoingecg.catalog.build import build
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.catalog.scan import scan
from echoingecg.common import ExportError
from echoingecg.recipe import CatalogSettings
from helpers.cases.hospital import KEY, write_csv, write_ecg

ROW = {
    "ecg_id": "7",
    "patient_id": "15709.0",
    "recording_date": "1984-11-09 09:17:34",
    "report": "sinusrhythmus, normales ekg",
    "filename_lr": "records100/00000/00007_lr",
    "filename_hr": "records500/00000/00007_hr",
}


@pytest.mark.parametrize("folder", ["", "ptb-xl"])
def test_a_record_and_its_report(tmp_path: Path, folder: str) -> None:
    root = tmp_path / folder
    write_ecg(root / ROW["filename_hr"], 1)
    write_csv(root / "ptbxl_database.csv", [ROW, {**ROW, "ecg_id": "8", "filename_hr": "records500/00000/00008_hr"}])
    seen = scan(tmp_path, CatalogSettings(), KEY)
    assert seen.layout.name == "ptb-xl"
    tables = build(seen, KEY)
    names = Pseudonyms(KEY)
    (ecg,) = tables["ecgs"].to_pylist()
    assert ecg["record_id"] == names.record("15709", "7")
    assert ecg["patient_id"] == names.patient("15709")
    assert [row["reason"] for row in tables["quarantine"].to_pylist()] == ["missing_file"]
    reports = {row["subject_id"]: row["text"] for row in tables["reports"].to_pylist()}
    assert reports[ecg["record_id"]] == ROW["report"]
    assert len(reports) == 2


def test_the_real_table_and_its_records(recordings: Path, tmp_path: Path) -> None:
    """The subset's table lists 500 ECGs and 36 are there: the others are quarantined, each with its reason."""
    export = tmp_path / "ptbxl"
    shutil.copytree(recordings / "ptbxl/records500", export / "records500")
    shutil.copy(recordings / "ptbxl/ptbxl_database.csv", export)
    held = len(list(export.rglob("*_hr.hea")))
    tables = build(scan(export, CatalogSettings(layout="ptb-xl"), KEY), KEY)
    assert tables["ecgs"].num_rows == held
    assert Counter(tables["quarantine"]["reason"].to_pylist()) == {"missing_file": 500 - held}
    assert 0 < len(set(tables["ecgs"]["patient_id"].to_pylist())) < held, "a patient has repeat ECGs"
    assert Counter(tables["subgroups"]["sex"].to_pylist()).keys() == {"F", "M"}
    assert tables["subgroups"].num_rows == held
    assert len(set(tables["subgroups"]["device"].to_pylist())) > 1
    assert tables["reports"].num_rows == 499, "one ECG has none"
    assert set(tables["ecgs"]["record_id"].to_pylist()) <= set(tables["reports"]["subject_id"].to_pylist())


@pytest.mark.parametrize("layout", ["auto", "echonext"])
def test_echonext_is_refused_with_its_reasons(tmp_path: Path, layout: str) -> None:
    write_csv(
        tmp_path / "echonext_metadata_100k.csv", [{"patient_key": "1", "ecg_key": "2", "acquisition_year": "2010"}]
    )
    with pytest.raises(ExportError, match="standardised and have no amplitude unit"):
        scan(tmp_path, CatalogSettings(layout=layout), KEY)
