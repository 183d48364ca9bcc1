"""CODE-15 and SaMi-Trop as published: which exam is whose, its signal, its findings, what is refused."""

from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest

from data_contracts.conventions import LEADS
from echoingecg.catalog.build import build
from echoingecg.catalog.check import check_export
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.catalog.scan import Scan, scan
from echoingecg.common import ExportError, Refusal
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.arrays import hdf5
from echoingecg.ecg.decode.recording import arrange
from echoingecg.recipe import CatalogSettings
from helpers.cases.code_15 import (
    FLAGS,
    ORDER,
    code_15_export,
    exam,
    padded,
    sami_trop_export,
    signal,
    write_part,
)  # fmt: skip
from helpers.cases.hospital import KEY, read_csv, write_csv


def catalogued(export: Path, **settings: str) -> tuple[Scan, dict[str, pa.Table]]:
    seen = scan(export, CatalogSettings.model_validate(settings), KEY)
    return seen, build(seen, KEY)


def decoded(export: Path, seen: Scan, tables: dict[str, pa.Table]) -> dict[str, np.ndarray]:
    """Signal in mV by record_id, (12, time) in the project's order of leads."""
    path_of = {row["source_id"]: export / row["path"] for row in seen.sources.to_pylist()}
    return {
        row["record_id"]: arrange(
            decode(
                path_of[row["source_id"]],
                row["stated_unit"],
                row["stated_sampling_frequency"],
                row["stated_leads"].split(";"),
            )
        )
        for row in tables["ecgs"].to_pylist()
    }


def truth(number: int) -> np.ndarray:
    return signal(number).T[[ORDER.index(lead) for lead in LEADS]]


@pytest.mark.parametrize("folder", ["", "code15"])
def test_each_exam_has_its_own_signal_findings_and_patient(tmp_path: Path, folder: str) -> None:
    rows = code_15_export(tmp_path / folder)
    seen, tables = catalogued(tmp_path)
    assert seen.layout.name == "code-15"
    assert tables["quarantine"].num_rows == 0
    names, signals = Pseudonyms(KEY), decoded(tmp_path, seen, tables)
    values = {(row["record_id"], row["measurement"]): row["value"] for row in tables["measurements"].to_pylist()}
    subgroups = {row["record_id"]: row for row in tables["subgroups"].to_pylist()}
    assert len(values) == len(rows) * (len(FLAGS) + 1)
    for row in rows:
        patient = f"7:CODE-15\x1f{row['patient_id']}"
        record = names.record(patient, row["exam_id"])
        np.testing.assert_allclose(signals[record], truth(int(row["exam_id"])), atol=1e-6)
        assert {flag: values[record, flag] for flag in FLAGS} == {flag: row[flag] == "True" for flag in FLAGS}
        assert values[record, "normal_ecg"] == (row["normal_ecg"] == "True")
        assert subgroups[record]["sex"] == ("M" if row["is_male"] == "True" else "F")
        assert subgroups[record]["age"] == 38
    owner = {row["record_id"]: row["patient_id"] for row in tables["ecgs"].to_pylist()}
    assert Counter(Counter(owner.values()).values()) == {2: 3}, "each patient has two exams"
    assert {row["hours"] for row in tables["ecgs"].to_pylist()} == {0.0}


def test_a_part_that_was_unpacked_into_its_own_folder(tmp_path: Path) -> None:
    write_csv(tmp_path / "exams.csv", [exam(1, 1, 3)])
    write_part(tmp_path / "exams_part3/exams_part3.hdf5", [1], [padded(signal(1))])
    assert catalogued(tmp_path)[1]["ecgs"].num_rows == 1


def test_sami_trop_stands_in_the_order_of_its_table(tmp_path: Path) -> None:
    rows = sami_trop_export(tmp_path)
    seen, tables = catalogued(tmp_path)
    signals = decoded(tmp_path, seen, tables)
    for row in rows:
        record = Pseudonyms(KEY).record(f"9:SaMi-Trop\x1f{row['exam_id']}", row["exam_id"])
        np.testing.assert_allclose(signals[record], truth(int(row["exam_id"])), atol=1e-6)
    assert {row["measurement"] for row in tables["measurements"].to_pylist()} == {"normal_ecg"}


def test_sami_trop_with_another_number_of_tracings_is_refused(tmp_path: Path) -> None:
    sami_trop_export(tmp_path, exams=3, tracings=4)
    tables = catalogued(tmp_path)[1]
    assert tables["ecgs"].num_rows == 0
    assert {row["detail"] for row in tables["quarantine"].to_pylist()} == {
        "4 tracings for a table of 3 rows: which is whose is not known"
    }


def test_exams_that_cannot_be_used_are_refused_one_by_one(tmp_path: Path) -> None:
    rows = code_15_export(tmp_path)
    rows += [exam(1, 1, 0), exam(2, 2, 5), {**exam(3, 3, 0), "is_male": "perhaps", "AF": "perhaps"}]
    write_csv(tmp_path / "exams.csv", rows)
    with h5py.File(tmp_path / "exams_part9.hdf5", "w") as file:
        file["exam_id"], file["tracings"] = np.array([4, 4, 5]), np.zeros((3, 4096, 12), np.float32)
    (tmp_path / "exams_part8.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n")
    write_csv(tmp_path / "exams.csv", [*rows, exam(4, 4, 9), exam(6, 6, 8)])
    tables = catalogued(tmp_path)[1]
    assert tables["ecgs"].num_rows == 6
    assert Counter((row["reason"], row["detail"]) for row in tables["quarantine"].to_pylist()) == {
        ("missing_file", "the file has no such exam"): 2,
        ("missing_file", "the listed file is not there"): 1,
        ("unreadable", "the file has several tracings of this exam"): 1,
        ("unreadable", "HDF5 fails with OSError"): 1,
        ("bad_row", "the value is not a number"): 1,
    }
    summary = check_export(tmp_path, CatalogSettings())
    assert summary.counts["ECGs"] == 6
    assert summary.counts["patients"] == 3


def test_values_in_another_file_are_never_read(tmp_path: Path) -> None:
    """HDF5 knows links, virtual data sets and external storage: all lead out of the export."""
    outside = tmp_path / "outside.hdf5"
    write_part(outside, [1], [padded(signal(1))])
    export = tmp_path / "export"
    export.mkdir()
    write_csv(export / "exams.csv", [exam(1, 1, 0), exam(1, 2, 1), exam(1, 3, 2)])
    for part in range(3):
        with h5py.File(export / f"exams_part{part}.hdf5", "w") as file:
            file["exam_id"] = np.array([1, 0])
            if part == 0:
                file["tracings"] = h5py.ExternalLink(str(outside), "tracings")
            elif part == 1:
                layout = h5py.VirtualLayout((2, 4096, 12), np.float32)
                layout[:] = h5py.VirtualSource(str(outside), "tracings", (2, 4096, 12))
                file.create_virtual_dataset("tracings", layout)
            else:
                file.create_dataset("tracings", (2, 4096, 12), np.float32, external=[(str(outside), 0, 2 * 4096 * 48)])
    tables = catalogued(export)[1]
    assert tables["ecgs"].num_rows == 0
    assert Counter(row["reason"] for row in tables["quarantine"].to_pylist()) == {"unknown_format": 1, "unreadable": 2}


def test_a_part_of_twenty_thousand_exams_is_opened_once_and_never_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 GB of tracings that take no room on the disk, as their chunks are not written."""
    with h5py.File(tmp_path / "exams_part0.hdf5", "w") as file:
        file["exam_id"] = np.arange(20_001)[::-1]
        file.create_dataset("tracings", (20_001, 4096, 12), np.float32, chunks=(1, 4096, 12), fillvalue=0)
        for number in range(1, 101):
            file["tracings"][20_000 - number * 200] = padded(signal(number * 200))
    write_csv(tmp_path / "exams.csv", [exam(number * 200, number, 0) for number in range(1, 101)])
    opened, read = Counter[str](), []
    original, part = h5py.File, h5py.Dataset.__getitem__

    def counted(path: Path, *args: object, **options: object) -> h5py.File:
        opened[Path(path).name] += 1
        return original(path, *args, **options)

    def noted(dataset: h5py.Dataset, *args: object, **options: object) -> np.ndarray:
        values = part(dataset, *args, **options)
        read.append(values.nbytes)
        return values

    monkeypatch.setattr(h5py, "File", counted)
    monkeypatch.setattr(h5py.Dataset, "__getitem__", noted)
    seen, tables = catalogued(tmp_path)
    assert tables["ecgs"].num_rows == 100
    assert opened == {"exams_part0.hdf5": 1}
    assert max(read) == 4096 * 12 * 4
    again = scan(tmp_path, CatalogSettings(), KEY, seen.sources)
    assert (again.read_files, again.digest) == (0, seen.digest)


def test_a_part_that_changes_is_read_anew(tmp_path: Path) -> None:
    write_csv(tmp_path / "exams.csv", [exam(1, 1, 0)])
    write_part(tmp_path / "exams_part0.hdf5", [1], [padded(signal(1))])
    before, _ = catalogued(tmp_path)
    write_part(tmp_path / "new", [2, 1], [padded(signal(1)), padded(signal(3))])
    (tmp_path / "exams_part0.hdf5").write_bytes((tmp_path / "new").read_bytes())  # in place, while it is open
    after = scan(tmp_path, CatalogSettings(), KEY, before.sources)
    assert after.read_files == 1
    assert after.digest != before.digest


def test_the_recipe_may_state_the_unit_and_the_ecg_is_then_another(tmp_path: Path) -> None:
    """The publisher's words about the unit contradict each other; see the layout."""
    code_15_export(tmp_path)
    letter, stated = (catalogued(tmp_path, array_unit=unit)[1]["ecgs"].to_pylist() for unit in ("", "mV"))
    assert {row["stated_unit"] for row in letter} == {"0.1 mV"}
    assert {row["stated_unit"] for row in stated} == {"mV"}
    assert not {row["content_hash"] for row in letter} & {row["content_hash"] for row in stated}
    for unit in ("parsec", "0 mV"):
        with pytest.raises(ExportError, match=r"^catalog.array_unit: "):
            catalogued(tmp_path, array_unit=unit)


def test_only_a_layout_that_leaves_its_unit_open_takes_one(tmp_path: Path) -> None:
    rows = [{"patient_id": "1", "ecg_id": "1", "time": "2021-03-01 08:00:00", "path": "a.npy", "unit": "mV"}]
    write_csv(tmp_path / "ecgs.csv", rows)
    with pytest.raises(ExportError, match="the layout generic states its units itself"):
        catalogued(tmp_path, array_unit="uV")
    assert read_csv(tmp_path / "ecgs.csv") == rows


def test_padding_is_not_signal_and_zeros_inside_are() -> None:
    tracing = np.zeros((9, 12), np.float32)
    tracing[2, 3], tracing[6, 0] = 1, -1
    np.testing.assert_array_equal(hdf5.without_padding(tracing), tracing[2:7])


def test_a_whole_file_is_no_ecg(tmp_path: Path) -> None:
    write_part(tmp_path / "exams_part0.hdf5", [1], [padded(signal(1))])
    with pytest.raises(Refusal, match="unknown_format: an HDF5 file of many ECGs"):
        decode(tmp_path / "exams_part0.hdf5")
    with pytest.raises(Refusal, match="missing_leads"):
        decode(tmp_path / "exams_part0.hdf5#1")
