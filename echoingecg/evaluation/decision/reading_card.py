"""The reading card: written by an evaluation, applied by whoever reads ECGs with the student it judged.

Everything that is chosen on the validation split: it is given no test label, so none can touch it.
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

MAX_QUANTILES = 1001  # of the uncertainty, where there are more validation ECGs than that


@dataclass(frozen=True)
class LoadedReadingCard:
    """A card with its arrays.

    Attributes:
        card: names and rules.
        linear_scores: one for each reading.
        uncertainty: (q,) float64, ascending: of the validation ECGs, or 1,001 quantiles of it.
    """

    card: ReadingCard
    linear_scores: tuple[LinearScore, ...]
    uncertainty: np.ndarray

    @property
    def dim(self) -> int | None:
        """Embedding width; None when nothing is read."""
        return len(self.linear_scores[0].weight) if self.linear_scores else None

    def readings_under(self, protocol: str) -> list[tuple[Reading, LinearScore]]:
        """The readings of one protocol. Raises UserError when there is none."""
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
        """Share of validation ECGs that are no more uncertain, (n,) float64, %; None for each when there were none."""
        if len(self.uncertainty) == 0:
            return np.full(len(uncertainty), None)
        return 100.0 * np.searchsorted(self.uncertainty, uncertainty, side="right") / len(self.uncertainty)

    def save(self, folder: Path) -> None:
        """Writes the card; equal cards give equal bytes."""
        weight = np.stack([score.weight for score in self.linear_scores]) if self.linear_scores else np.empty((0, 0))
        arrays = {
            contract.WEIGHT: weight,
            contract.BIAS: np.array([score.bias for score in self.linear_scores], np.float64),
            contract.UNCERTAINTY: self.uncertainty,
        }
        save_file(arrays, folder / contract.FILENAME, {contract.METADATA: self.card.model_dump_json()})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads the card of an evaluation.

        Raises:
            StoreError: there is none, or it cannot be read.
            ContractError: it is no card of this release.
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
    """Sorted, and no more than 1,001: of more, the quantiles from 0 to 1 in steps of 0.001."""
    if len(uncertainty) <= MAX_QUANTILES:
        return np.sort(uncertainty)
    return np.quantile(uncertainty, np.linspace(0, 1, MAX_QUANTILES))


@dataclass(frozen=True)
class ValidationChoices:
    """Rules of one protocol.

    Attributes:
        records, positives: validation ECGs they were chosen on, and those of label 1.
        at_specificity: the threshold of the recipe's specificity; None without a validation ECG of label 0.
        referral: what is decided, and which ECGs are referred to echo.
        calibration: makes the score a probability.
        platt, isotonic: both calibrators, to be compared; None when validation lacks a class.
    """

    records: int
    positives: int
    at_specificity: float | None
    referral: Referral
    calibration: Calibration
    platt: Platt | None
    isotonic: Isotonic | None

    def row(self) -> dict[str, Any]:
        """Columns of evaluation.RULES beside endpoint and protocol."""
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
    """Rules from the validation ECGs.

    Args:
        label: (n,) 0 or 1, of the validation ECGs alone.
        score: (n,) in [0, 1], of the same.
        patient: (n,) str, of the same.
        uncertainty: (n,), of the same.
        threshold: already chosen on the same.
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
