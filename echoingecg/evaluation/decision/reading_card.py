"""What is chosen on the validation split, and the reading card that carries it to prediction.

The code here is given no test label, so no test label can influence a choice.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from data_contracts import prediction as contract
from data_contracts.prediction import Calibration, Reading, ReadingCard, Referral
from echoingecg.common import ContractError, StoreError, UserError
from echoingecg.evaluation.data.models import LinearScore
from echoingecg.evaluation.decision.calibration import Isotonic, Platt, choose_calibration, fit_isotonic, fit_platt
from echoingecg.evaluation.decision.threshold_and_referral import choose_referral, threshold_at_specificity
from echoingecg.recipe import EvaluationSettings

MAX_QUANTILES = 1001  # of the uncertainty, when there are more validation ECGs than that


@dataclass(frozen=True)
class LoadedReadingCard:
    """A reading card with its arrays.

    Attributes:
        card: names, calibrations and rules of referral.
        linear_scores: one for each reading.
        uncertainty: (q,) float64, ascending; of every validation ECG, or 1,001 quantiles of it.
    """

    card: ReadingCard
    linear_scores: tuple[LinearScore, ...]
    uncertainty: np.ndarray

    @property
    def dim(self) -> int | None:
        """Embedding width; None for a card without readings."""
        return len(self.linear_scores[0].weight) if self.linear_scores else None

    def readings_under(self, protocol: str) -> list[tuple[Reading, LinearScore]]:
        """Readings of one protocol with their scores. Raises UserError when the card has none."""
        chosen = [
            (reading, line)
            for reading, line in zip(self.card.readings, self.linear_scores, strict=True)
            if reading.protocol == protocol
        ]
        if not chosen:
            known = ", ".join(dict.fromkeys(reading.protocol for reading in self.card.readings)) or "none"
            raise UserError(f"no endpoint was judged under protocol '{protocol}': this evaluation knows {known}")
        return chosen

    def percentile(self, uncertainty: np.ndarray) -> np.ndarray:
        """Share of validation ECGs that are at most as uncertain, (n,) float64, %; all None without validation ECGs."""
        if len(self.uncertainty) == 0:
            return np.full(len(uncertainty), None)
        return 100.0 * np.searchsorted(self.uncertainty, uncertainty, side="right") / len(self.uncertainty)

    def save(self, folder: Path) -> None:
        """Writes the card to a folder; equal cards give equal bytes."""
        weight = np.stack([score.weight for score in self.linear_scores]) if self.linear_scores else np.empty((0, 0))
        arrays = {
            contract.WEIGHT: weight,
            contract.BIAS: np.array([score.bias for score in self.linear_scores], np.float64),
            contract.UNCERTAINTY: self.uncertainty,
        }
        save_file(arrays, folder / contract.FILENAME, {contract.METADATA: self.card.model_dump_json()})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads the card from the folder of an evaluation.

        Raises:
            StoreError: there is no card, or it cannot be read.
            ContractError: it is damaged, or not a card that this release can read.
        """
        path = folder / contract.FILENAME
        if not path.is_file():
            raise StoreError(f"no {contract.FILENAME} in {folder}: run stage evaluation again with this release")
        try:
            with safe_open(path, framework="numpy") as file:
                card = ReadingCard.model_validate_json((file.metadata() or {}).get(contract.METADATA, ""))
                weight, bias, uncertainty = (
                    file.get_tensor(name) for name in (contract.WEIGHT, contract.BIAS, contract.UNCERTAINTY)
                )
        except ValidationError as fault:
            raise ContractError(f"{path}: damaged, or of another release: run stage evaluation again") from fault
        except (OSError, SafetensorError) as fault:
            raise StoreError(f"{path}: cannot be read: restore it, or run stage evaluation again") from fault
        if not len(weight) == len(bias) == len(card.readings):
            raise ContractError(f"{path}: its arrays are not those of its {len(card.readings)} readings")
        lines = tuple(LinearScore(row, float(row_bias)) for row, row_bias in zip(weight, bias, strict=True))
        return cls(card, lines, uncertainty)


def quantiles(uncertainty: np.ndarray) -> np.ndarray:
    """Sorted uncertainties; of more than 1,001 values their quantiles from 0 to 1 in steps of 0.001."""
    if len(uncertainty) <= MAX_QUANTILES:
        return np.sort(uncertainty)
    return np.quantile(uncertainty, np.linspace(0, 1, MAX_QUANTILES))


@dataclass(frozen=True)
class ValidationChoices:
    """What was chosen on validation ECGs for one endpoint and protocol.

    Attributes:
        records, positives: number of validation ECGs, and of those with label 1.
        at_specificity: the threshold of the recipe's specificity; None without a validation ECG of label 0.
        referral: rule that decides, and that refers ECGs to echo.
        calibration: makes a probability of the score.
        platt, isotonic: both calibrators, for comparison; None when validation lacks a class.
    """

    records: int
    positives: int
    at_specificity: float | None
    referral: Referral
    calibration: Calibration
    platt: Platt | None
    isotonic: Isotonic | None

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
            "most_uncertain": self.referral.most_uncertain,
            "calibration": self.calibration.method,
            "platt_slope": self.platt.slope if self.platt else None,
            "platt_intercept": self.platt.intercept if self.platt else None,
            "isotonic_score": list(self.isotonic.score) if self.isotonic else [],
            "isotonic_probability": list(self.isotonic.probability) if self.isotonic else [],
        }


def choose_on_validation(
    label: np.ndarray,
    score: np.ndarray,
    patient: np.ndarray,
    uncertainty: np.ndarray,
    threshold: float,
    settings: EvaluationSettings,
) -> ValidationChoices:
    """Chooses thresholds, rule of referral and calibration on the validation ECGs.

    Args:
        label: (n,) 0 or 1, of the validation ECGs alone.
        score: (n,) in [0, 1], of the same ECGs.
        patient: (n,) str, of the same ECGs.
        uncertainty: (n,), of the same ECGs.
        threshold: already chosen on the same ECGs.
        settings: specificity, referral and calibration.
    """
    both = 0 < label.sum() < len(label)
    platt, isotonic = (fit_platt(label, score), fit_isotonic(label, score)) if both else (None, None)
    return ValidationChoices(
        records=len(label),
        positives=int(label.sum()),
        at_specificity=threshold_at_specificity(label, score, settings.specificity),
        referral=choose_referral(label, score, uncertainty, threshold, settings),
        calibration=choose_calibration(label, score, patient, platt, isotonic, settings.calibration),
        platt=platt,
        isotonic=isotonic,
    )
