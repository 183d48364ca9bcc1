"""What speaks for and against an answer whatever the question: findings, typicality, disturbed copies of training ECGs.

Shape legend: r = paired ECGs, k = disturbed copies, D = embedding width, F = features of the trunk.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from echoingecg.ecg.disturbance import DISTURBANCES, process_disturbed
from echoingecg.evaluation.data import names
from echoingecg.evaluation.data.embed import CHUNK, Signals, StudentModel
from echoingecg.evaluation.data.inputs import EvaluationInputs, EvaluationPairs
from echoingecg.evaluation.data.models import LinearScore, Models
from echoingecg.evaluation.decision.predictive import (
    EcgValues,
    ExpectedEcho,
    PredictiveDistribution,
    expected_echo,
    expected_number,
    fit_predictive,
)
from echoingecg.evaluation.decision.typicality import Typicality, fit_distance, fit_typicality, mahalanobis, share_limit
from echoingecg.recipe import EcgSettings, EvaluationSettings

_NOISE = ("muscle noise", "baseline wander", "motion bursts")  # kinds that leave an ECG readable, but less surely
_FAULTS = ("electrode reversal", "gain")  # kinds that make it tell something else
MAX_COPIED = 2000  # training ECGs that are copied, once for each kind


@dataclass(frozen=True)
class DisturbedCopies:
    """Disturbed copies of training ECGs, embedded.

    Attributes:
        record: (k,) int64 into the paired ECGs.
        mean: (k, D) float32.
        features: (k, F) float32.
        is_noisy: (k,) bool, whether the copy still tells, less surely, what the echo would say.
    """

    record: np.ndarray
    mean: np.ndarray
    features: np.ndarray
    is_noisy: np.ndarray

    def chosen(self, rows: np.ndarray) -> "DisturbedCopies":
        """Some of the copies, (k,) bool."""
        return DisturbedCopies(self.record[rows], self.mean[rows], self.features[rows], self.is_noisy[rows])


@dataclass(frozen=True)
class CohortTrust:
    """Trust in the r paired ECGs.

    Attributes:
        split: (r,) str.
        mean: (r, D) float32, by the student under test.
        features: (r, F) float32.
        target: (r, D) float32, teacher's mean of each ECG's nearest study; NaN without one.
        is_referred: (r,) bool, whether a finding refers the ECG whatever its scores.
        typicality: None where too few training ECGs tell what is typical; then no ECG is.
        copies: of training ECGs.
    """

    split: np.ndarray
    mean: np.ndarray
    features: np.ndarray
    target: np.ndarray
    is_referred: np.ndarray
    typicality: Typicality | None
    copies: DisturbedCopies

    @classmethod
    def from_models(
        cls, inputs: EvaluationInputs, pairs: EvaluationPairs, models: Models, settings: EvaluationSettings
    ) -> "CohortTrust":
        """Disturbs training ECGs, and fits the typicality on them and on undisturbed ECGs without findings."""
        is_referred = _is_referred(inputs, pairs)
        of_side = {side: (pairs.split == side) & ~is_referred for side in ("train", "validation")}
        training = np.flatnonzero(of_side["train"])
        of_student = (inputs.student, inputs.signals, pairs.signal_row)
        copies = (
            disturbed_copies(*of_student, training, inputs.ecg, settings.seed)
            if len(training)
            else _no_copies(inputs.dim)
        )
        nearest = pairs.nearest(np.ones(len(pairs.record), bool))
        target = np.full((len(pairs.record_id), inputs.dim), np.nan, np.float32)
        target[pairs.record[nearest]] = inputs.target_mean[pairs.target_row[pairs.study[nearest]]]
        return cls(
            split=pairs.split,
            mean=models.ecgs.mean,
            features=models.trunk,
            target=target,
            is_referred=is_referred,
            typicality=fit_typicality(
                models.trunk[of_side["train"]], copies.features, models.trunk[of_side["validation"]],
                settings.typical_share,
            ),
            copies=copies,
        )  # fmt: skip

    @classmethod
    def from_card(
        cls, inputs: EvaluationInputs, pairs: EvaluationPairs, models: Models, typicality: Typicality | None
    ) -> "CohortTrust":
        """Applies the measure of typicality of a reading card."""
        return cls(
            split=pairs.split,
            mean=models.ecgs.mean,
            features=models.trunk,
            target=np.full((len(pairs.record_id), inputs.dim), np.nan, np.float32),
            is_referred=_is_referred(inputs, pairs),
            typicality=typicality,
            copies=_no_copies(inputs.dim),
        )

    @cached_property
    def distance(self) -> np.ndarray:
        """Distance of each ECG to the training ECGs, (r,) float64; infinite without a measure."""
        return self._distance(self.features)

    def _distance(self, features: np.ndarray) -> np.ndarray:
        return np.full(len(features), np.inf) if self.typicality is None else self.typicality.distance(features)

    @cached_property
    def is_typical(self) -> np.ndarray:
        """Whether each ECG is typical, (r,) bool."""
        if self.typicality is None:
            return np.zeros(len(self.split), bool)
        return self.typicality.is_typical(self.features, self.distance)

    @property
    def is_answerable(self) -> np.ndarray:
        """Whether neither a finding nor a lack of typicality refers each ECG, (r,) bool."""
        return self.is_typical & ~self.is_referred

    def values(self, value: np.ndarray, record: np.ndarray) -> EcgValues:
        """What predictive distributions are made of, for some ECGs, (n,) int64, with their values, (n,)."""
        return EcgValues(value, self.distance[record], self.features[record])

    def expected_echo(
        self, score: LinearScore, predictive: PredictiveDistribution | None, record: np.ndarray
    ) -> ExpectedEcho:
        """The expected echo of some ECGs, (n,) int64."""
        return expected_echo(predictive, self.values(score.log_odds(self.mean[record]), record), score.steepness)

    def predictive_of_question(self, score: LinearScore) -> PredictiveDistribution | names.Skipped:
        """The distribution of the log-odds that the echo would get; no label is read."""
        return self._predictive(score.log_odds, score.log_odds(self.target))

    def predictive_of_number(self, measured: np.ndarray) -> PredictiveDistribution | names.Skipped:
        """The distribution of a number that the echo would measure, given the features of the trunk alone.

        Args:
            measured: (r,) float64, NaN where it is not known; those of test ECGs are not read.
        """
        return self._predictive(lambda mean: np.zeros(len(mean)), measured)

    def expected_number(self, predictive: PredictiveDistribution) -> ExpectedEcho:
        """The expected number of all r ECGs."""
        return expected_number(predictive, self.distance, self.features)

    def _predictive(
        self, own_value: Callable[[np.ndarray], np.ndarray], echo: np.ndarray
    ) -> PredictiveDistribution | names.Skipped:
        """Fits a distribution on training ECGs and noisy copies whose echo's value is known.

        Args:
            own_value: gives the student's own values, (n,), of mean embeddings, (n, D).
            echo: (r,) the echo's values, NaN where they are not known.
        """
        if self.typicality is None:
            return names.Skipped("too few training or validation ECGs without findings tell what is typical")
        is_usable = ~self.is_referred & np.isfinite(echo)
        sides = [np.flatnonzero((self.split == side) & is_usable) for side in ("train", "validation")]
        if not len(sides[0]):
            return names.Skipped("the echo's value is known of no training ECG without findings")
        clean, validation = ((self.values(own_value(self.mean[rows]), rows), echo[rows]) for rows in sides)
        copies = self.copies.chosen(self.copies.is_noisy & is_usable[self.copies.record])
        copied = EcgValues(own_value(copies.mean), self._distance(copies.features), copies.features)
        fitted = fit_predictive(clean, (copied, echo[copies.record]), validation, float(np.median(clean[0].distance)))
        return fitted or names.Skipped("too few training or validation ECGs, or all alike")


def _is_referred(inputs: EvaluationInputs, pairs: EvaluationPairs) -> np.ndarray:
    use = dict(zip(inputs.records["record_id"].to_pylist(), inputs.records["use"].to_pylist(), strict=True))
    return np.array([use[name] == "refer" for name in pairs.record_id.tolist()], dtype=bool)


def disturbed_copies(
    student: StudentModel, signals: Signals, signal_row: np.ndarray, training: np.ndarray, ecg: EcgSettings, seed: int
) -> DisturbedCopies:
    """Copies of at most MAX_COPIED training ECGs, one of each kind, at a level drawn among the kind's.

    Args:
        student: embeds the copies.
        signals: of all ECGs.
        signal_row: (r,) int64, row of each paired ECG among the signals.
        training: (t,) int64, the paired ECGs to choose from, at least one.
        ecg: settings of the stage `ecg`, which filters the copies.
        seed: of the choice and of the disturbances.
    """
    random = np.random.default_rng(seed)
    chosen = np.sort(random.permutation(training)[:MAX_COPIED])
    parts = []
    for number, name in enumerate((*_NOISE, *_FAULTS)):
        kind = DISTURBANCES[name]
        for first in range(0, len(chosen), CHUNK):
            rows = chosen[first : first + CHUNK]
            levels = kind.draw_levels(len(rows), random)
            outcome = process_disturbed(signals.read(signal_row[rows]), kind, levels, (seed, number, first), ecg)
            mean, _, features = student.embed_ecg_with_features(outcome.signals)
            parts.append((rows[outcome.kept], mean, features, np.full(len(mean), name in _NOISE)))
    return DisturbedCopies(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _no_copies(dim: int) -> DisturbedCopies:
    mean, features = np.empty((0, dim), np.float32), np.empty((0, 0), np.float32)
    return DisturbedCopies(np.empty(0, np.int64), mean, features, np.empty(0, bool))


def study_columns(inputs: EvaluationInputs, share: float) -> dict[str, Any]:
    """Columns of data_contracts.evaluation_details.STUDY_TYPICALITY: a row for each study of a patient with a split.

    A label, and the target that a student learns, are no better than the echo they come from: a study far from those of
    the training, by the teacher's mean embedding, may be of another kind of view, machine or patient. Nothing is
    referred by it; the report tells its share.

    Args:
        inputs: of the stage.
        share: of the validation studies that are to be typical.
    """
    split_of = dict(zip(*(inputs.patients[name].to_pylist() for name in ("patient_id", "split")), strict=True))
    split = np.array([split_of.get(name, "") for name in inputs.studies["patient_id"].to_pylist()], dtype="<U10")
    known = np.flatnonzero(split != "")
    study_id, split, mean = (
        np.array(inputs.studies["study_id"].to_pylist(), np.str_)[known], split[known], inputs.target_mean[known],
    )  # fmt: skip
    columns: dict[str, Any] = {"study_id": study_id, "split": split}
    training, validation = mean[split == "train"], mean[split == "validation"]
    measure = fit_distance(training) if len(validation) else None
    if measure is None:
        return columns | {"distance": [None] * len(split), "is_typical": np.zeros(len(split), bool)}
    distance = mahalanobis(mean, *measure)
    limit = share_limit(distance[split == "validation"], share)
    return columns | {"distance": distance, "is_typical": distance <= limit}
