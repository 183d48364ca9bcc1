"""One patient's files and table rows: ECGs, an echo study, what was said and measured."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from echoingecg.recipe.stages import SimulatorSettings
from echoingecg.simulator.ecg.faults import Fault, draw_fault, frontal_axis
from echoingecg.simulator.ecg.record import DURATION, simulate_ecg
from echoingecg.simulator.echo_study import EchoStreams, Visit, write_clips
from echoingecg.simulator.identifiers import ecg_id, ecg_path, echo_id, random_date, stamp, subject_id
from echoingecg.simulator.population import tables
from echoingecg.simulator.population.patient import Heart, sample_heart
from echoingecg.simulator.population.tables import Rows
from echoingecg.simulator.reports import echo_report, measurements
from echoingecg.simulator.rhythm import draw_beats
from echoingecg.simulator.statements import ecg_statements
from echoingecg.simulator.wfdb_record import write_wfdb

_SECOND_ECG: Final = 0.4
_FAR_ECG: Final = 0.1
_QRS_ONSET: Final = 500  # ms into the machine's median beat
ECG_FOLDER: Final = "mimic-iv-ecg"
ECHO_FOLDER: Final = "mimic-iv-echo"


@dataclass(frozen=True)
class Patient:
    """One simulated patient.

    Attributes:
        index: from 0; with the seed it determines the attributes below.
        subject: the hospital's number.
        heart: the truth.
        visit: time of the echo study.
    """

    index: int
    subject: int
    heart: Heart
    visit: datetime


def write_patient(settings: SimulatorSettings, index: int, folder: Path) -> Rows:
    """Writes a patient's files below `folder` and gives the rows; nothing depends on other patients."""
    collected = Rows()
    # A stream for each concern: a change to one leaves the bytes of the others as they were.
    streams = np.random.default_rng((settings.seed % 2**63, index)).spawn(7)
    truth, ecgs, echo, words, faults, parasternal, colour = streams
    patient = Patient(index, subject_id(index), sample_heart(truth), random_date(truth))
    for number, hours in enumerate(_ecg_hours(ecgs)):
        fault = draw_fault(settings.lead_fault_rate, faults)
        recorded = patient.visit + timedelta(hours=hours)
        _write_ecg(patient, number, recorded, folder / ECG_FOLDER, collected, fault, ecgs, words)
    visit = Visit(patient.subject, echo_id(patient.index), patient.visit, patient.heart)
    write_clips(visit, settings, folder / ECHO_FOLDER, collected, EchoStreams(echo, parasternal, colour))
    _write_findings(patient, collected, words)
    collected.add_truth(patient.subject, patient.heart)
    return collected


def _ecg_hours(rng: np.random.Generator) -> list[float]:
    """Hours from the echo to each ECG: one or two within three days, for some patients one over a month away."""
    near = 2 if rng.random() < _SECOND_ECG else 1
    hours = [float(rng.uniform(-72, 72)) for _ in range(near)]
    if rng.random() < _FAR_ECG:
        hours.append(float(rng.choice((-1, 1)) * rng.uniform(40, 400) * 24))
    return hours


def _write_ecg(
    patient: Patient, number: int, recorded: datetime, folder: Path, collected: Rows, fault: Fault | None,
    rng: np.random.Generator, words: np.random.Generator,
) -> None:  # fmt: skip
    heart = replace(  # the same heart on another day, under other electrodes
        patient.heart,
        heart_rate=float(np.clip(patient.heart.heart_rate + rng.normal(0, 4), 40, 150)),
        qrs_axis=patient.heart.qrs_axis + float(rng.normal(0, 4)),
        ecg_noise=float(np.clip(patient.heart.ecg_noise * rng.lognormal(0, 0.3), 0.003, 0.06)),
    )
    study = ecg_id(patient.index, number)
    path = ecg_path(patient.subject, study)
    beats = draw_beats(heart, DURATION, rng)
    write_wfdb(folder / path, simulate_ecg(heart, beats, rng, fault))
    shown = replace(heart, qrs_axis=frontal_axis(heart.qrs_axis, fault))
    when = {"subject_id": patient.subject, "study_id": study, "ecg_time": stamp(recorded)}
    collected.add(tables.RECORDS, **when, file_name=study, path=path)
    statements = ecg_statements(shown, words, beats.ectopic_within(DURATION), fault)
    collected.add_statements(statements, when | _machine_numbers(shown, words))


def _machine_numbers(heart: Heart, rng: np.random.Generator) -> dict[str, Any]:
    """The machine's intervals (ms, within its median beat) and axes (degrees), each with its reading error."""
    interval = 60_000 / heart.heart_rate
    numbers = {
        "rr_interval": interval,
        "qrs_onset": _QRS_ONSET,
        "qrs_end": _QRS_ONSET + heart.qrs_duration + rng.normal(0, 3),
        "t_end": _QRS_ONSET + heart.qt_corrected * np.sqrt(interval / 1000) + rng.normal(0, 8),
        "qrs_axis": heart.qrs_axis + rng.normal(0, 4),
        "t_axis": rng.normal(40, 15) - (180 if heart.t_amplitude < 0 else 0),
    }
    if not heart.atrial_fibrillation:
        onset = _QRS_ONSET - heart.pr_interval + rng.normal(0, 4)
        numbers |= {"p_onset": onset, "p_end": onset + rng.normal(108, 6), "p_axis": rng.normal(55, 12)}
    stated = {name: round(float(number)) for name, number in numbers.items()}
    return stated | {"cart_id": int(rng.integers(6_800_000, 6_850_000)), "bandwidth": "0.005-150 Hz",
                     "filtering": "60 Hz notch Baseline filter"}  # fmt: skip


def _write_findings(patient: Patient, collected: Rows, rng: np.random.Generator) -> None:
    add_report(collected, patient.subject, echo_id(patient.index), patient.visit, echo_report(patient.heart, rng))
    for number, one in enumerate(measurements(patient.heart)):
        collected.add(
            tables.MEASUREMENTS,
            subject_id=patient.subject,
            measurement_id=patient.index * 100 + number + 1,
            measurement_datetime=stamp(patient.visit),
            test_type="TTE",
            measurement=one.name,
            measurement_description=one.description,
            result=one.value,
            unit=one.unit,
        )


def add_report(collected: Rows, subject: int, study: int, visit: datetime, text: str) -> None:
    """Adds an echo study and its report, written two hours after the study."""
    note = {"note_id": f"{subject}-EC-1", "note_seq": 1}
    written = stamp(visit + timedelta(hours=2))
    collected.add(tables.STUDIES, subject_id=subject, study_id=study, study_datetime=stamp(visit), **note,
                  note_charttime=written)  # fmt: skip
    collected.add(tables.NOTES, subject_id=subject, note_type="EC", charttime=written, text=text, **note)
