"""Rows of evaluation.RELIABILITY and evaluation.RISK_COVERAGE: what the figures are drawn from."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from echoingecg.evaluation.answers import Answers
from echoingecg.evaluation.metrics.selective import selective_risk
from echoingecg.evaluation.reliability import reliability_bins

POINTS: Final = 50  # of a risk-coverage curve
RAW: Final = "none"


def reliability_rows(of: Answers, bins: int) -> Iterator[dict[str, Any]]:
    """Bins of the score as it is, and after each calibrator that validation allowed."""
    scores = {RAW: of.score}
    scores |= {name: fit(of.score) for name, fit in (("platt", of.rules.platt), ("isotonic", of.rules.isotonic)) if fit}
    for calibration, score in scores.items():
        for one in reliability_bins(of.label, score, bins):
            yield {**of.name, "calibration": calibration, **asdict(one)}


def risk_coverage_rows(of: Answers) -> Iterator[dict[str, Any]]:
    """Up to POINTS points of every doubt's curve, the last one at full coverage."""
    records = len(of.label)
    if records == 0:
        return
    kept = np.unique(np.ceil(np.arange(1, POINTS + 1) / POINTS * records).astype(int))
    error = (of.decision != of.label).astype(np.float64)
    for name, doubt in of.doubts.items():
        risk = selective_risk(error, doubt)
        for count in kept.tolist():
            yield {
                **of.name,
                "doubt": name,
                "records": count,
                "coverage": count / records,
                "risk": float(risk[count - 1]),
            }
