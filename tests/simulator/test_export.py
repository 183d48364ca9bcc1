"""The written export: layout, reproducible bytes, readable by the field's own libraries."""

import csv
import gc
import tracemalloc
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
import wfdb
from pydicom.data import get_testdata_file
from pydicom.pixels import pixel_array

from data_contracts.conventions import LEADS, ORIGIN_FILE
from echoingecg.common import ExportError
from echoingecg.recipe.execution import SimulatorSettings
from echoingecg.simulator.ecg.record import write_wfdb
from echoingecg.simulator.export import simulate
from echoingecg.simulator.population.tables import REAL_SUBJECT, subject_id

TABLES = {
    "mimic-iv-ecg/record_list.csv",
    "mimic-iv-ecg/machine_measurements.csv",
    "mimic-iv-echo/echo-record-list.csv",
    "mimic-iv-echo/echo-study-list.csv",
    "mimic-iv-echo/structured_measurement.csv",
    "mimic-iv-echo/echo_notes.csv",
    "simulated_truth.csv",
}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_runs_give_the_same_bytes(small: SimulatorSettings, hospital: Path, tmp_path: Path) -> None:
    simulate(small, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(hospital)


def test_the_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    settings = SimulatorSettings(patients=17, frame_rate=2, frame_height=64, frame_width=64, real_recordings=False)
    seen: list[int] = []
    simulate(settings, tmp_path / "two", lambda done, total, note="": seen.append(done), workers=2)
    simulate(settings, tmp_path / "one")
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert seen == list(range(1, 18))
    subjects = [int(row["subject_id"]) for row in rows(tmp_path / "two" / "simulated_truth.csv")]
    assert subjects == [subject_id(index) for index in range(17)], "patients stand in order"


def test_a_fault_in_a_worker_ends_the_export(tmp_path: Path) -> None:
    settings = SimulatorSettings(patients=40, frame_rate=2, frame_height=64, frame_width=64)
    files = tmp_path / "export.partial/mimic-iv-echo/files"

    def obstruct(done: int, total: int, note: str = "") -> None:
        if done == 1:
            files.rename(tmp_path / "moved")
            files.write_text("in the way")

    with pytest.raises(OSError, match="files"):
        simulate(settings, tmp_path / "export", obstruct, workers=2)
    assert not (tmp_path / "export").exists()


def test_memory_does_not_grow_with_patients(tmp_path: Path) -> None:
    """What Python holds after many patients is what it held after a few: rows are not collected."""
    settings = SimulatorSettings(patients=60, frame_rate=1, frame_height=64, frame_width=64, real_recordings=False)
    held: dict[int, int] = {}

    def weigh(done: int, total: int, note: str = "") -> None:
        if done in (20, 60):
            gc.collect()
            held[done] = tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        simulate(settings, tmp_path / "export", weigh)
    finally:
        tracemalloc.stop()
    text = sum(len((tmp_path / "export" / name).read_bytes()) for name in TABLES)
    assert held[60] - held[20] < text * 40 / 60, "rows that are kept take far more than their text"


def test_views_beside_leave_the_four_chamber_clips_alone(
    small: SimulatorSettings, hospital: Path, tmp_path: Path
) -> None:
    beside = small.model_copy(update={"parasternal_share": 1.0, "colour_share": 0.5})
    simulate(beside, tmp_path / "beside")
    old, new = contents(hospital), contents(tmp_path / "beside")
    assert {name: new[name] for name in old if not name.endswith("record-list.csv")} == {
        name: content for name, content in old.items() if not name.endswith("record-list.csv")
    }
    kinds = [_kind(tmp_path / "beside" / name) for name in sorted(new.keys() - old.keys())]
    assert kinds.count((1,)) == small.patients, "a parasternal clip each"
    assert 0 < kinds.count((1, 2)) < small.patients, "colour clips for some"
    assert len(kinds) == kinds.count((1,)) + kinds.count((1, 2))


def _kind(path: Path) -> tuple[int, ...]:
    """Region data types: 1 tissue, 2 colour flow (PS3.3 C.8.5.5.1.2)."""
    regions = pydicom.dcmread(path, stop_before_pixels=True).SequenceOfUltrasoundRegions
    outer, inner = regions[0], regions[-1]
    assert outer.RegionLocationMinX0 <= inner.RegionLocationMinX0 < inner.RegionLocationMaxX1
    assert inner.RegionLocationMaxX1 <= outer.RegionLocationMaxX1
    assert outer.RegionLocationMinY0 <= inner.RegionLocationMinY0 < inner.RegionLocationMaxY1
    assert inner.RegionLocationMaxY1 <= outer.RegionLocationMaxY1
    return tuple(int(region.RegionDataType) for region in regions)


def test_wfdb_itself_would_write_the_same(tmp_path: Path) -> None:
    signal = np.random.default_rng(0).normal(0, 1, (12, 5000))
    write_wfdb(tmp_path / "ours" / "40000032", signal)
    (tmp_path / "theirs").mkdir()
    digital = np.round(signal.T * 200).astype(np.int16)
    wfdb.wrsamp("40000032", fs=500, units=["mV"] * 12, sig_name=list(LEADS), d_signal=digital, fmt=["16"] * 12,
                adc_gain=[200.0] * 12, baseline=[0] * 12, write_dir=str(tmp_path / "theirs"))  # fmt: skip
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")


def test_a_grown_export_keeps_the_first_patients(small: SimulatorSettings, hospital: Path, tmp_path: Path) -> None:
    simulate(small.model_copy(update={"patients": 11}), tmp_path / "grown")
    old, new = contents(hospital), contents(tmp_path / "grown")
    assert len(new) > len(old)
    for name in old.keys() - TABLES:
        assert new[name] == old[name], name
    for name in TABLES:
        assert set(old[name].splitlines()) < set(new[name].splitlines()), name


def test_another_seed_gives_other_patients(small: SimulatorSettings, hospital: Path, tmp_path: Path) -> None:
    simulate(small.model_copy(update={"seed": -1, "patients": 1}), tmp_path / "other")
    truth = "simulated_truth.csv"
    assert rows(tmp_path / "other" / truth)[0]["lvef"] != rows(hospital / truth)[0]["lvef"]


def test_tables_list_every_file_once(hospital: Path) -> None:
    assert {name for name in contents(hospital) if name.endswith(".csv")} == TABLES
    ecg, echo = hospital / "mimic-iv-ecg", hospital / "mimic-iv-echo"
    listed = [row["path"] for row in rows(ecg / "record_list.csv")]
    stored = [*ecg.rglob("*.hea"), *ecg.rglob("*.dcm")]
    names = [str(path.relative_to(ecg)).removesuffix(".hea") for path in stored]
    assert sorted(listed) == sorted(names)
    clips = [row["dicom_filepath"] for row in rows(echo / "echo-record-list.csv")]
    assert sorted(clips) == sorted(str(path.relative_to(echo)) for path in echo.rglob("*.dcm"))


def test_rows_belong_together(hospital: Path) -> None:
    truth = {row["subject_id"]: row for row in rows(hospital / "simulated_truth.csv")}
    assert len(truth) == 8
    measured = rows(hospital / "mimic-iv-echo/structured_measurement.csv")
    for row in measured:
        if row["measurement"] == "lvef":
            assert row["unit"] == "%"
            assert float(row["result"]) == pytest.approx(float(truth[row["subject_id"]]["lvef"]), abs=0.5)
        elif row["measurement"] in ("lv_end_diastolic_diameter", "septal_wall_thickness"):
            assert row["unit"] == "mm"
            known = float(truth[row["subject_id"]][row["measurement"]])
            assert float(row["result"]) == pytest.approx(known, abs=0.5)
    assert len({row["measurement_id"] for row in measured}) == len(measured)
    reports = {row["note_id"]: row for row in rows(hospital / "mimic-iv-echo/echo_notes.csv")}
    for study in rows(hospital / "mimic-iv-echo/echo-study-list.csv"):
        note = reports[study["note_id"]]
        assert note["charttime"] == study["note_charttime"]
        if note["subject_id"] in truth:
            assert f"{round(float(truth[note['subject_id']]['lvef']))} %" in note["text"]


def test_every_patient_has_an_ecg_near_the_echo(hospital: Path) -> None:
    studies = {row["subject_id"]: row["study_datetime"] for row in rows(hospital / "mimic-iv-echo/echo-study-list.csv")}
    near = set()
    for row in rows(hospital / "mimic-iv-ecg/record_list.csv"):
        apart = datetime.fromisoformat(row["ecg_time"]) - datetime.fromisoformat(studies[row["subject_id"]])
        if abs(apart.total_seconds()) <= 72 * 3600:
            near.add(row["subject_id"])
        else:
            assert abs(apart.days) > 30
        assert row["ecg_time"] >= "2148"
    assert near == studies.keys()


def test_wfdb_reads_the_ecgs(hospital: Path) -> None:
    for header in (hospital / "mimic-iv-ecg").rglob("*.hea"):
        record = wfdb.rdrecord(str(header.with_suffix("")))
        assert record.fs == 500
        assert record.sig_len == 5000
        assert record.units == ["mV"] * 12
        assert record.sig_name == list(LEADS)
        assert record.base_date is None
        assert record.comments == []
        lead = dict(zip(LEADS, record.p_signal.T, strict=True))
        step = 1 / 200 * 1.01  # mV; each lead is rounded to half of it
        np.testing.assert_allclose(lead["I"] + lead["III"], lead["II"], atol=1.5 * step)
        np.testing.assert_allclose(lead["aVR"] + lead["aVL"] + lead["aVF"], 0, atol=1.5 * step)
        np.testing.assert_allclose(lead["aVL"], (lead["I"] - lead["III"]) / 2, atol=step)
        assert 0.3 < np.ptp(record.p_signal, axis=0).max() < 8


def test_pydicom_reads_the_clips(hospital: Path) -> None:
    stills = 0
    for row in rows(hospital / "mimic-iv-echo/echo-record-list.csv"):
        if int(row["subject_id"]) == REAL_SUBJECT:
            continue
        dataset = pydicom.dcmread(hospital / "mimic-iv-echo" / row["dicom_filepath"])
        assert dataset.PhotometricInterpretation == "YBR_FULL_422"
        assert dataset.file_meta.TransferSyntaxUID == pydicom.uid.JPEGBaseline8Bit
        assert dataset.PatientName == ""
        assert dataset.PatientID == row["subject_id"]
        pixels = pixel_array(dataset)
        if "NumberOfFrames" not in dataset:
            stills += 1
            assert pixels.shape == (120, 160, 3)
            continue
        assert pixels.shape[1:] == (120, 160, 3)
        assert len(pixels) == pytest.approx(8 * 60 / dataset.HeartRate, rel=0.6, abs=1), "one beat"
        assert float(dataset.FrameTime) == pytest.approx(1000 / 8, rel=1e-4)
        (region,) = dataset.SequenceOfUltrasoundRegions
        assert 0 <= region.RegionLocationMinX0 < region.RegionLocationMaxX1 < 160
        assert 0 < region.RegionLocationMinY0 < region.RegionLocationMaxY1 < 120
        assert region.RegionSpatialFormat == region.RegionDataType == 1
        assert 0.05 < region.PhysicalDeltaX < 0.3  # cm
        sector = pixels[:, region.RegionLocationMinY0 + 8 : region.RegionLocationMaxY1 - 8]
        assert int(np.ptp(sector.astype(int), axis=-1).max()) < 12, "the sector is grey"
        assert pixels[:, : region.RegionLocationMinY0 - 1].max() > 90, "text stands above the sector"
    assert stills <= 2


def test_jpeg_frames_are_subsampled_422(hospital: Path) -> None:
    row = rows(hospital / "mimic-iv-echo/echo-record-list.csv")[0]
    dataset = pydicom.dcmread(hospital / "mimic-iv-echo" / row["dicom_filepath"])
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=int(dataset.NumberOfFrames)))
    start = frame.index(b"\xff\xc0")  # baseline frame header: length, precision, height, width, components
    assert frame[start + 9] == 3
    assert [frame[start + 11 + 3 * component] for component in range(3)] == [0x21, 0x11, 0x11]


def test_the_real_recordings_are_there_unchanged(hospital: Path) -> None:
    (ecg,) = [row for row in rows(hospital / "mimic-iv-ecg/record_list.csv") if row["subject_id"] == str(REAL_SUBJECT)]
    (clip,) = [
        row for row in rows(hospital / "mimic-iv-echo/echo-record-list.csv") if row["subject_id"] == str(REAL_SUBJECT)
    ]
    assert ecg["path"].endswith(".dcm")
    for name, path in (
        ("waveform_ecg.dcm", hospital / "mimic-iv-ecg" / ecg["path"]),
        ("examples_ybr_color.dcm", hospital / "mimic-iv-echo" / clip["dicom_filepath"]),
    ):
        source = get_testdata_file(name, download=False)
        assert source is not None
        assert path.read_bytes() == Path(str(source)).read_bytes()
    measured = rows(hospital / "mimic-iv-echo/structured_measurement.csv")
    assert str(REAL_SUBJECT) not in {row["subject_id"] for row in measured}


def test_without_real_recordings_and_without_patients(tmp_path: Path) -> None:
    simulate(SimulatorSettings(patients=0, real_recordings=False), tmp_path / "empty")
    assert set(contents(tmp_path / "empty")) == TABLES | {ORIGIN_FILE}
    assert rows(tmp_path / "empty" / "mimic-iv-ecg/record_list.csv") == []


def test_an_existing_folder_is_refused(hospital: Path, small: SimulatorSettings) -> None:
    with pytest.raises(ExportError, match="exists"):
        simulate(small, hospital)


def test_an_export_exists_whole_or_not_at_all(small: SimulatorSettings, hospital: Path, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "export"

    def interrupt(done: int, total: int, note: str = "") -> None:
        assert total == small.patients
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(small, folder, interrupt)
    assert not folder.exists()
    (folder.with_name("export.partial") / "left.over").write_text("from an interrupted run")
    simulate(small, folder)
    assert contents(folder) == contents(hospital)
    assert [path.name for path in folder.parent.iterdir()] == ["export"]
