"""What a person or a log is told of a fault never quotes the patient's data."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from data_contracts.monitoring import ExportRecord
from echoingecg.catalog.build import build
from echoingecg.catalog.scan import scan
from echoingecg.common import ExportError, StoreError
from echoingecg.ecg.decode import decode
from echoingecg.recipe import CatalogSettings, TeacherSettings
from echoingecg.teacher.frames import read_clip
from flows.request import find_recipe
from helpers.cases.hospital import KEY, generic_export, write_csv, write_echo
from helpers.cases.public_jobs import make_job
from helpers.ecg.ecg_files import ecg_steps
from helpers.privacy.personal_export import BIRTHS, FORMATS, GIVEN, PATIENT, SURNAME, WARD, name_dicom, write_ecg
from helpers.privacy.searching import Words
from tasks.base.workspace import Workspace
from tasks.ingest.blocks import SourceFile
from tasks.operations.retrain import ExportRecords, FinishedExport
from tasks.student import earlier_student

WORDS = Words((SURNAME, GIVEN, WARD, PATIENT, *BIRTHS))
ROW = f"{PATIENT}-1,{SURNAME},2021-03-01 08:00:00,{GIVEN}/1"


def _no_header(export: Path) -> None:
    (export / "ecgs.csv").write_text(f"{ROW}\n{ROW}2\n")


def _name_twice(export: Path) -> None:
    (export / "ecgs.csv").write_text(f"{SURNAME},{ROW}\n")


def _foreign_bytes(export: Path) -> None:
    (export / "ecgs.csv").write_bytes(f"patient_id,ecg_id,time,path\n{ROW}".encode() + b"\xff\n")


def _quote_left_open(export: Path) -> None:
    (export / "ecgs.csv").write_text(f'patient_id,ecg_id,time,path\n"{ROW}\n')


def _huge_row(export: Path) -> None:
    (export / "ecgs.csv").write_text(f"patient_id,ecg_id,time,path\n{ROW}{SURNAME * 200_000}\n")


def _names_for_columns(export: Path) -> None:
    write_csv(export / "ecgs.csv", [{SURNAME: GIVEN, "path": "signals/rec0"}])


@pytest.mark.parametrize(
    "spoil", [_no_header, _name_twice, _foreign_bytes, _quote_left_open, _huge_row, _names_for_columns]
)
def test_no_fault_of_a_table_quotes_it(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    export = generic_export(tmp_path)
    spoil(export)
    try:
        said = str(build(scan(export, CatalogSettings(), KEY), KEY)["quarantine"].to_pylist())
    except ExportError as fault:
        said = str(fault)
    assert "ecgs.csv" in said or "reason" in said
    assert not WORDS.found(said.encode()), said


@pytest.mark.parametrize("form", FORMATS)
def test_no_reader_of_ecgs_quotes_the_header(tmp_path: Path, form: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Warnings are errors here: one would fail the test."""
    path = write_ecg(form, tmp_path, ecg_steps(), f"{PATIENT}-1", "2021-03-01 08:00:00")
    assert _logged(lambda: decode(path)) == []
    assert capfd.readouterr() == ("", "")


def test_no_reader_of_clips_quotes_the_header(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_echo(tmp_path / "clip.dcm", 0)
    path = name_dicom(tmp_path / "clip.dcm", f"{PATIENT}-1", "2021-03-01")
    assert _logged(lambda: read_clip(path, TeacherSettings(stale_region="rescale"), 64)) == []
    assert capfd.readouterr() == ("", "")


def _logged(work: Callable[[], object]) -> list[str]:
    """What reaches the root logger, where Prefect listens."""
    lines: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(listener)
    try:
        work()
    finally:
        logging.getLogger().removeHandler(listener)
    return lines


def test_a_files_path_is_not_in_what_dask_logs() -> None:
    assert not WORDS.found(repr(SourceFile(Path(f"/export/{SURNAME}/1"), "0" * 64, "1" * 64)).encode())


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "student-../../x", "student-", ".."])
def test_a_recipe_names_artefacts_not_paths(tmp_path: Path, name: str) -> None:
    job = make_job(find_recipe("smoke", [f"student.warm_start={name}"]), str(tmp_path), str(tmp_path / "workspace"))
    with pytest.raises(StoreError, match=r"names no artefact|no artefact named"):
        earlier_student(job)


def test_records_of_exports_are_the_owners_alone(tmp_path: Path) -> None:
    records = ExportRecords(Workspace(tmp_path))
    one = FinishedExport(tmp_path / SURNAME, 1, "a")
    records.keep(one, ExportRecord(export=SURNAME))
    records.keep(one, ExportRecord(export=SURNAME, tries=1))
    assert records.get(one).tries == 1
    assert [path.stat().st_mode & 0o777 for path in sorted((tmp_path / "private").rglob("*"))] == [0o700, 0o600]
