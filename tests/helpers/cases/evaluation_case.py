"""A small evaluation case with a planted signal, whose student is plain NumPy."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from data_contracts.catalog import SUBGROUPS
from data_contracts.conventions import LEADS, SAMPLES, SAMPLING_FREQUENCY, LeadSet
from data_contracts.ecg import RECORDS
from data_contracts.pairs import ECG_ECHO, FILTERS, LABELS, PATIENTS
from data_contracts.student import HISTORY
from data_contracts.teacher import STUDIES
from echoingecg.ecg.decode.recording.leads import leads_of_set
from echoingecg.ecg.plot import filtered_page
from echoingecg.evaluation.data.inputs import EvaluationInputs
from echoingecg.recipe import EcgSettings, Endpoint, FewShotSettings, RegressionEndpoint

DIM = 16
SPLIT_OF = ("train", "train", "train", "validation", "test")


def unit_numbers(texts: Sequence[str]) -> np.ndarray:
    """Sentences on the unit circle of dimensions 0 and 12: REDUCED at one end, a number x at x / 100 of the way."""
    place = [float(found[0]) / 50 - 1 if (found := re.findall(r"\d+", text)) else 1.0 for text in texts]
    place = [-1.0 if "REDUCED" in text.upper() else one for text, one in zip(texts, place, strict=True)]
    mean = np.zeros((len(texts), DIM), np.float32)
    mean[:, 0], mean[:, 12] = np.sin(np.array(place) * np.pi / 2), np.cos(np.array(place) * np.pi / 2)
    return mean


@dataclass(frozen=True)
class PlantedTeacher:
    """Sentences in the space of the planted student's ECGs."""

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        return unit_numbers(texts)


_TIME = np.arange(SAMPLES) / SAMPLING_FREQUENCY
_CARRIER = np.sin(2 * np.pi * 7 * _TIME)  # whose amplitude in each lead is the planted number
_VAGUENESS = np.sin(2 * np.pi * 11 * _TIME)  # in lead I: the planted log-variance
_HEART = np.exp(-0.5 * ((_TIME[:, None] - np.arange(0.4, 10, 0.8)) / 0.012) ** 2).sum(axis=1)  # a spike per beat
_HEART_MV = np.array([0.6, 1.0, 0.4, -0.8, 0.1, 0.7, -0.5, -0.9, 0.8, 1.4, 1.2, 0.9])
_PLANTED_MV = 0.1  # per unit of a planted number


# The planted numbers are no heart's: they repeat, and limb leads contradict each other.
PLANTED_ECG = EcgSettings.model_validate({"rules": {"limb_leads": "keep", "repeated_block": "keep"}})


def planted_signals(number: np.ndarray, vagueness: np.ndarray) -> np.ndarray:
    """Signals, float32 (n, 12, 1000) in mV, that hold numbers, (n, 12), and a log-variance, (n,)."""
    signals = _HEART_MV[:, None] * _HEART + _PLANTED_MV * number[:, :, None] * _CARRIER
    signals[:, 0] += _PLANTED_MV * vagueness[:, None] * _VAGUENESS
    return signals.astype(np.float32)


def planted_numbers(signals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers, (n, 12), and the log-variance, (n,), that signals hold."""
    waves = np.stack([_CARRIER, _VAGUENESS, _HEART], axis=1)
    amplitude = signals.astype(np.float64) @ np.linalg.pinv(waves).T / _PLANTED_MV
    return amplitude[:, :, 0], amplitude[:, 0, 1]


@dataclass(frozen=True)
class PlantedStudent:
    """Reads the planted numbers; prompts point to either end of dimension 0."""

    scale: float = 5.0
    shift: float = 5.0
    dim: int = DIM
    lead_sets: tuple[LeadSet, ...] = ()
    seen: LeadSet = "twelve"

    def with_lead_set(self, name: LeadSet) -> "PlantedStudent":
        return replace(self, seen=name)

    def embed_ecg(self, signals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        number, vagueness = planted_numbers(signals)
        number = number * np.isin(LEADS, leads_of_set(self.seen))
        planted = np.zeros((len(signals), DIM))
        planted[:, :12], planted[:, 12] = number, 1.0
        mean = planted / np.linalg.norm(planted, axis=1, keepdims=True)
        log_var = np.broadcast_to(vagueness[:, None] - 3.0, mean.shape)
        return mean.astype(np.float32), log_var.astype(np.float32)

    def embed_ecg_with_features(self, signals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        number, vagueness = planted_numbers(signals)
        spread = signals.astype(np.float64).std(axis=2)
        return *self.embed_ecg(signals), np.column_stack([number, vagueness, spread]).astype(np.float32)

    def embed_text(self, texts: list[str], method: str) -> tuple[np.ndarray, np.ndarray]:
        assert method == "ECHO"
        mean = np.zeros((len(texts), DIM), np.float32)
        mean[:, 0] = [-1.0 if "REDUCED" in text.upper() else 1.0 for text in texts]
        mean[:, 1] = [0.01 * len(text) for text in texts]
        return mean, np.full((len(texts), DIM), -4.0, np.float32)

    def classify(self, *arguments: object) -> np.ndarray:
        raise AssertionError("a NumPy student has no encoder to train: see tests/student")


@dataclass(frozen=True)
class ArraySignals:
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def read(self, rows: np.ndarray) -> np.ndarray:
        assert rows.dtype == np.int64
        return self.values[rows]


def lvef_below(threshold: float, **changes: Any) -> Endpoint:
    values = {
        "name": f"LVEF below {threshold:g} %",
        "measurement": "lvef",
        "unit": "%",
        "comparison": "<",
        "threshold": threshold,
        "valid_range": (5.0, 90.0),
        "positive_prompts": ("LV EJECTION FRACTION IS SEVERELY REDUCED.", "REDUCED SYSTOLIC FUNCTION."),
        "negative_prompts": ("LV EJECTION FRACTION IS NORMAL.",),
        "source": "ESC heart failure guideline 2021",
    }
    return Endpoint.model_validate(values | changes)


NO_FEW_SHOT = FewShotSettings(cases=())
LVEF = RegressionEndpoint(
    name="LVEF", measurement="lvef", unit="%", valid_range=(5, 90), prompts=("LVEF IS <#> %.",), prompt_range=(5, 85)
)


def make_inputs(patients: int = 250, seed: int = 1, **changes: Any) -> EvaluationInputs:
    """Two ECGs a patient, one study each, and a second study for every tenth patient.

    A patient's heart is one number; LVEF, the ECG's embedding and the study's target follow it with noise.
    """
    generator = np.random.default_rng(seed)
    heart = generator.normal(size=patients)
    noise = np.exp(generator.normal(0, 0.5, size=2 * patients))
    number = generator.normal(0, 0.3, size=(2 * patients, 12))
    number[:, 0] = np.repeat(heart, 2) + noise * generator.normal(0, 0.8, size=2 * patients)
    signals = planted_signals(number, np.log(noise))
    record_ids = [f"ecg-{at:05d}" for at in range(2 * patients)]
    split = [SPLIT_OF[at % len(SPLIT_OF)] for at in range(patients)]
    pairs: list[dict[str, Any]] = []
    measured: dict[str, float] = {}
    studies, targets = [], []
    for at in range(patients):
        for repeat in range(2 if at % 10 == 0 else 1):
            study = f"study-{at:04d}-{repeat}"
            studies.append({"study_id": study, "patient_id": f"patient-{at:04d}", "clips": 1, "frames": 24})
            target = np.append(heart[at] + generator.normal(0, 0.1), generator.normal(0, 0.2, size=DIM - 1))
            target[12] = 1.0
            targets.append(target / np.linalg.norm(target))
            lvef = float(np.clip(52 + 11 * heart[at] + generator.normal(0, 3), 10, 85))
            measured[study] = 100.0 if at % 40 == 9 else lvef
            for ecg in (2 * at, 2 * at + 1):
                pair = {"record_id": record_ids[ecg], "study_id": study, "patient_id": f"patient-{at:04d}"}
                pairs.append(pair | {"split": split[at], "gap_hours": float(generator.normal(0, 20))})
    nearest = {row["record_id"]: row for row in sorted(pairs, key=lambda row: -abs(row["gap_hours"]))}
    labels = [
        dict.fromkeys(LABELS.schema.names)
        | row
        | {"measurement": "lvef", "value": measured[row["study_id"]], "unit": "%"}
        for row in nearest.values()
    ]
    values: dict[str, Any] = {
        "student": PlantedStudent(),
        "signals": ArraySignals(signals),
        "ecg": PLANTED_ECG,
        "record_ids": record_ids,
        "patients": PATIENTS.build([{"patient_id": f"patient-{at:04d}", "split": split[at]} for at in range(patients)]),
        "ecg_echo": ECG_ECHO.build(pairs),
        "labels": LABELS.build(labels),
        "studies": STUDIES.build(studies),
        "target_mean": np.array(targets, np.float32).reshape(-1, DIM),
        "target_log_var": np.full((len(targets), DIM), -3.0, np.float32),
        "subgroups": make_subgroups(record_ids),
        "records": make_records(record_ids),
        "provenance": {
            "teacher": "demo",
            "data": {"trained_on": "simulated", "teacher_trained_on": "simulated", "judged_on": "simulated"},
            "versions": {"catalog": "0" * 16, "ecg": "1" * 16, "student": "2" * 16},
            "quarantine": {"ecg": {"missing_units": 3, "too_short": 12}, "teacher": {"not_a_cine": 40}, "catalog": {}},
            "stages": {
                "catalog": {"contract_version": 3, "code_version": 2, "counts": {"ecgs": 615, "echoes": 400}},
                "ecg": {"contract_version": 3, "code_version": 4, "counts": {"records": 600, "refused": 15}},
            },
            "recipe": {"student": {"epochs": 30, "model": {"embed_dim": 16}}, "evaluation": {"seed": 43}},
            "history": make_history(),
            "filters": make_filters(len(pairs), len(labels)),
            "pages": lambda names: [
                filtered_page(signals[record_ids.index(name)], np.zeros(12, np.uint8), 0, EcgSettings())
                for name in names
            ],
            "ecg_findings": {"no_qrs": 2, "mains": 1234},
            "notes": [],
            "ecg_page": None,
            "echo_sheet": None,
            "echo_map": None,
        },
        "teacher": PlantedTeacher(),
        "training_texts": ("LVEF IS 30 %.", "LVEF IS 55 %.", "NORMAL."),
    }
    return EvaluationInputs(**(values | changes))


def make_subgroups(record_ids: list[str]) -> pa.Table:
    """Two sexes, ages from 30 to 89, one site of few patients; every ninth ECG states nothing."""
    return SUBGROUPS.build(
        [
            {
                "record_id": name,
                "sex": "FM"[at // 2 % 2],
                "age": 30.0 + at // 2 % 60,
                "site": "site-b" if at < 6 else "site-a",
                "device": None,
                "rhythm": "sinus rhythm" if at % 3 else None,
            }
            for at, name in enumerate(record_ids)
            if at % 9
        ]
    )


def make_records(record_ids: list[str]) -> pa.Table:
    """Every fourth ECG has a flagged lead."""
    row = {"patient_id": "p", "content_hash": "0" * 64, "lead_findings": 0, "record_findings": 0}
    row["use"] = "keep"
    return RECORDS.build(
        [
            row | {"record_id": name, "recording_id": name.removesuffix("-2"), "flagged_leads": int(at % 4 == 0)}
            for at, name in enumerate(record_ids)
        ]
    )


def make_filters(pairs: int, labels: int) -> pa.Table:
    steps = [
        ("ecg_echo", "ECGs and echo studies of the same patient", 7 * pairs),
        ("ecg_echo", "at most 168 h apart", 2 * pairs),
        ("ecg_echo", "nearest study of each ECG", pairs),
        ("labels", "measurements in the export", 3 * labels),
        ("labels", "linked to a study with a target", labels),
    ]
    return FILTERS.build([{"pair": pair, "step": step, "kept": kept} for pair, step, kept in steps])


def make_history(epochs: int = 30) -> pa.Table:
    epoch = np.arange(epochs)
    loss = 1.2 * np.exp(-epoch / 8) + 0.6
    return HISTORY.build(
        [
            {
                "epoch": at,
                "steps": 40 * at,
                "learning_rate": 3e-5,
                "train_loss_ecg_echo": None if at == 0 else float(loss[at]),
                "train_loss_ecg_text": None if at == 0 else float(loss[at] + 0.1),
                "validation_loss_ecg_echo": float(loss[at] + 0.004 * at),
                "validation_loss_ecg_text": None,
                "recall_at_5_ecg_to_echo": 0.05 + 0.01 * at,
                "recall_at_5_echo_to_ecg": 0.04 + 0.012 * at,
                "best": at < 21,
            }
            for at in range(epochs)
        ]
    )
