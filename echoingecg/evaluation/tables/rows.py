"""Rows of evaluation.METRICS and evaluation.STRATA: the test split as a whole and in parts.

What one protocol answered on the test split, beside the rules that were chosen before.

Rows of evaluation.RELIABILITY and evaluation.RISK_COVERAGE: what the figures are drawn from.

Rows of data_contracts.evaluation_details: who was asked what, and where ECGs and echo studies lie.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from data_contracts.conventions import SPLITS
from data_contracts.evaluation_details import NUMBER, QUESTION
from echoingecg.evaluation.data import embed, inputs
from echoingecg.evaluation.decision import reading_card, threshold_and_referral
from echoingecg.evaluation.metrics import bootstrap, selective
from echoingecg.evaluation.metrics.classification import binary_metrics, calibration_metrics, mean, reliability_bins
from echoingecg.evaluation.protocols.classification import EndpointResult
from echoingecg.evaluation.protocols.regression import RegressionResult
from echoingecg.recipe import EvaluationSettings

MEAN_LOG_VAR = "mean_log_var"
SCORE_DISTANCE = "score_distance"


@dataclass(frozen=True)
class Answers:
    """Test ECGs of one endpoint and protocol.

    Attributes:
        endpoint, protocol: names.
        label, score, decision: (n,) of the test ECGs.
        is_answered: (n,) bool, those that are not referred to echo.
        patient: (n,) str.
        doubts: (n,) float64 by name, higher for less certain: summaries of the variance, and minus the distance of
            the score to the threshold.
        levels: (n,) str by stratum.
        rules: chosen on validation.
    """

    endpoint: str
    protocol: str
    label: np.ndarray
    score: np.ndarray
    decision: np.ndarray
    is_answered: np.ndarray
    patient: np.ndarray
    doubts: dict[str, np.ndarray]
    levels: dict[str, np.ndarray]
    rules: reading_card.Rules

    @property
    def name(self) -> dict[str, str]:
        """The columns that every table of results begins with."""
        return {"endpoint": self.endpoint, "protocol": self.protocol}


def summaries(ecgs: embed.Gaussians) -> dict[str, np.ndarray]:
    """Scalars of the predicted variance, (n,) float64 by name."""
    return {
        MEAN_LOG_VAR: ecgs.uncertainty,
        "total_variance": ecgs.total_variance,
        "max_log_var": ecgs.max_log_var,
    }


def answers_of(result: EndpointResult, ecgs: embed.Gaussians, levels: Mapping[str, np.ndarray]) -> Iterator[Answers]:
    """Every protocol that ran.

    Args:
        result: n labelled ECGs of all splits.
        ecgs: their n embeddings.
        levels: (n,) str by stratum.
    """
    test = result.test
    for of in result.protocols:
        score = of.score[test]
        yield Answers(
            endpoint=result.endpoint.name,
            protocol=of.protocol,
            label=result.label[test],
            score=score,
            decision=of.decision[test],
            is_answered=of.is_answered(result.uncertainty)[test],
            patient=result.patient_id[test],
            doubts=summaries(ecgs[test]) | {SCORE_DISTANCE: selective.threshold_nearness(score, of.threshold.value)},
            levels={stratum: level[test] for stratum, level in levels.items()},
            rules=of.rules,
        )


ANSWERED = "answered"
SENSITIVITY_AT = "sensitivity_at_specificity"
SPECIFICITY_ATTAINED = "specificity_attained"
COVERAGE = "conformal_coverage"
WRONGLY_ANSWERED = "wrongly_answered"
ANSWERED_SHARE = "answered_share"
AURC = "aurc"
EXCESS_AURC = "excess_aurc"


def metric_rows(of: Answers, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    """Rows of METRICS: all test ECGs, halves by the variance, and those that the rule of referral answers."""
    for group, members in selective.groups(of.doubts[MEAN_LOG_VAR]).items():
        more = _of_the_whole(of, settings.reliability_bins) if group == selective.ALL else {}
        yield from _rows(of, of.decision, members, {"group": group}, settings, more)
    yield from _rows(of, of.decision, of.is_answered, {"group": ANSWERED}, settings)


def strata_rows(of: Answers, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    """Rows of STRATA: a part of the test ECGs each."""
    for stratum, levels in of.levels.items():
        for level, members in selective.parts(levels, of.patient).items():
            yield from _rows(of, of.decision, members, {"stratum": stratum, "level": level}, settings)


def _of_the_whole(of: Answers, bins: int) -> dict[str, bootstrap.Metric]:
    """What is told of all test ECGs only."""
    rules, label, patients = of.rules, of.label, bootstrap.Patients.of(of.patient)
    found: dict[str, bootstrap.Metric] = {}
    if rules.at_specificity is not None:
        called = (of.score >= rules.at_specificity).astype(np.float64)
        found[SENSITIVITY_AT] = mean(called, patients, label == 1)
        found[SPECIFICITY_ATTAINED] = mean(1 - called, patients, label == 0)
    for suffix, calibrate in (("_platt", rules.platt), ("_isotonic", rules.isotonic)):
        if calibrate is not None:
            found |= calibration_metrics(label, calibrate(of.score), patients, bins, suffix)
    error = (of.decision != label).astype(np.float64)
    for name, doubt in of.doubts.items():
        found[f"{AURC}_{name}"], found[f"{EXCESS_AURC}_{name}"] = selective.aurc_metrics(error, doubt, patients)
    wrong = (of.is_answered & (of.decision != label)).astype(np.float64)
    kept = threshold_and_referral.possible(rules.referral, of.score).astype(np.float64)
    for one in (0, 1):
        if rules.referral.kind == "conformal":
            found[f"{COVERAGE}_{one}"] = mean(kept[:, one], patients, label == one)
        found[f"{WRONGLY_ANSWERED}_{one}"] = mean(wrong, patients, label == one)
    found[ANSWERED_SHARE] = mean(of.is_answered.astype(np.float64), patients)
    return found


def _rows(
    of: Answers,
    decision: np.ndarray,
    members: np.ndarray,
    part: Mapping[str, str],
    settings: EvaluationSettings,
    more: Mapping[str, bootstrap.Metric] | None = None,
) -> Iterator[dict[str, Any]]:
    """A row a metric of the test ECGs that are `members`, (n,) bool; `more` metrics are of the same ECGs."""
    label, patients = of.label[members], bootstrap.Patients.of(of.patient[members])
    asked = binary_metrics(label, of.score[members], decision[members], patients, settings.reliability_bins)
    asked |= more or {}
    for metric, found in bootstrap.estimates(asked, patients, settings.bootstrap_draws, settings.seed).items():
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


POINTS = 50  # of a risk-coverage curve
RAW = "none"


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
        risk = selective.selective_risk(error, doubt)
        for count in kept.tolist():
            yield {
                **of.name,
                "doubt": name,
                "records": count,
                "coverage": count / records,
                "risk": float(risk[count - 1]),
            }


Row = dict[str, Any]
_FEWEST = 3  # points that span a plane


def cohort_rows(pairs: inputs.EvaluationPairs) -> Iterator[Row]:
    """Rows of COHORT, every split."""
    for side in SPLITS:
        of_side = pairs.split == side
        yield {"split": side, "ecgs": int(of_side.sum()), "patients": len(np.unique(pairs.patient_id[of_side]))}


def asked_rows(results: Sequence[EndpointResult | RegressionResult]) -> Iterator[Row]:
    """Rows of ASKED, in the recipe's order."""
    for one in results:
        found = one.studies
        yield _of(one) | {
            "studies": len(found.value),
            "absent": found.absent,
            "unit_mismatch": found.unit_mismatch,
            "impossible": found.impossible,
            "sex_unknown": one.studies.sex_unknown if isinstance(one, EndpointResult) else 0,
            "labelled": int(found.known.sum()),
        }


def labelled_rows(results: Sequence[EndpointResult | RegressionResult]) -> Iterator[Row]:
    """Rows of LABELLED, every split."""
    for one in results:
        for side in SPLITS:
            of_side = one.split == side
            positives = int(one.label[of_side].sum()) if isinstance(one, EndpointResult) else None
            yield _of(one) | {"split": side, "records": int(of_side.sum()), "positives": positives}


def attempt_rows(results: Sequence[EndpointResult | RegressionResult]) -> Iterator[Row]:
    """Rows of ATTEMPTS: first what ran."""
    for one in results:
        if isinstance(one, EndpointResult):
            ran: dict[str, str | None] = {of.protocol: of.threshold.says for of in one.protocols}
        else:
            ran = dict.fromkeys(one.predicted)
        for protocol, says in ran.items():
            yield _of(one) | {"protocol": protocol, "threshold_says": says, "left_out": None}
        for protocol, reason in one.skipped.items():
            yield _of(one) | {"protocol": protocol, "threshold_says": None, "left_out": reason}


def _of(result: EndpointResult | RegressionResult) -> Row:
    kind = QUESTION if isinstance(result, EndpointResult) else NUMBER
    return {"kind": kind, "endpoint": result.endpoint.name}


def map_rows(pairs: inputs.EvaluationPairs, ecgs: embed.Gaussians, target_mean: np.ndarray) -> Iterator[Row]:
    """Rows of EMBEDDING_MAP: means of the test ECGs and of their studies on the plane on which they differ most.

    Args:
        pairs: r ECGs and s studies.
        ecgs: r embeddings by the student.
        target_mean: (study, D) float32, of all studies.
    """
    from sklearn.decomposition import PCA

    tested = pairs.split == "test"
    study = np.unique(pairs.study[tested[pairs.record]])
    points = np.concatenate([ecgs.mean[tested], target_mean[pairs.target_row[study]]]).astype(np.float64)
    if len(points) < _FEWEST or points.shape[1] < 2:
        return
    modality = ["ecg"] * int(tested.sum()) + ["echo"] * len(study)
    names = [*pairs.record_id[tested].tolist(), *pairs.study_id[study].tolist()]
    plane = PCA(2, svd_solver="covariance_eigh").fit_transform(points)
    for kind, name, (x, y) in zip(modality, names, plane.tolist(), strict=True):
        yield {"modality": kind, "name": name, "x": x, "y": y}
