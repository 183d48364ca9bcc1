"""What is chosen on the validation split, and the reading card that carries it to prediction.

The code here is given no test label, so no test label can influence a choice.

Shape legend: n = ECGs, D = embedding width, F = features of the student's trunk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from data_contracts import prediction as contract
from data_contracts.conventions import LEAD_SETS, NOT_STATED, LeadSet
from data_contracts.manifest import checked_file
from data_contracts.prediction import Calibration, Predictive, Reading, ReadingCard, Referral
from echoingecg.common import ContractError, StoreError, UserError
from echoingecg.evaluation.data.models import LinearScore
from echoingecg.evaluation.decision.calibration import CalibrationEcgs, Isotonic, Platt, choose_calibration
from echoingecg.evaluation.decision.numbers import LoadedNumber
from echoingecg.evaluation.decision.predictive import PredictiveDistribution
from echoingecg.evaluation.decision.threshold_and_referral import choose_referral, threshold_at_specificity
from echoingecg.evaluation.decision.typicality import Typicality
from echoingecg.recipe import EcgSettings, EvaluationSettings

_EQUAL = 1e-5  # relative: deviations and distances that differ by less are equal
MAX_QUANTILES = 1001  # of a measure, when there are more validation ECGs than that


@dataclass(frozen=True)
class LoadedReading:
    """One question under one protocol, with its arrays.

    Attributes:
        reading: names, calibration and rule of referral.
        score: linear in the student's mean embedding.
        predictive: of the echo's log-odds; None where the score alone decides.
        deviations: (q,) float64, ascending: predictive deviation of the validation ECGs.
    """

    reading: Reading
    score: LinearScore
    predictive: PredictiveDistribution | None
    deviations: np.ndarray


@dataclass(frozen=True)
class LoadedReadingCard:
    """A reading card with its arrays.

    Attributes:
        card: what belongs to no single reading.
        readings: one for each question and protocol.
        typicality: None where too few training ECGs tell what is typical: then everything is referred.
        distances: (q,) float64, ascending: typicality of the validation ECGs.
        numbers: one for each number of the echo.
        fewer: cards of sets of fewer leads, each chosen on ECGs of these leads.
    """

    card: ReadingCard
    readings: tuple[LoadedReading, ...]
    typicality: Typicality | None
    distances: np.ndarray
    numbers: tuple[LoadedNumber, ...] = ()
    fewer: Mapping[LeadSet, "LoadedReadingCard"] = field(default_factory=dict)

    @classmethod
    def without_readings(cls, ecg: EcgSettings, trained_on: str = NOT_STATED) -> Self:
        """A card that answers nothing, of signals made with these settings."""
        made = {"ecg": ecg.model_dump(mode="json"), "trained_on": trained_on}
        card = ReadingCard(student="", readings=(), answered_by="", typical=None, **made)
        return cls(card, (), None, np.empty(0))

    @property
    def dim(self) -> int | None:
        """Embedding width; None for a card without readings."""
        return len(self.readings[0].score.weight) if self.readings else None

    def readings_under(self, protocol: str) -> list[LoadedReading]:
        """Readings of one protocol; none of a card that holds numbers alone. Raises UserError when it has none."""
        chosen = [entry for entry in self.readings if entry.reading.protocol == protocol]
        if not chosen and (self.readings or not self.numbers):
            known = ", ".join(dict.fromkeys(entry.reading.protocol for entry in self.readings)) or "none"
            raise UserError(f"no endpoint was judged under protocol '{protocol}': this evaluation knows {known}")
        return chosen

    def save(self, folder: Path, filename: str = contract.FILENAME) -> None:
        """Writes the card, and those of fewer leads beside it, to a folder; equal cards give equal bytes."""
        for name, card in self.fewer.items():
            card.save(folder, contract.FILENAME_OF_SET.format(name))
        typicality = self.typicality
        features = 0 if typicality is None else len(typicality.centre)
        predictives = [entry.predictive for entry in self.readings] + [number.predictive for number in self.numbers]
        weights = np.zeros((2, len(predictives), features))
        for row, predictive in enumerate(predictives):
            if predictive is not None:
                weights[:, row] = predictive.mean_weight, predictive.log_variance_weight
        arrays = {
            contract.WEIGHT: _stacked([entry.score.weight for entry in self.readings]),
            contract.BIAS: np.array([entry.score.bias for entry in self.readings], np.float64),
            contract.MEAN_WEIGHT: weights[0],
            contract.LOG_VARIANCE_WEIGHT: weights[1],
            contract.DEVIATIONS: _padded([entry.deviations for entry in self.readings]),
            contract.CENTRE: np.empty(0) if typicality is None else typicality.centre,
            contract.WHITENING: np.empty((0, 0)) if typicality is None else typicality.whitening,
            contract.DISTURBED: np.zeros(1) if typicality is None else typicality.disturbed,
            contract.DISTANCES: self.distances,
        }
        save_file(arrays, folder / filename, {contract.METADATA: self.card.model_dump_json()})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads the card from the folder of an evaluation, with those of fewer leads.

        Raises:
            StoreError: there is no card, or it cannot be read.
            DamagedError: it is not the one that was published.
            ContractError: it is damaged, or not a card that this release can read.
        """
        path = checked_file(folder, contract.FILENAME)
        if not path.is_file():
            raise StoreError(f"no {contract.FILENAME} in {folder}: run stage evaluation again with this release")
        of_sets: dict[LeadSet, Path] = {
            name: checked_file(folder, contract.FILENAME_OF_SET.format(name)) for name in LEAD_SETS
        }
        fewer = {name: cls._read(part) for name, part in of_sets.items() if part.is_file()}
        return replace(cls._read(path), fewer=fewer)

    @classmethod
    def _read(cls, path: Path) -> Self:
        try:
            with safe_open(path, framework="numpy") as file:
                card = ReadingCard.model_validate_json((file.metadata() or {}).get(contract.METADATA, ""))
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except ValidationError as fault:
            raise ContractError(f"{path}: damaged, or of another release: run stage evaluation again") from fault
        except (OSError, SafetensorError) as fault:
            raise StoreError(f"{path}: cannot be read: restore it, or run stage evaluation again") from fault
        _check_shapes(arrays, len(card.readings), len(card.numbers), path)
        typicality = None
        if card.typical is not None:
            typicality = Typicality(
                arrays[contract.CENTRE], arrays[contract.WHITENING], arrays[contract.DISTURBED], card.typical
            )
        readings = tuple(_loaded(reading, row, arrays) for row, reading in enumerate(card.readings))
        numbers = tuple(
            LoadedNumber(number, _predictive(number.predictive, row, arrays))
            for row, number in enumerate(card.numbers, start=len(readings))
        )
        return cls(card, readings, typicality, arrays[contract.DISTANCES], numbers)


def _check_shapes(arrays: Mapping[str, np.ndarray], readings: int, numbers: int, path: Path) -> None:
    """Raises ContractError unless all arrays are there and have the shapes of so many readings and numbers."""
    features = len(arrays.get(contract.CENTRE, ()))
    shapes: dict[str, tuple[int | None, ...]] = {
        contract.WEIGHT: (readings, None),
        contract.BIAS: (readings,),
        contract.MEAN_WEIGHT: (readings + numbers, features),
        contract.LOG_VARIANCE_WEIGHT: (readings + numbers, features),
        contract.DEVIATIONS: (readings, None),
        contract.CENTRE: (features,),
        contract.WHITENING: (features, features),
        contract.DISTURBED: (1 + features,),
        contract.DISTANCES: (None,),
    }
    for name, shape in shapes.items():
        stored = arrays[name].shape if name in arrays else ()
        if len(stored) != len(shape) or any(size not in (None, own) for size, own in zip(shape, stored, strict=True)):
            raise ContractError(f"{path}: its arrays are not those of its {readings} readings")


def _loaded(reading: Reading, row: int, arrays: Mapping[str, np.ndarray]) -> LoadedReading:
    predictive = None if reading.predictive is None else _predictive(reading.predictive, row, arrays)
    score = LinearScore(arrays[contract.WEIGHT][row], float(arrays[contract.BIAS][row]))
    deviations = arrays[contract.DEVIATIONS][row]
    return LoadedReading(reading, score, predictive, deviations[np.isfinite(deviations)])


def _predictive(scalars: Predictive, row: int, arrays: Mapping[str, np.ndarray]) -> PredictiveDistribution:
    return PredictiveDistribution(scalars, arrays[contract.MEAN_WEIGHT][row], arrays[contract.LOG_VARIANCE_WEIGHT][row])


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(rows) if rows else np.empty((0, 0), np.float64)


def _padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of unequal length, filled up with infinity: questions differ in the number of their validation ECGs."""
    padded = np.full((len(rows), max((len(row) for row in rows), default=0)), np.inf)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded


def quantiles(values: np.ndarray) -> np.ndarray:
    """Sorted values, (n,); of more than 1,001 values their quantiles from 0 to 1 in steps of 0.001."""
    if len(values) <= MAX_QUANTILES:
        return np.sort(values)
    return np.quantile(values, np.linspace(0, 1, MAX_QUANTILES))


def percentile(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Share of the sorted values `among`, (q,), that are at most as large, (n,) float64, %; all None without any.

    Values that differ by rounding count as equal, so that an ECG of the validation split gets the same share anew.
    """
    if len(among) == 0:
        return np.full(len(values), None)
    return 100.0 * np.searchsorted(among, values + _EQUAL * np.abs(values), side="right") / len(among)


@dataclass(frozen=True)
class ValidationChoices:
    """What was chosen on validation ECGs for one endpoint and protocol.

    Attributes:
        records, positives: number of validation ECGs, and of those with label 1.
        prevalence: share of label 1 where the calibrator was fitted; None without ECGs, or if the card lacks it.
        at_specificity: the threshold of the recipe's specificity; None without a validation ECG of label 0.
        referral: rule that decides, and that refers ECGs to echo.
        calibration: makes a probability of the score.
        platt, isotonic: both calibrators, for comparison; None when validation lacks a class.
    """

    records: int
    positives: int
    prevalence: float | None
    at_specificity: float | None
    referral: Referral
    calibration: Calibration
    platt: Platt | None
    isotonic: Isotonic | None

    @classmethod
    def of_card(cls, reading: Reading) -> Self:
        """The choices of a reading card; the ECGs that they were made on are not known."""
        rule = reading.calibration
        return cls(
            records=0,
            positives=0,
            prevalence=reading.prevalence,
            at_specificity=None,
            referral=reading.referral,
            calibration=rule,
            platt=Platt(rule.slope, rule.intercept) if rule.method == "platt" else None,
            isotonic=Isotonic(rule.score, rule.probability) if rule.method == "isotonic" else None,
        )

    def row(self) -> dict[str, Any]:
        """Columns of evaluation.RULES, without endpoint and protocol."""
        return {
            "records": self.records,
            "positives": self.positives,
            "threshold": self.referral.threshold,
            "threshold_at_specificity": self.at_specificity,
            "referral": self.referral.kind,
            "one_from": self.referral.one_from,
            "zero_to": self.referral.zero_to,
            "calibration": self.calibration.method,
            "platt_slope": self.platt.slope if self.platt else None,
            "platt_intercept": self.platt.intercept if self.platt else None,
            "isotonic_score": list(self.isotonic.score) if self.isotonic else [],
            "isotonic_probability": list(self.isotonic.probability) if self.isotonic else [],
        }


def choose_on_validation(
    ecgs: CalibrationEcgs,
    distance: np.ndarray,
    is_answerable: np.ndarray,
    threshold: float,
    settings: EvaluationSettings,
) -> ValidationChoices:
    """Chooses thresholds, rule of referral and calibration on the validation ECGs.

    The rule of referral is chosen on those that could be answered, so that it holds among them.

    Args:
        ecgs: n validation ECGs alone.
        distance: (n,) of `predictive.ExpectedEcho.distance`, consistent with nested questions.
        is_answerable: (n,) bool, whether neither a finding nor a lack of typicality refers the ECG.
        threshold: already chosen on the same ECGs.
        settings: specificity, referral and calibration.
    """
    platt, isotonic = (ecgs.platt(), ecgs.isotonic()) if ecgs.has_both_classes else (None, None)
    return ValidationChoices(
        records=len(ecgs.label),
        positives=int(ecgs.label.sum()),
        prevalence=float(ecgs.label.mean()) if len(ecgs.label) else None,
        at_specificity=threshold_at_specificity(ecgs.label, ecgs.score, settings.specificity),
        referral=choose_referral(ecgs.label[is_answerable], distance[is_answerable], threshold, settings),
        calibration=choose_calibration(ecgs, platt, isotonic, settings.calibration),
        platt=platt,
        isotonic=isotonic,
    )
