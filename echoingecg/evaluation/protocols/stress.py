"""Stress test: disturbed ECGs at five levels of each kind: who is still answered, and who wrongly.

An ECG that a finding refuses is counted as not answered. Level 0 is the undisturbed cohort on the same way.

Shape legend: n = ECGs of the cohort.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from echoingecg.common import Progress, no_progress
from echoingecg.ecg.disturbance import DISTURBANCES, Disturbance, DisturbedEcgs, process_disturbed
from echoingecg.ecg.quality import are_referred
from echoingecg.evaluation.data.embed import CHUNK, Signals, StudentModel
from echoingecg.evaluation.decision.answers import answer_ecgs
from echoingecg.evaluation.decision.reading_card import LoadedReadingCard
from echoingecg.recipe import EcgSettings

UNDISTURBED = "none"
_MEASURED = ("score", "probability", "decision", "uncertainty", "typicality")
SEED = 43


def stress_rows(
    student: StudentModel,
    card: LoadedReadingCard,
    protocol: str,
    signals: Signals,
    rows: np.ndarray,
    labels: Mapping[str, np.ndarray],
    progress: Progress = no_progress,
) -> Iterator[dict[str, Any]]:
    """Rows of data_contracts.evaluation_details.STRESS.

    Args:
        student: the student of the card.
        card: its reading card.
        protocol: of the card.
        signals: of the cohort.
        rows: (n,) int64 of the signals.
        labels: (n,) float64 by question, 0 or 1, NaN where it is not known.
        progress: receives the number of levels done, for each chunk of ECGs anew.

    Raises:
        UserError: the card has no such protocol.
    """
    settings = EcgSettings.of_artefact(card.card.ecg)
    levels: list[tuple[Disturbance | None, int, float]] = [(None, 0, 0.0)]
    levels += [(kind, step, level) for kind in DISTURBANCES.values() for step, level in enumerate(kind.levels, 1)]
    outcomes = [_Outcome(student, card, protocol, settings, len(rows)) for _ in levels]
    for first in range(0, len(rows), CHUNK):  # every level of a chunk, so that each signal is read once
        read = signals.read(rows[first : first + CHUNK])
        for done, ((kind, _, level), outcome) in enumerate(zip(levels, outcomes, strict=True), 1):
            outcome.add(first, process_disturbed(read, kind, np.full(len(read), level), (SEED, first), settings))
            progress(done, len(levels), _name(kind))
    for (kind, step, level), outcome in zip(levels, outcomes, strict=True):
        of_level = {
            "protocol": protocol,
            "disturbance": _name(kind),
            "step": step,
            "level": level,
            "unit": kind.unit if kind else "",
        }
        for endpoint, label in labels.items():
            yield of_level | {"endpoint": endpoint} | outcome.measures(endpoint, label)


def _name(kind: Disturbance | None) -> str:
    return UNDISTURBED if kind is None else kind.name


class _Outcome:
    """Answers to one level of a disturbance, for n ECGs; those that were refused have none."""

    def __init__(
        self, student: StudentModel, card: LoadedReadingCard, protocol: str, settings: EcgSettings, count: int
    ) -> None:
        self.student, self.card, self.protocol, self.settings = student, card, protocol, settings
        self.kept = np.zeros(count, bool)
        self.columns: dict[str, dict[str, np.ndarray]] = {}

    def add(self, first: int, ecgs: DisturbedEcgs) -> None:
        """Answers the ECGs from place `first` on."""
        places = first + np.flatnonzero(ecgs.kept)
        self.kept[places] = True
        if not len(places):
            return
        mean, _, features = self.student.embed_ecg_with_features(ecgs.signals)
        is_referred = are_referred(ecgs.quality, ecgs.findings, self.settings)
        for answers in answer_ecgs(self.card, self.protocol, mean, features, is_referred).questions:
            columns = self.columns.setdefault(answers["endpoint"][0], {})
            for name in _MEASURED:
                if answers[name][0] is not None:
                    columns.setdefault(name, np.full(len(self.kept), np.nan))[places] = answers[name]
            for name, values in (
                ("answered", [advice == "predict" for advice in answers["advice"]]),
                ("typical", ["not typical" not in doubts for doubts in answers["doubts"]]),
            ):
                columns.setdefault(name, np.zeros(len(self.kept), bool))[places] = values

    def measures(self, endpoint: str, label: np.ndarray) -> dict[str, Any]:
        """Measures of one question over the ECGs whose label, (n,), is known."""
        known = np.isfinite(label)
        count, columns = int(known.sum()), self.columns.get(endpoint, {})
        nothing = np.zeros(len(label), bool)
        answered = columns.get("answered", nothing) & known
        wrong = answered & (columns["decision"] != label) if columns else nothing
        seen = known & self.kept
        measured = {name: values[seen] for name, values in columns.items() if name in _MEASURED and seen.any()}
        row: dict[str, Any] = {
            "ecgs": count,
            "answered": float(answered.sum() / max(count, 1)),
            "wrong": float(wrong.sum() / max(count, 1)),
            "wrong_of_answered": float(wrong.sum() / answered.sum()) if answered.any() else None,
            "refused": float(1 - seen.sum() / max(count, 1)),
            "typical": float((columns.get("typical", nothing) & known).sum() / max(count, 1)),
        }
        if len(np.unique(label[seen])) == 2:
            row["auroc"] = float(roc_auc_score(label[seen], measured["score"]))
        if "probability" in measured:
            row["probability_excess"] = float(measured["probability"].mean() - label[seen].mean())
        if "typicality" in measured:
            row["typicality"] = float(np.median(measured["typicality"]))
        if "uncertainty" in measured:
            row["uncertainty"] = float(np.exp(np.mean(np.log(measured["uncertainty"]))))
        return row
