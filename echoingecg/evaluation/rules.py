"""Everything that is chosen on the validation split: it is given no test label, so none can touch it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from echoingecg.evaluation.calibration import Isotonic, Platt, fit_isotonic, fit_platt
from echoingecg.evaluation.conformal import ConformalLimits, conformal_limits
from echoingecg.evaluation.thresholds import threshold_at_specificity
from echoingecg.recipe import EvaluationSettings


@dataclass(frozen=True)
class Rules:
    """Rules of one protocol.

    Attributes:
        records, positives: validation ECGs they were chosen on, and those of label 1.
        threshold: a score that reaches it is decided as label 1.
        at_specificity: the threshold of the recipe's specificity; None without a validation ECG of label 0.
        conformal: which labels a score leaves possible; the others are referred to echo.
        platt, isotonic: calibrators; None when validation lacks a class.
    """

    records: int
    positives: int
    threshold: float
    at_specificity: float | None
    conformal: ConformalLimits
    platt: Platt | None
    isotonic: Isotonic | None

    def row(self) -> dict[str, Any]:
        """Columns of evaluation.RULES beside endpoint and protocol."""
        return {
            "records": self.records,
            "positives": self.positives,
            "threshold": self.threshold,
            "threshold_at_specificity": self.at_specificity,
            "one_from": self.conformal.one_from,
            "zero_to": self.conformal.zero_to,
            "platt_slope": self.platt.slope if self.platt else None,
            "platt_intercept": self.platt.intercept if self.platt else None,
            "isotonic_score": list(self.isotonic.score) if self.isotonic else [],
            "isotonic_probability": list(self.isotonic.probability) if self.isotonic else [],
        }


def choose_rules(label: np.ndarray, score: np.ndarray, threshold: float, settings: EvaluationSettings) -> Rules:
    """Rules from the validation ECGs.

    Args:
        label: (n,) 0 or 1, of the validation ECGs alone.
        score: (n,) in [0, 1], of the same.
        threshold: already chosen on the same.
        settings: specificity, miscoverage.
    """
    both = 0 < label.sum() < len(label)
    return Rules(
        records=len(label),
        positives=int(label.sum()),
        threshold=threshold,
        at_specificity=threshold_at_specificity(label, score, settings.specificity),
        conformal=conformal_limits(label, score, settings.miscoverage),
        platt=fit_platt(label, score) if both else None,
        isotonic=fit_isotonic(label, score) if both else None,
    )
