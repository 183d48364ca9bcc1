"""Table contracts: types, nulls, values, bytes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts import catalog, ecg, evaluation, pairs, student, tables, teacher
from data_contracts.conventions import ContractError
from data_contracts.pairs import ECG_ECHO, PATIENTS, check_no_leakage
from data_contracts.quarantine import QUARANTINE

ROW = {"source_id": "src-1", "reason": "truncated", "detail": "holds 10 of 100 bytes"}
ALL = [one for module in (catalog, ecg, teacher, pairs, student, evaluation) for one in module.TABLES]


@pytest.mark.parametrize("contract", ALL, ids=lambda one: one.name)
def test_every_table_may_be_empty_and_comes_back(contract, tmp_path: Path) -> None:
    contract.write(contract.build([]), tmp_path)
    assert contract.read(tmp_path).schema.equals(contract.schema, check_metadata=True)


@pytest.mark.parametrize("contract", ALL, ids=lambda one: one.name)
def test_every_column_says_what_it_is(contract) -> None:
    assert all(field.metadata[b"description"] for field in contract.schema)


def test_same_rows_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        QUARANTINE.write(QUARANTINE.build([ROW]), tmp_path / name)
    assert (tmp_path / "a/quarantine.parquet").read_bytes() == (tmp_path / "b/quarantine.parquet").read_bytes()


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([ROW | {"reason": "because"}], "reason"),
        ([ROW, ROW], "source_id"),
        ([ROW | {"detail": None}], "detail"),
        ([ROW | {"detail": 5}], "quarantine"),
    ],
)
def test_bad_rows_are_one_line(rows: list[dict], says: str) -> None:
    with pytest.raises(ContractError, match=says) as fault:
        QUARANTINE.build(rows)
    assert "\n" not in str(fault.value)


def test_missing_extra_and_mistyped_columns(tmp_path: Path) -> None:
    table = QUARANTINE.build([ROW])
    with pytest.raises(ContractError, match="lacks the column 'detail'"):
        QUARANTINE.check(table.drop(["detail"]))
    with pytest.raises(ContractError, match="unknown column 'more'"):
        QUARANTINE.check(table.append_column("more", pa.array([1])))
    with pytest.raises(ContractError, match="int64, expected string"):
        QUARANTINE.check(table.set_column(2, "detail", pa.array([1])))
    with pytest.raises(ContractError, match="cannot be read"):
        QUARANTINE.read(tmp_path)
    (tmp_path / "quarantine.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ContractError, match="cannot be read"):
        QUARANTINE.read(tmp_path)


def test_checked_on_read_too(tmp_path: Path) -> None:
    bad = pa.Table.from_pylist([ROW | {"reason": "because"}], schema=QUARANTINE.schema)
    pq.write_table(bad, tmp_path / "quarantine.parquet")
    with pytest.raises(ContractError, match="because"):
        QUARANTINE.read(tmp_path)


def pair(patient: str, split: str) -> dict:
    return {"record_id": "e", "study_id": "s", "patient_id": patient, "split": split, "gap_hours": 1.0}


def test_leakage_is_found() -> None:
    patients = PATIENTS.build([{"patient_id": "p1", "split": "train"}, {"patient_id": "p2", "split": "test"}])
    check_no_leakage(patients, ECG_ECHO.build([pair("p1", "train")]))
    for wrong in (pair("p1", "test"), pair("p3", "train")):
        with pytest.raises(ContractError, match="leakage"):
            check_no_leakage(patients, ECG_ECHO.build([wrong]))


@pytest.mark.parametrize("values", [["b", "c", "a", "b", "d"], ["a", "b", "b", "c", "d"]])
@pytest.mark.parametrize("part", [1, 2, 100])
def test_a_repetition_is_found_whatever_the_parts(
    monkeypatch: pytest.MonkeyPatch, values: list[str], part: int
) -> None:
    monkeypatch.setattr(tables, "_ROWS_AT_ONCE", part)
    contract = tables.TableContract(
        "names", (tables.column("name", pa.string(), "a name"),), lambda check: {"name": check.isin("abcd")}, ("name",)
    )
    with pytest.raises(ContractError, match=r"table 'names': .*not unique"):
        contract.check(pa.table({"name": values}, schema=contract.schema))
    with pytest.raises(ContractError, match=r"table 'names': .*isin"):
        contract.check(pa.table({"name": ["a", "b", "c", "x"]}, schema=contract.schema))
    assert contract.check(pa.table({"name": ["b", "a", "d"]}, schema=contract.schema)).num_rows == 3
