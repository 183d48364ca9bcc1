"""Records of the PhysioNet Challenge without any table, against their headers as wfdb reads them."""

import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
import wfdb

from echoingecg.catalog.build import build
from echoingecg.catalog.check import check_export
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.catalog.scan import scan
from echoingecg.common import ExportError
from echoingecg.ecg.decode import decode
from echoingecg.recipe import CatalogSettings
from helpers.cases.hospital import KEY, generic_export, write_ecg


def catalogued(export: Path, layout: str = "auto") -> dict[str, pa.Table]:
    seen = scan(export, CatalogSettings.model_validate({"layout": layout}), KEY)
    assert seen.layout.name == "challenge"
    return build(seen, KEY)


def record_id(name: str) -> str:
    return Pseudonyms(KEY).record(f"19:PhysioNet Challenge\x1f{name}", name)


def write_record(path: Path, seed: int, *comments: str) -> None:
    write_ecg(path, seed)
    with path.with_suffix(".hea").open("a") as file:
        file.writelines(f"{comment}\n" for comment in comments)


@pytest.fixture
def real(all_recordings: Path, tmp_path: Path) -> Path:
    """Records of four data sets, in folders as PhysioNet has them."""
    for path in sorted((all_recordings / "cinc2021_wfdb_mat").iterdir()):
        folder = tmp_path / "training" / path.stem[0]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    (tmp_path / "training/RECORDS").write_text("A0689\n")
    return tmp_path


def test_real_records_have_the_statements_of_their_headers(real: Path) -> None:
    tables = catalogued(real)
    truth = {}
    for path in real.rglob("*.hea"):
        comments = wfdb.rdheader(str(path.with_suffix(""))).comments
        truth[path.stem] = {key.strip(): value.strip() for key, value in (line.split(":") for line in comments)}
    assert tables["quarantine"].num_rows == 0
    assert {row["record_id"] for row in tables["ecgs"].to_pylist()} == {record_id(name) for name in truth}
    assert len(set(tables["ecgs"]["patient_id"].to_pylist())) == len(truth) == 20
    codes = {code for stated in truth.values() for code in stated["Dx"].split(",")}
    stated = {(row["record_id"], row["measurement"]): row["value"] for row in tables["measurements"].to_pylist()}
    assert stated == {
        (record_id(name), f"snomed:{code}"): float(code in about["Dx"].split(","))
        for name, about in truth.items()
        for code in codes
    }
    groups = {row["record_id"]: (row["sex"], row["age"]) for row in tables["subgroups"].to_pylist()}
    assert groups == {record_id(name): (about["Sex"][0], min(float(about["Age"]), 90)) for name, about in truth.items()}
    assert {decode(path).sampling_frequency for path in real.rglob("*.hea")} == {500}


def test_what_a_header_does_not_know_is_left_out(tmp_path: Path) -> None:
    write_record(tmp_path / "E1", 1, "#Age: NaN", "#Sex: Unknown", "#Dx: Unknown")
    write_record(tmp_path / "E2", 2, "# Age: 74", "# Sex: F", "# Dx: 426783006, 164889003")
    write_record(tmp_path / "E3", 3, "#Dx: sinus rhythm of Mr Miller")
    write_record(tmp_path / "E4", 4)
    tables = catalogued(tmp_path)
    assert tables["ecgs"].num_rows == 4
    assert {row["record_id"] for row in tables["measurements"].to_pylist()} == {record_id("E2")}
    assert [(row["record_id"], row["sex"], row["age"]) for row in tables["subgroups"].to_pylist()] == [
        (record_id("E2"), "F", 74)
    ]
    assert [row["detail"] for row in tables["quarantine"].to_pylist()] == ["Dx is no list of SNOMED CT codes"]
    summary = check_export(tmp_path, CatalogSettings())
    assert (summary.layout, summary.counts["ECGs"], summary.counts["measurements"]) == ("challenge", 4, 2)


def test_one_name_in_two_folders_and_a_missing_signal_are_refused(tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 2)):
        write_record(tmp_path / folder / "E1", seed, "#Dx: 426783006")
    write_record(tmp_path / "E2", 3, "#Dx: 426783006")
    write_record(tmp_path / "E3", 4, "#Dx: 426783006")
    (tmp_path / "E3.dat").unlink()
    tables = catalogued(tmp_path)
    assert [row["record_id"] for row in tables["ecgs"].to_pylist()] == [record_id("E2")]
    details = Counter(row["detail"] for row in tables["quarantine"].to_pylist())
    assert details.pop("differs from a row of the same identifier") == 2
    assert details == {"repeats an earlier row": 1, "the listed file is not there": 1}, "a statement, a signal"


def test_a_header_that_is_a_link_out_of_the_export_is_never_opened(tmp_path: Path) -> None:
    write_record(tmp_path / "outside/E9", 1, "#Age: 33", "#Dx: 426783006")
    write_record(tmp_path / "export/E1", 2, "#Dx: 164889003")
    (tmp_path / "export/E9.hea").symlink_to(tmp_path / "outside/E9.hea")
    tables = catalogued(tmp_path / "export")
    assert {row["measurement"] for row in tables["measurements"].to_pylist()} == {"snomed:164889003"}
    assert [row["reason"] for row in tables["quarantine"].to_pylist()] == ["outside_export"]


def test_records_without_diagnoses_are_no_challenge_unless_the_recipe_says_so(tmp_path: Path) -> None:
    """Two of them may be of one patient: without a table nobody knows."""
    write_record(tmp_path / "E1", 1, "#Age: 33")
    with pytest.raises(ExportError, match=r"no list of files; looked for .*challenge: \*.hea"):
        scan(tmp_path, CatalogSettings(), KEY)
    assert catalogued(tmp_path, "challenge")["ecgs"].num_rows == 1
    assert scan(generic_export(tmp_path / "own"), CatalogSettings(), KEY).layout.name == "generic"


def test_a_header_that_changes_gives_another_catalog(tmp_path: Path) -> None:
    digests = []
    for code in ("426783006", "164889003"):
        write_record(tmp_path / "E1", 1, f"#Dx: {code}")
        digests.append(scan(tmp_path, CatalogSettings(), KEY).digest)
    assert digests[0] != digests[1]
