"""Rows of evaluation.METRICS and evaluation.STRATA: the test split as a whole and in parts."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from echoingecg.evaluation.answers import MEAN_LOG_VAR, Answers
from echoingecg.evaluation.decision.threshold_and_referral import answered, possible
from echoingecg.evaluation.metrics.bootstrap import Metric, Patients, estimates
from echoingecg.evaluation.metrics.classification import binary_metrics, calibration_metrics, mean
from echoingecg.evaluation.metrics.selective import aurc_metrics
from echoingecg.evaluation.strata import parts
from echoingecg.evaluation.uncertainty import ALL, groups
from echoingecg.recipe import EvaluationSettings

ANSWERED: Final = "answered"
SENSITIVITY_AT: Final = "sensitivity_at_specificity"
SPECIFICITY_ATTAINED: Final = "specificity_attained"
COVERAGE: Final = "conformal_coverage"
WRONGLY_ANSWERED: Final = "wrongly_answered"
ANSWERED_SHARE: Final = "answered_share"
AURC: Final = "aurc"
EXCESS_AURC: Final = "excess_aurc"


def metric_rows(of: Answers, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    """Rows of METRICS: all test ECGs, halves by the variance, and those that the rule of referral answers."""
    for group, members in groups(of.doubts[MEAN_LOG_VAR]).items():
        more = _of_the_whole(of, settings.reliability_bins) if group == ALL else {}
        yield from _rows(of, of.decision, members, {"group": group}, settings, more)
    yield from _rows(of, of.decision, _answered(of), {"group": ANSWERED}, settings)


def strata_rows(of: Answers, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    """Rows of STRATA: a part of the test ECGs each."""
    for stratum, levels in of.levels.items():
        for level, members in parts(levels, of.patient).items():
            yield from _rows(of, of.decision, members, {"stratum": stratum, "level": level}, settings)


def _of_the_whole(of: Answers, bins: int) -> dict[str, Metric]:
    """What is told of all test ECGs only."""
    rules, label, patients = of.rules, of.label, Patients.of(of.patient)
    found: dict[str, Metric] = {}
    if rules.at_specificity is not None:
        called = (of.score >= rules.at_specificity).astype(np.float64)
        found[SENSITIVITY_AT] = mean(called, patients, label == 1)
        found[SPECIFICITY_ATTAINED] = mean(1 - called, patients, label == 0)
    for suffix, calibrate in (("_platt", rules.platt), ("_isotonic", rules.isotonic)):
        if calibrate is not None:
            found |= calibration_metrics(label, calibrate(of.score), patients, bins, suffix)
    error = (of.decision != label).astype(np.float64)
    for name, doubt in of.doubts.items():
        found[f"{AURC}_{name}"], found[f"{EXCESS_AURC}_{name}"] = aurc_metrics(error, doubt, patients)
    told = _answered(of)
    wrong = (told & (of.decision != label)).astype(np.float64)
    kept = possible(rules.referral, of.score).astype(np.float64)
    for one in (0, 1):
        if rules.referral.kind == "conformal":
            found[f"{COVERAGE}_{one}"] = mean(kept[:, one], patients, label == one)
        found[f"{WRONGLY_ANSWERED}_{one}"] = mean(wrong, patients, label == one)
    found[ANSWERED_SHARE] = mean(told.astype(np.float64), patients)
    return found


def _answered(of: Answers) -> np.ndarray:
    return answered(of.rules.referral, of.score, of.doubts[MEAN_LOG_VAR])


def _rows(
    of: Answers,
    decision: np.ndarray,
    members: np.ndarray,
    part: Mapping[str, str],
    settings: EvaluationSettings,
    more: Mapping[str, Metric] | None = None,
) -> Iterator[dict[str, Any]]:
    """A row a metric of the test ECGs that are `members`, (n,) bool; `more` metrics are of the same ECGs."""
    label, patients = of.label[members], Patients.of(of.patient[members])
    asked = binary_metrics(label, of.score[members], decision[members], patients, settings.reliability_bins)
    asked |= more or {}
    for metric, found in estimates(asked, patients, settings.bootstrap_draws, settings.seed).items():
        yield {
            **of.name,
            **part,
            "metric": metric,
            "value": found.value,
            "low": found.low,
            "high": found.high,
            "patients": patients.count,
            "records": len(label),
            "positives": int(label.sum()),
        }
