"""Everything that is chosen on the validation split: it is given no test label, so none can touch it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from data_contracts.reading_card import Calibration, Referral
from echoingecg.evaluation.decision.calibration import Isotonic, Platt, choose_calibration, fit_isotonic, fit_platt
from echoingecg.evaluation.decision.threshold_and_referral import choose_referral
from echoingecg.evaluation.thresholds import threshold_at_specificity
from echoingecg.recipe import EvaluationSettings


@dataclass(frozen=True)
class Rules:
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


def choose_rules(
    label: np.ndarray,
    score: np.ndarray,
    patient: np.ndarray,
    uncertainty: np.ndarray,
    threshold: float,
    settings: EvaluationSettings,
) -> Rules:
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
    return Rules(
        records=len(label),
        positives=int(label.sum()),
        at_specificity=threshold_at_specificity(label, score, settings.specificity),
        referral=choose_referral(label, score, uncertainty, threshold, settings),
        calibration=choose_calibration(label, score, patient, platt, isotonic, settings.calibration),
        platt=platt,
        isotonic=isotonic,
    )
