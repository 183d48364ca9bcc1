"""A generic export of real recordings with made-up pairings, through catalog, ecg, teacher and pairs."""

import csv
import shutil
from collections import Counter
from pathlib import Path

import pytest

from data_contracts.ecg import RECORDS
from data_contracts.pairs import PATIENTS
from data_contracts.quarantine import QUARANTINE
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages

# Beats per file are not known to us; what is known of the echo files is on their face.
MOVING = {"examples_ybr_color.dcm", "color3d_jpeg_baseline.dcm"}


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _export(recordings: Path, folder: Path) -> None:
    """Copies the files and writes the manifests of the generic layout: every sixth ECG has an echo study."""
    headers = sorted((recordings / "ptbxl").rglob("*.hea")) + sorted((recordings / "code15_wfdb").glob("*.hea"))
    clips = sorted((recordings / "echo_dicom").rglob("*.dcm"))
    ecgs, echoes, reports, measurements = [], [], [], []
    for number, header in enumerate(headers):
        patient, time = f"patient-{number:03d}", f"2020-01-01 {number % 24:02d}:00:00"
        target = folder / header.relative_to(recordings)
        target.parent.mkdir(parents=True, exist_ok=True)
        for path in (header, header.with_suffix(".dat")):
            shutil.copyfile(path, target.with_suffix(path.suffix))
        path = str(target.with_suffix("").relative_to(folder))
        ecgs.append({"patient_id": patient, "ecg_id": f"ecg-{number}", "time": time, "path": path})
        said = {"report_id": f"r-{number}", "method": "ECG", "subject_id": f"ecg-{number}", "text": "Sinus rhythm."}
        reports.append({"patient_id": patient, "time": time, **said})
    shutil.copyfile(recordings / "ecg_dicom/pydicom/waveform_ecg.dcm", folder / "waveform_ecg.dcm")
    ecgs.append({"patient_id": "patient-000", "ecg_id": "ecg-dicom", "time": "2020-01-02 00:00:00",
                 "path": "waveform_ecg.dcm"})  # fmt: skip
    for number, clip in enumerate(clips):
        shutil.copyfile(clip, folder / clip.name)
        patient = f"patient-{number * 6:03d}"
        study = {"patient_id": patient, "study_id": f"study-{number}", "time": "2020-01-01 12:00:00"}
        echoes.append({**study, "path": clip.name})
        measurements.append({**study, "measurement": "lvef", "value": str(30 + 5 * number), "unit": "%"})
    for name, rows in (("ecgs", ecgs), ("echoes", echoes), ("reports", reports), ("measurements", measurements)):
        _write(folder / f"{name}.csv", rows)


@pytest.fixture(scope="module")
def run(all_recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("real")
    _export(all_recordings, folder / "export")
    overrides = ["catalog.layout=generic", "ecg.max_refused_share=0.5", "teacher.max_refused_share=0.9",
                 "teacher.max_frames=4"]  # fmt: skip
    job = make_job(find_recipe("smoke", overrides), str(folder / "export"), str(folder / "workspace"))
    return run_stages(job, "catalog", "ecg", "teacher", "pairs")


def _refused(run: Run, stage: str) -> Counter[str]:
    return Counter(QUARANTINE.read(run.artefacts[stage].folder)["reason"].to_pylist())  # type: ignore[index]


def test_catalog_lists_everything(run: Run, all_recordings: Path) -> None:
    counts = run.artefacts["catalog"].manifest.counts
    headers = [*(all_recordings / "ptbxl").rglob("*.hea"), *(all_recordings / "code15_wfdb").glob("*.hea")]
    assert counts["ecgs"] == len(headers) + 1
    assert counts["echoes"] == len(list((all_recordings / "echo_dicom").rglob("*.dcm")))
    assert counts["quarantine"] == 0


def test_every_ecg_is_in_or_refused_for_its_length(run: Run) -> None:
    counts = run.artefacts["ecg"].manifest.counts
    assert counts["records"] + counts["refused"] == run.artefacts["catalog"].manifest.counts["ecgs"]
    assert set(_refused(run, "ecg")) == {"too_short"}, "CODE-15 holds recordings from 3 s on"
    assert counts["records"] > 150


def test_the_still_is_refused_and_cines_are_in(run: Run) -> None:
    counts = run.artefacts["teacher"].manifest.counts
    assert counts["clips"] + counts["refused"] == run.artefacts["catalog"].manifest.counts["echoes"]
    assert _refused(run, "teacher")["not_a_cine"] == 1
    assert counts["clips"] >= len(MOVING)


def test_pairs_and_labels_exist(run: Run) -> None:
    counts = run.artefacts["pairs"].manifest.counts
    assert counts["ecg_echo"] == run.artefacts["teacher"].manifest.counts["studies"]
    assert counts["labels"] == counts["ecg_echo"] + 1, "the study of the still has no target; it labels its ECG"
    side = {row["patient_id"]: row["split"] for row in PATIENTS.read(run.artefacts["pairs"].folder).to_pylist()}
    records = RECORDS.read(run.artefacts["ecg"].folder).to_pylist()
    left_out = [row for row in records if row["use"] != "keep" and side[row["patient_id"]] != "test"]
    assert 0 < len(left_out) < 0.05 * len(records), "spikes of 12 mV and more"
    assert counts["ecg_text"] == len(records) - 1 - len(left_out)  # the DICOM ECG has no report
