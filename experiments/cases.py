"""The labelled cases of a hospital, with the simulator's truth beside them.

Shape legend: case = a labelled ECG-echo pair, one ECG a study.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from data_contracts import pairs
from data_contracts.conventions import Stage
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.evaluation.protocols.labels import NO_LABEL, label_ecgs
from echoingecg.recipe import Endpoint
from echoingecg.student.data.pairs import TrainingData
from tasks.store import Artefact, Job
from tasks.teacher import read_targets

TRUTH = "simulated_truth.csv"


@dataclass(frozen=True)
class Cases:
    """Labelled ECG-echo pairs.

    Attributes:
        patient: (case,) str.
        ecg: (case,) int64, row of the signals.
        study: (case,) int64, row of the targets.
        split: (case,) str.
        label: (case,) int8, 0 or 1.
        text: (case,) str, the study's report; empty without one.
        truth: one row a case, the simulator's state of the patient; for the ceiling and for explanations alone.
    """

    patient: np.ndarray
    ecg: np.ndarray
    study: np.ndarray
    split: np.ndarray
    label: np.ndarray
    text: np.ndarray
    truth: pd.DataFrame


def read_cases(job: Job, artefacts: dict[Stage, Artefact], data: TrainingData, endpoint: Endpoint) -> Cases:
    """All cases of a hospital.

    Args:
        job: its export holds the simulator's truth.
        artefacts: ecg, teacher and pairs.
        data: its signals are those of the ecg artefact.
        endpoint: the question.
    """
    folder = artefacts["pairs"].folder
    paired, labels, texts = (one.read(folder) for one in (pairs.ECG_ECHO, pairs.LABELS, pairs.ECG_TEXT))
    names, ecg = np.unique(_strings(paired["record_id"]), return_inverse=True)
    label = label_ecgs(endpoint, labels, names).label[ecg]
    chosen = _one_pair_an_ecg(paired, np.flatnonzero(label != NO_LABEL))
    paired = paired.take(pa.array(chosen))
    ecg_row = {name: row for row, name in enumerate(data.signals.record_ids)}  # type: ignore[attr-defined]
    study_row = {name: row for row, name in enumerate(read_targets(artefacts["teacher"])[0]["study_id"].to_pylist())}
    report = {one["record_id"]: one["text"] for one in texts.to_pylist() if one["method"] == "ECHO"}
    truth = pd.read_csv(job.export / TRUTH)
    truth.index = pd.Index([Pseudonyms(job.key).patient(str(one)) for one in truth["subject_id"]])
    return Cases(
        patient=_strings(paired["patient_id"]),
        ecg=np.array([ecg_row[one] for one in paired["record_id"].to_pylist()]),
        study=np.array([study_row[one] for one in paired["study_id"].to_pylist()]),
        split=_strings(paired["split"]),
        label=label[chosen],
        text=np.array([report.get(one, "") for one in paired["record_id"].to_pylist()]),
        truth=truth.loc[paired["patient_id"].to_pylist()].reset_index(drop=True),
    )


def _one_pair_an_ecg(paired: pa.Table, known: np.ndarray) -> np.ndarray:
    """Of the known rows that share an ECG the one of least |gap_hours|, then the first; ascending."""
    gap = np.abs(paired["gap_hours"].to_numpy()[known])
    known = known[np.argsort(gap, kind="stable")]
    _, first = np.unique(_strings(paired["record_id"])[known], return_index=True)
    return np.sort(known[first])


def _strings(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(column.to_pylist(), dtype=np.str_)


SHARE = 0.1  # of the training patients
DRAWS = 3  # a seed
FEWEST = 8  # patients, where the share would be fewer
OF_EACH = 2  # cases of a class at least


def labelled(label: np.ndarray, patient: np.ndarray, split: np.ndarray, seed: int, draw: int) -> np.ndarray:
    """(case,) bool: a tenth of the training patients at random, drawn again while a class has under two cases.

    Args:
        label: (case,) 0 or 1.
        patient: (case,) str.
        split: (case,) str.
        seed: of the hospital.
        draw: from 0.
    """
    training = split == "train"
    for one in (0, 1):
        assert (label[training] == one).sum() >= OF_EACH, f"fewer than {OF_EACH} training cases with label {one}"
    patients = np.unique(patient[training])
    size = max(FEWEST, round(SHARE * len(patients)))
    random = np.random.default_rng((seed, draw))
    while True:
        chosen = training & np.isin(patient, random.choice(patients, size, replace=False))
        if np.bincount(label[chosen], minlength=2).min() >= OF_EACH:
            return chosen
