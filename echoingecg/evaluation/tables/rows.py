"""Rows of the artefact's tables: metrics of the test split and its parts, curves, counts, and the map of embeddings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from data_contracts.conventions import SPLITS
from data_contracts.evaluation_details import NUMBER, QUESTION
from echoingecg.evaluation.data import embed, inputs
from echoingecg.evaluation.decision import reading_card, threshold_and_referral
from echoingecg.evaluation.decision.predictive import ExpectedEcho
from echoingecg.evaluation.metrics import bootstrap, classification, selective, transfer
from echoingecg.evaluation.protocols.classification import EndpointResult
from echoingecg.evaluation.protocols.regression import RegressionResult
from echoingecg.recipe import EvaluationSettings

MEAN_LOG_VAR = "mean_log_var"
SCORE_DISTANCE = "score_distance"
PREDICTIVE_DISTANCE = "predictive_distance"
PREDICTIVE_DEVIATION = "predictive_deviation"


@dataclass(frozen=True)
class ProtocolScores:
    """Scores of one endpoint and protocol on the test ECGs.

    Attributes:
        endpoint, protocol: names.
        label, score, decision: (n,) of the test ECGs.
        distance: (n,) to the threshold, in predictive deviations.
        echo: expected log-odds of the echo.
        is_answered: (n,) bool, ECGs that are not referred to echo.
        patient: (n,) str.
        doubts: (n,) float64 by name, higher for less certain: summaries of the variance, minus the distance of the
            score to the threshold in log-odds and in predictive deviations, and the predictive deviation.
        levels: (n,) str by stratum.
        choices: what was chosen on validation.
        probability: (n,) float64, calibrated as prediction gives it; None where it is not calibrated.
    """

    endpoint: str
    protocol: str
    label: np.ndarray
    score: np.ndarray
    decision: np.ndarray
    distance: np.ndarray
    echo: ExpectedEcho
    is_answered: np.ndarray
    patient: np.ndarray
    doubts: dict[str, np.ndarray]
    levels: dict[str, np.ndarray]
    choices: reading_card.ValidationChoices
    probability: np.ndarray | None

    @property
    def name(self) -> dict[str, str]:
        """Columns that every table of results begins with."""
        return {"endpoint": self.endpoint, "protocol": self.protocol}

    def calibrated(self) -> dict[str, np.ndarray]:
        """Probabilities, (n,), by each calibrator that could be fitted."""
        probabilities = {}
        if (platt := self.choices.platt) is not None:
            probabilities["platt"] = platt(self.echo.distance(self.choices.referral.threshold))
        if (isotonic := self.choices.isotonic) is not None:
            probabilities["isotonic"] = isotonic(self.score)
        return probabilities


def summaries(ecgs: embed.GaussianTable) -> dict[str, np.ndarray]:
    """Scalar summaries of the predicted variance, (n,) float64 by name."""
    return {
        MEAN_LOG_VAR: ecgs.uncertainty,
        "total_variance": ecgs.total_variance,
        "max_log_var": ecgs.max_log_var,
    }


def protocol_scores(
    result: EndpointResult, ecgs: embed.GaussianTable, levels: Mapping[str, np.ndarray]
) -> Iterator[ProtocolScores]:
    """Scores on the test ECGs, for every protocol that ran.

    Args:
        result: n labelled ECGs of all splits.
        ecgs: their n embeddings.
        levels: (n,) str by stratum.
    """
    test = result.test
    for protocol in result.protocols:
        score = protocol.score[test]
        yield ProtocolScores(
            endpoint=result.endpoint.name,
            protocol=protocol.protocol,
            label=result.label[test],
            score=score,
            decision=protocol.decision[test],
            distance=protocol.consistent.distance[test],
            echo=protocol.echo[test],
            is_answered=(protocol.is_decided & result.is_answerable)[test],
            patient=result.patient_id[test],
            doubts=summaries(ecgs[test])
            | {
                SCORE_DISTANCE: selective.threshold_nearness(score, protocol.threshold.value),
                PREDICTIVE_DISTANCE: -np.abs(protocol.consistent.distance[test]),
                PREDICTIVE_DEVIATION: protocol.echo.deviation[test],
            },
            levels={stratum: level[test] for stratum, level in levels.items()},
            choices=protocol.choices,
            probability=None if protocol.probability is None else protocol.probability[test],
        )


ANSWERED_GROUP = "answered"
SENSITIVITY_AT = "sensitivity_at_specificity"
SPECIFICITY_ATTAINED = "specificity_attained"
COVERAGE = "conformal_coverage"
WRONGLY_ANSWERED = "wrongly_answered"
ANSWERED_SHARE = "answered_share"
AURC = "aurc"
EXCESS_AURC = "excess_aurc"


def metric_rows(scores: ProtocolScores, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    """Rows of METRICS: all test ECGs, halves by uncertainty, and the answered ECGs."""
    for group, members in selective.uncertainty_halves(scores.doubts[MEAN_LOG_VAR]).items():
        more = _metrics_of_all(scores, settings.reliability_bins) if group == selective.ALL else {}
        yield from _rows(scores, scores.decision, members, {"group": group}, settings, more)
    yield from _rows(scores, scores.decision, scores.is_answered, {"group": ANSWERED_GROUP}, settings)


def strata_rows(scores: ProtocolScores, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    """Rows of STRATA: metrics of each part of the test ECGs."""
    for stratum, levels in scores.levels.items():
        for level, members in selective.subgroup_masks(levels, scores.patient).items():
            yield from _rows(scores, scores.decision, members, {"stratum": stratum, "level": level}, settings)


def _metrics_of_all(scores: ProtocolScores, bins: int) -> dict[str, bootstrap.Metric]:
    """Metrics that are given for all test ECGs only."""
    rules, label, patients = scores.choices, scores.label, bootstrap.Patients.from_names(scores.patient)
    metrics: dict[str, bootstrap.Metric] = {}
    if rules.at_specificity is not None:
        called = (scores.score >= rules.at_specificity).astype(np.float64)
        metrics[SENSITIVITY_AT] = classification.mean_metric(called, patients, label == 1)
        metrics[SPECIFICITY_ATTAINED] = classification.mean_metric(1 - called, patients, label == 0)
    for method, probability in scores.calibrated().items():
        metrics |= classification.calibration_metrics(label, probability, patients, bins, f"_{method}")
    error = (scores.decision != label).astype(np.float64)
    for name, doubt in scores.doubts.items():
        metrics[f"{AURC}_{name}"], metrics[f"{EXCESS_AURC}_{name}"] = selective.aurc_metrics(error, doubt, patients)
    wrong = (scores.is_answered & (scores.decision != label)).astype(np.float64)
    kept = threshold_and_referral.possible_labels(rules.referral, scores.distance).astype(np.float64)
    for label_value in (0, 1):
        if rules.referral.kind == "conformal":
            metrics[f"{COVERAGE}_{label_value}"] = classification.mean_metric(
                kept[:, label_value], patients, label == label_value
            )
        metrics[f"{WRONGLY_ANSWERED}_{label_value}"] = classification.mean_metric(wrong, patients, label == label_value)
    metrics[ANSWERED_SHARE] = classification.mean_metric(scores.is_answered.astype(np.float64), patients)
    return metrics


def _rows(
    scores: ProtocolScores,
    decision: np.ndarray,
    members: np.ndarray,
    part: Mapping[str, str],
    settings: EvaluationSettings,
    more: Mapping[str, bootstrap.Metric] | None = None,
) -> Iterator[dict[str, Any]]:
    """One row for each metric of the test ECGs that are `members`, (n,) bool; `more` metrics are of the same ECGs."""
    label, patients = scores.label[members], bootstrap.Patients.from_names(scores.patient[members])
    metrics = classification.binary_metrics(
        label, scores.score[members], decision[members], patients, settings.reliability_bins
    )
    metrics |= more or {}
    for metric, estimate in bootstrap.estimate_metrics(
        metrics, patients, settings.bootstrap_draws, settings.seed
    ).items():
        yield {
            **scores.name,
            **part,
            "metric": metric,
            "value": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "patients": patients.count,
            "records": len(label),
            "positives": int(label.sum()),
        }


def site_rows(scores: ProtocolScores, site: str, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    """Rows of SITES: metrics of a site's test ECGs, and the line of its calibrated probabilities."""
    more: dict[str, bootstrap.Metric] = {}
    if scores.probability is not None:
        patients = bootstrap.Patients.from_names(scores.patient)
        more = transfer.calibration_line_metrics(scores.label, scores.probability, patients)
    every = np.ones(len(scores.label), bool)
    yield from _rows(scores, scores.decision, every, {"site": site}, settings, more)


def lead_set_rows(scores: ProtocolScores, name: str, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    """Rows of LEAD_SETS: metrics of all test ECGs cut down to a set of leads."""
    every = np.ones(len(scores.label), bool)
    more = _metrics_of_all(scores, settings.reliability_bins)
    yield from _rows(scores, scores.decision, every, {"leads": name}, settings, more)


def transfer_rows(scores: ProtocolScores, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    """Rows of TRANSFER: prevalence, predictive values, and for a calibrated score its line and decision curve.

    Where the recipe states a prevalence, the probabilities corrected to it have rows of their own. Their line has the
    same slope.
    """
    label, patients = scores.label, bootstrap.Patients.from_names(scores.patient)
    metrics: dict[tuple[str, float | None], bootstrap.Metric] = {
        (transfer.PREVALENCE, None): classification.mean_metric(label.astype(np.float64), patients)
    }
    metrics |= transfer.predictive_value_metrics(label, scores.decision, patients, settings.prevalences)
    if scores.probability is not None:
        lines = transfer.calibration_line_metrics(label, scores.probability, patients)
        metrics |= {(name, None): metric for name, metric in lines.items()}
        metrics |= transfer.net_benefit_metrics(label, scores.probability, patients, settings.echo_thresholds)
        metrics |= _corrected(scores, scores.probability, patients, settings)
    keyed = {f"{name}@{place}": metric for (name, place), metric in metrics.items()}
    estimates = bootstrap.estimate_metrics(keyed, patients, settings.bootstrap_draws, settings.seed)
    sizes = {"patients": patients.count, "records": len(label), "positives": int(label.sum())}
    for (name, place), estimate in zip(metrics, estimates.values(), strict=True):
        yield scores.name | {"metric": name, "at": place} | asdict(estimate) | sizes


def _corrected(
    scores: ProtocolScores, probability: np.ndarray, patients: bootstrap.Patients, settings: EvaluationSettings
) -> dict[tuple[str, float | None], bootstrap.Metric]:
    """Metrics of probabilities corrected to the stated prevalence; none without one, or if validation lacks a class."""
    stated, fitted = settings.target_prevalences.get(scores.endpoint), scores.choices.prevalence
    if stated is None or fitted is None or not 0 < fitted < 1:
        return {}
    corrected = transfer.shifted_probability(probability, fitted, stated)
    lines = transfer.calibration_line_metrics(scores.label, corrected, patients)
    benefits = transfer.net_benefit_metrics(scores.label, corrected, patients, settings.echo_thresholds)
    metrics: dict[tuple[str, float | None], bootstrap.Metric] = {
        (name, stated): lines[name] for name in (transfer.CALIBRATION_INTERCEPT, transfer.OBSERVED_TO_EXPECTED)
    }
    metrics |= {key: metric for key, metric in benefits.items() if key[0] == transfer.NET_BENEFIT}
    return {(name + transfer.CORRECTED, place): metric for (name, place), metric in metrics.items()}


POINTS = 50  # at most, of a risk-coverage curve
RAW = "none"


def reliability_rows(scores: ProtocolScores, bins: int) -> Iterator[dict[str, Any]]:
    """Rows of RELIABILITY: bins of the score as it is, and after each calibrator that could be fitted."""
    for calibration, score in ({RAW: scores.score} | scores.calibrated()).items():
        for reliability_bin in classification.reliability_bins(scores.label, score, bins):
            yield {**scores.name, "calibration": calibration, **asdict(reliability_bin)}


def risk_coverage_rows(scores: ProtocolScores) -> Iterator[dict[str, Any]]:
    """Rows of RISK_COVERAGE: up to POINTS points of each doubt's curve, the last at full coverage."""
    records = len(scores.label)
    if records == 0:
        return
    kept = np.unique(np.ceil(np.arange(1, POINTS + 1) / POINTS * records).astype(int))
    error = (scores.decision != scores.label).astype(np.float64)
    for name, doubt in scores.doubts.items():
        risk = selective.selective_risk(error, doubt)
        for count in kept.tolist():
            yield {
                **scores.name,
                "doubt": name,
                "records": count,
                "coverage": count / records,
                "risk": float(risk[count - 1]),
            }


Row = dict[str, Any]
_MIN_POINTS = 3  # points: fewer span no plane


def cohort_rows(pairs: inputs.EvaluationPairs) -> Iterator[Row]:
    """Rows of COHORT, every split."""
    for side in SPLITS:
        of_side = pairs.split == side
        yield {"split": side, "ecgs": int(of_side.sum()), "patients": len(np.unique(pairs.patient_id[of_side]))}


def asked_rows(results: Sequence[EndpointResult | RegressionResult]) -> Iterator[Row]:
    """Rows of ASKED, in the recipe's order."""
    for result in results:
        measured = result.measured if isinstance(result, EndpointResult) else result.measured_ecgs
        yield _of(result) | {"ecgs": len(measured.value)} | measured.counts()


def labelled_rows(results: Sequence[EndpointResult | RegressionResult]) -> Iterator[Row]:
    """Rows of LABELLED, every split."""
    for result in results:
        for side in SPLITS:
            of_side = result.split == side
            positives = int(result.label[of_side].sum()) if isinstance(result, EndpointResult) else None
            yield _of(result) | {"split": side, "records": int(of_side.sum()), "positives": positives}


def attempt_rows(results: Sequence[EndpointResult | RegressionResult]) -> Iterator[Row]:
    """Rows of ATTEMPTS: the protocols that ran, then those that did not."""
    for result in results:
        if isinstance(result, EndpointResult):
            ran: dict[str, str | None] = {protocol.protocol: protocol.threshold.origin for protocol in result.protocols}
        else:
            ran = dict.fromkeys(result.predicted)
        for protocol, origin in ran.items():
            yield _of(result) | {"protocol": protocol, "threshold_says": origin, "left_out": None}
        for protocol, reason in result.skipped.items():
            yield _of(result) | {"protocol": protocol, "threshold_says": None, "left_out": reason}


def _of(result: EndpointResult | RegressionResult) -> Row:
    kind = QUESTION if isinstance(result, EndpointResult) else NUMBER
    return {"kind": kind, "endpoint": result.endpoint.name}


def map_rows(pairs: inputs.EvaluationPairs, ecgs: embed.GaussianTable, target_mean: np.ndarray) -> Iterator[Row]:
    """Rows of EMBEDDING_MAP: test ECGs and their studies on the plane of their first two principal components.

    Args:
        pairs: r ECGs and s studies.
        ecgs: r embeddings by the student.
        target_mean: (study, D) float32, of all studies.
    """
    from sklearn.decomposition import PCA

    tested = pairs.split == "test"
    study = np.unique(pairs.study[tested[pairs.record]])
    points = np.concatenate([ecgs.mean[tested], target_mean[pairs.target_row[study]]]).astype(np.float64)
    if len(points) < _MIN_POINTS or points.shape[1] < 2:
        return
    modality = ["ecg"] * int(tested.sum()) + ["echo"] * len(study)
    names = [*pairs.record_id[tested].tolist(), *pairs.study_id[study].tolist()]
    plane = PCA(2, svd_solver="covariance_eigh").fit_transform(points)
    for kind, name, (x, y) in zip(modality, names, plane.tolist(), strict=True):
        yield {"modality": kind, "name": name, "x": x, "y": y}
