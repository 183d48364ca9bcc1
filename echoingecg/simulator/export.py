"""Writes a whole simulated export, in the layout of MIMIC-IV-ECG 1.0 and MIMIC-IV-ECHO 0.1.

Each patient has ECGs, an echo study, a report and measurements. One more patient can be real: the echo clip and the
12-lead ECG that pydicom ships (MIT licence).
"""

import os
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydicom.data import get_testdata_file

from echoingecg.common import ExportError, Progress, flush_names, no_progress, write_origin
from echoingecg.common.running import spared_from_ctrl_c
from echoingecg.recipe.execution import SimulatorSettings
from echoingecg.simulator.ecg import heart_vector, record
from echoingecg.simulator.ecg.electrodes import Fault, draw_fault, frontal_axis
from echoingecg.simulator.echo.study import EchoStreams, Visit, write_clips
from echoingecg.simulator.population import tables
from echoingecg.simulator.population.patient import Heart, sample_heart
from echoingecg.simulator.reports import ecg_statements, echo_report, measurements

_SECOND_ECG_SHARE = 0.4
_FAR_ECG_SHARE = 0.1
_QRS_ONSET_MS = 500  # into the machine's median beat
ECG_FOLDER = "mimic-iv-ecg"
ECHO_FOLDER = "mimic-iv-echo"


_MIN_PATIENTS_FOR_WORKERS = 16  # fewer are written before workers have started
_PATIENTS_AHEAD_PER_WORKER = 4  # finished patients that may wait until their rows are written
_REAL_CLIP = "examples_ybr_color.dcm"
_REAL_ECG = "waveform_ecg.dcm"
_REAL_VISIT = datetime(2150, 1, 1, 12)
# All that is known of the clip. The files are of two people: a finding of one says nothing of the other.
_REAL_REPORT = "Apical four chamber view."


def simulate(settings: SimulatorSettings, folder: Path, progress: Progress = no_progress, workers: int = 1) -> None:
    """Writes a paired hospital export of simulated patients, completely or not at all.

    The same settings give the same bytes, and a patient's files do not depend on the number of patients.
    `simulated_truth.csv` holds the state of every heart; no stage of the pipeline reads it. Rows are written
    patient by patient, so memory does not grow with their number.

    Args:
        settings: how many patients, seed, clip length and size.
        folder: must not exist yet; `<folder>.partial` is used meanwhile, and replaced if it exists.
        progress: receives the number of patients done.
        workers: processes that write patients; few patients are written in this process. No byte depends on it.

    Raises:
        ExportError: the folder exists, or there are more patients than identifiers.
        OSError: the disk cannot take the files.
    """
    if folder.exists():
        raise ExportError(f"{folder} exists: remove it, or choose a new folder for the simulated export")
    if settings.patients > tables.MAX_PATIENTS:
        raise ExportError(f"{settings.patients} patients: the simulator's identifiers reach {tables.MAX_PATIENTS}")
    partial = folder.with_name(folder.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    with tables.open_tables(partial) as write:
        for done, rows in enumerate(_patients(settings, partial, workers), start=1):
            write(rows)
            progress(done, settings.patients)
        if settings.real_recordings:
            write(write_real_recordings(partial))
    write_origin(partial, "simulated")
    if hasattr(os, "sync"):  # Windows has none
        os.sync()  # thousands of files: quicker than one by one
    partial.rename(folder)
    flush_names(folder.parent, folder.parent)


def _patients(settings: SimulatorSettings, folder: Path, workers: int) -> Iterator[tables.Rows]:
    """Writes every patient's files and yields the rows, in the order of the patients."""
    if workers < 2 or settings.patients < _MIN_PATIENTS_FOR_WORKERS:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # frames are too small for several threads
        try:
            for index in range(settings.patients):
                yield write_patient(settings, index, folder)
        finally:
            cv2.setNumThreads(threads)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,))
    try:
        waiting: deque[Future[tables.Rows]] = deque()
        for index in range(settings.patients):
            if len(waiting) == workers * _PATIENTS_AHEAD_PER_WORKER:
                yield waiting.popleft().result()
            with spared_from_ctrl_c():  # starts a process
                waiting.append(pool.submit(write_patient, settings, index, folder))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Patient:
    """One simulated patient.

    Attributes:
        index: from 0; the attributes below follow from it and the seed.
        subject: the hospital's number.
        heart: true state of the heart.
        visit: time of the echo study.
    """

    index: int
    subject: int
    heart: Heart
    visit: datetime


def write_patient(settings: SimulatorSettings, index: int, folder: Path) -> tables.Rows:
    """Writes a patient's files below `folder` and returns the table rows; nothing depends on other patients."""
    rows = tables.Rows()
    # One random stream per concern: a change to one leaves the bytes of the others unchanged.
    streams = np.random.default_rng((settings.seed % 2**63, index)).spawn(7)
    truth, ecgs, echo, phrases, faults, parasternal, colour = streams
    patient = Patient(index, tables.subject_id(index), sample_heart(truth), tables.random_time(truth))
    for number, hours in enumerate(_ecg_hours(ecgs)):
        fault = draw_fault(settings.lead_fault_rate, faults)
        recorded = patient.visit + timedelta(hours=hours)
        _write_ecg(patient, number, recorded, folder / ECG_FOLDER, rows, fault, ecgs, phrases)
    visit = Visit(patient.subject, tables.echo_id(patient.index), patient.visit, patient.heart)
    write_clips(visit, settings, folder / ECHO_FOLDER, rows, EchoStreams(echo, parasternal, colour))
    _write_findings(patient, rows, phrases)
    rows.add_truth(patient.subject, patient.heart)
    return rows


def _ecg_hours(rng: np.random.Generator) -> list[float]:
    """Draws the hours from the echo to each ECG: one or two within 3 days, for some patients one over a month away."""
    near = 2 if rng.random() < _SECOND_ECG_SHARE else 1
    hours = [float(rng.uniform(-72, 72)) for _ in range(near)]
    if rng.random() < _FAR_ECG_SHARE:
        hours.append(float(rng.choice((-1, 1)) * rng.uniform(40, 400) * 24))
    return hours


def _write_ecg(
    patient: Patient, number: int, recorded: datetime, folder: Path, rows: tables.Rows, fault: Fault | None,
    rng: np.random.Generator, phrases: np.random.Generator,
) -> None:  # fmt: skip
    heart = replace(  # the heart on another day, under other electrodes
        patient.heart,
        heart_rate=float(np.clip(patient.heart.heart_rate + rng.normal(0, 4), 40, 150)),
        qrs_axis=patient.heart.qrs_axis + float(rng.normal(0, 4)),
        ecg_noise=float(np.clip(patient.heart.ecg_noise * rng.lognormal(0, 0.3), 0.003, 0.06)),
    )
    study = tables.ecg_id(patient.index, number)
    path = tables.ecg_path(patient.subject, study)
    beats = heart_vector.draw_beats(heart, record.DURATION, rng)
    record.write_wfdb(folder / path, record.simulate_ecg(heart, beats, rng, fault))
    shown = replace(heart, qrs_axis=frontal_axis(heart.qrs_axis, fault))
    when = {"subject_id": patient.subject, "study_id": study, "ecg_time": tables.mimic_time(recorded)}
    rows.add(tables.RECORDS, **when, file_name=study, path=path)
    statements = ecg_statements(shown, phrases, beats.ectopic_within(record.DURATION), fault)
    rows.add_statements(statements, when | _machine_numbers(shown, phrases))


def _machine_numbers(heart: Heart, rng: np.random.Generator) -> dict[str, Any]:
    """Draws the machine's intervals (ms, within its median beat) and axes (degrees), each with a reading error."""
    interval = 60_000 / heart.heart_rate
    numbers = {
        "rr_interval": interval,
        "qrs_onset": _QRS_ONSET_MS,
        "qrs_end": _QRS_ONSET_MS + heart.qrs_duration + rng.normal(0, 3),
        "t_end": _QRS_ONSET_MS + heart.qt_corrected * np.sqrt(interval / 1000) + rng.normal(0, 8),
        "qrs_axis": heart.qrs_axis + rng.normal(0, 4),
        "t_axis": rng.normal(40, 15) - (180 if heart.t_amplitude < 0 else 0),
    }
    if not heart.atrial_fibrillation:
        onset = _QRS_ONSET_MS - heart.pr_interval + rng.normal(0, 4)
        numbers |= {"p_onset": onset, "p_end": onset + rng.normal(108, 6), "p_axis": rng.normal(55, 12)}
    stated = {name: round(float(number)) for name, number in numbers.items()}
    return stated | {"cart_id": int(rng.integers(6_800_000, 6_850_000)), "bandwidth": "0.005-150 Hz",
                     "filtering": "60 Hz notch Baseline filter"}  # fmt: skip


def _write_findings(patient: Patient, rows: tables.Rows, rng: np.random.Generator) -> None:
    add_report(rows, patient.subject, tables.echo_id(patient.index), patient.visit, echo_report(patient.heart, rng))
    for number, measurement in enumerate(measurements(patient.heart)):
        rows.add(
            tables.MEASUREMENTS,
            subject_id=patient.subject,
            measurement_id=patient.index * 100 + number + 1,
            measurement_datetime=tables.mimic_time(patient.visit),
            test_type="TTE",
            measurement=measurement.name,
            measurement_description=measurement.description,
            result=measurement.value,
            unit=measurement.unit,
        )


def add_report(rows: tables.Rows, subject: int, study: int, visit: datetime, text: str) -> None:
    """Adds an echo study and its report, written two hours after the study."""
    note = {"note_id": f"{subject}-EC-1", "note_seq": 1}
    written = tables.mimic_time(visit + timedelta(hours=2))
    rows.add(tables.STUDIES, subject_id=subject, study_id=study, study_datetime=tables.mimic_time(visit), **note,
                  note_charttime=written)  # fmt: skip
    rows.add(tables.NOTES, subject_id=subject, note_type="EC", charttime=written, text=text, **note)


def write_real_recordings(folder: Path) -> tables.Rows:
    """Copies the two real files below `folder` and returns their rows; there is no measurement and no diagnosis.

    Raises:
        ExportError: this installation of pydicom lacks its example files.
        OSError: the disk cannot take them.
    """
    rows = tables.Rows()
    ecg = tables.ecg_path(tables.REAL_SUBJECT, tables.REAL_ECG) + ".dcm"
    clip = tables.echo_path(tables.REAL_SUBJECT, tables.REAL_ECHO, 1)
    _copy(_REAL_ECG, folder / ECG_FOLDER / ecg)
    _copy(_REAL_CLIP, folder / ECHO_FOLDER / clip)
    rows.add(tables.RECORDS, subject_id=tables.REAL_SUBJECT, study_id=tables.REAL_ECG, file_name=tables.REAL_ECG,
             ecg_time=tables.mimic_time(_REAL_VISIT - timedelta(days=1)), path=ecg)  # fmt: skip
    rows.add(tables.CLIPS, subject_id=tables.REAL_SUBJECT, study_id=tables.REAL_ECHO,
             acquisition_datetime=tables.mimic_time(_REAL_VISIT), dicom_filepath=clip)  # fmt: skip
    add_report(rows, tables.REAL_SUBJECT, tables.REAL_ECHO, _REAL_VISIT, _REAL_REPORT)
    return rows


def _copy(name: str, target: Path) -> None:
    source = get_testdata_file(name, download=False)
    if source is None:
        raise ExportError(f"pydicom lacks its example {name}: reinstall it, or set simulator.real_recordings to false")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(str(source), target)
