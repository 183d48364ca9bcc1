"""PTB-XL's layout on its real table and records, against its own columns as pandas and `ast` read them."""

import ast
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from echoingecg.catalog.build import build
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.catalog.scan import scan
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
PATHS = {"filename_hr": "records500", "filename_lr": "records100"}


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


def statements(tables: dict[str, pa.Table], names: str) -> dict[tuple[str, str], float]:
    """Value by measurement and record_id, of the measurements that begin with `names`."""
    listed = [row for row in tables["measurements"].to_pylist() if row["measurement"].startswith(names)]
    stated = {(row["measurement"], row["record_id"]): row["value"] for row in listed}
    assert len(stated) == len(listed)
    return stated


def test_statements_are_those_of_the_real_table(recordings: Path, tmp_path: Path) -> None:
    """Against a slow reading by another way: pandas for the table, `ast` for the dictionaries."""
    shutil.copy(recordings / "ptbxl/ptbxl_database.csv", tmp_path)
    shutil.copytree(recordings / "ptbxl/records500", tmp_path / "records500")
    tables, names = build(scan(tmp_path, CatalogSettings(), KEY), KEY), Pseudonyms(KEY)
    truth = pd.read_csv(tmp_path / "ptbxl_database.csv")
    truth["codes"] = truth["scp_codes"].map(ast.literal_eval)
    truth["record"] = [names.record(f"{row.patient_id:.0f}", str(row.ecg_id)) for row in truth.itertuples()]
    every = set().union(*truth["codes"])
    flags, likelihoods = {}, {}
    for row in truth.itertuples():
        for code in every:
            flags[f"scp:{code}", row.record] = float(code in row.codes)
            if row.codes.get(code, 0) > 0:
                likelihoods[f"scp_likelihood:{code}", row.record] = row.codes[code]
    assert statements(tables, "scp:") == flags
    assert statements(tables, "scp_likelihood:") == likelihoods
    folds = dict(zip(zip(["strat_fold"] * len(truth), truth["record"], strict=True), truth["strat_fold"], strict=True))
    assert statements(tables, "strat_fold") == folds
    units = {(row["measurement"].split(":")[0], row["unit"]) for row in tables["measurements"].to_pylist()}
    assert units == {("scp", ""), ("scp_likelihood", "%"), ("strat_fold", "")}
    assert max(tables["subgroups"]["age"].to_pylist()) <= 90


def ptb_xl_of(folder: Path, rows: list[dict[str, str]], records: str = "records500") -> dict[str, pa.Table]:
    """Catalog of ECGs with the given columns, numbered from 1."""
    for number, row in enumerate(rows, start=1):
        paths = {column: f"{name}/00000/{number:05}_{column[-2:]}" for column, name in PATHS.items()}
        row |= ROW | paths | {"ecg_id": str(number)} | row
        write_ecg(folder / next(path for path in paths.values() if path.startswith(records)), number)
    write_csv(folder / "ptbxl_database.csv", rows)
    return build(scan(folder, CatalogSettings(), KEY), KEY)


def test_superclasses_are_those_of_the_published_table_of_codes(tmp_path: Path) -> None:
    """Rows of scp_statements.csv 1.0.3 as published: LVH is a diagnosis of HYP, SR a rhythm, NDT both form and STTC."""
    (tmp_path / "scp_statements.csv").write_text(
        ",description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass\n"
        "LVH,left ventricular hypertrophy,1.0,,,HYP,LVH\nNDT,non-diagnostic T abnormalities,1.0,1.0,,STTC,STTC\n"
        "SR,sinus rhythm,,,1.0,,\n"
    )
    codes = ["{'LVH': 50.0, 'SR': 0.0}", "{'NDT': 0.0}", "{'SR': 0.0}", ""]
    tables = ptb_xl_of(tmp_path, [{"scp_codes": text} for text in codes])
    one, two, three, _ = (Pseudonyms(KEY).record("15709", str(number)) for number in range(1, 5))
    assert statements(tables, "scp_class:") == {
        ("scp_class:HYP", one): 1, ("scp_class:HYP", two): 0, ("scp_class:STTC", one): 0, ("scp_class:STTC", two): 1,
    }  # fmt: skip
    assert statements(tables, "scp:LVH") == {("scp:LVH", one): 1, ("scp:LVH", two): 0, ("scp:LVH", three): 0}
    assert statements(tables, "scp_likelihood:") == {("scp_likelihood:LVH", one): 50}, "0 is unknown, not 0 %"


def test_statements_that_are_no_dictionary_refuse_their_row(tmp_path: Path) -> None:
    rows = [{"scp_codes": "__import__('os')", "strat_fold": ""}, {"scp_codes": "{'SR': 0.0}", "strat_fold": "11"}]
    tables = ptb_xl_of(tmp_path, rows)
    assert [row["detail"] for row in tables["quarantine"].to_pylist()] == ["scp_codes is not a dictionary of codes"]
    assert [row["measurement"] for row in tables["measurements"].to_pylist()] == ["scp:SR"]
    assert tables["ecgs"].num_rows == 2


@pytest.mark.parametrize("records", ["records500", "records100"])
def test_the_rate_is_that_of_the_records_that_are_there(tmp_path: Path, records: str) -> None:
    tables = ptb_xl_of(tmp_path, [{"age": "300", "sex": "0"}, {"age": "40", "sex": "1"}], records)
    assert tables["ecgs"].num_rows == 2
    assert tables["quarantine"].num_rows == 0
    stated = {(row["sex"], row["age"]) for row in tables["subgroups"].to_pylist()}
    assert stated == {("M", 90), ("F", 40)}, "300 stands for over 89"
