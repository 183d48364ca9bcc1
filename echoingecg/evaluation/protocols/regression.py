"""Numbers of the echo: one number by every protocol, ranked prompts, ridge regression, and an interval; its metrics."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_contracts.prediction import NumberReading
from echoingecg.common.prompt_ranking import best_median, values_by_rank
from echoingecg.evaluation.data import names
from echoingecg.evaluation.data.inputs import EvaluationInputs, EvaluationPairs
from echoingecg.evaluation.data.models import Models, Space
from echoingecg.evaluation.decision.numbers import LoadedNumber, widest_deviation
from echoingecg.evaluation.decision.reading_card import LoadedReadingCard
from echoingecg.evaluation.metrics import bootstrap, classification
from echoingecg.evaluation.protocols.labels import MeasuredValues, ecg_values
from echoingecg.evaluation.protocols.trust import CohortTrust
from echoingecg.recipe import EvaluationSettings, RegressionEndpoint
from echoingecg.recipe.evaluation import NUMBER_PLACEHOLDER


def ranked_values(space: Space, endpoint: RegressionEndpoint, record: np.ndarray) -> np.ndarray:
    """Predicts the number whose prompts are nearest to each ECG's mean; no label is read.

    ECHO-CLIP ranks the prompts for each frame of an echo and averages; an ECG has a single mean to rank by.

    Args:
        space: ECGs among sentences.
        endpoint: its prompts, each filled with every number, are ranked together.
        record: (n,) int64 into the ECGs.

    Returns:
        (n,) float64, in the endpoint's unit.
    """
    sentences, values = number_sentences(endpoint)
    return best_median(values_by_rank(space.ecgs.mean[record], space.encode_text(sentences).mean, values))


def number_sentences(endpoint: RegressionEndpoint) -> tuple[list[str], np.ndarray]:
    """Fills each prompt of a number with every value of its range: the sentences, and the value in each, float64."""
    low, high = endpoint.prompt_range
    numbers = np.arange(low, high + endpoint.prompt_step / 2, endpoint.prompt_step)
    filled = [(prompt, number) for prompt, number in product(endpoint.prompts, numbers)]
    sentences = [prompt.replace(NUMBER_PLACEHOLDER, f"{number:g}") for prompt, number in filled]
    return sentences, np.array([number for _, number in filled])


def ridge_values(
    features: np.ndarray, value: np.ndarray, split: np.ndarray, strengths: Iterable[float]
) -> np.ndarray | names.Skipped:
    """Predicts by ridge regression on the training ECGs, with the strength of least validation error (MAE).

    Args:
        features: (n, D), standardised with the training ECGs' mean and scale.
        value: (n,) measured; those of test ECGs are not read.
        split: (n,) str.
        strengths: of the L2 penalty; the first at equal errors, and without validation ECGs.

    Returns:
        (n,) float64, or names.Skipped with fewer than two training ECGs.
    """
    training, validation = split == "train", split == "validation"
    if training.sum() < 2:
        return names.Skipped("there are fewer than two measured training ECGs")
    features = features.astype(np.float64)

    def fitted(strength: float) -> np.ndarray:
        model = make_pipeline(StandardScaler(), Ridge(strength)).fit(features[training], value[training])
        return np.asarray(model.predict(features))

    tried = [fitted(strength) for strength in strengths]
    if not validation.any():
        return tried[0]
    return min(tried, key=lambda predicted: float(np.abs(predicted - value)[validation].mean()))


def fit_number(
    endpoint: RegressionEndpoint, trust: CohortTrust, record: np.ndarray, measured: np.ndarray
) -> LoadedNumber | names.Skipped:
    """The number with its predictive distribution, fitted on training ECGs, with intervals that hold on validation.

    Args:
        endpoint: the number.
        trust: in all paired ECGs.
        record: (n,) int64 into them, of the ECGs with a measurement.
        measured: (n,) of these; those of test ECGs are not read.
    """
    of_ecgs = np.full(len(trust.split), np.nan)
    of_ecgs[record] = measured
    predictive = trust.predictive_of_number(of_ecgs)
    if isinstance(predictive, names.Skipped):
        return predictive
    training, validation = (of_ecgs[np.isfinite(of_ecgs) & (trust.split == side)] for side in ("train", "validation"))
    widest = widest_deviation(training, validation)
    if widest == 0:
        return names.Skipped("the validation ECGs are all measured alike")
    reading = NumberReading(
        number=endpoint.name,
        unit=endpoint.unit,
        valid_range=endpoint.valid_range,
        predictive=predictive.scalars,
        widest=widest,
        says=f"fitted on {len(training)} training ECGs, 90 % intervals that hold on {len(validation)} validation ECGs",
    )
    return LoadedNumber(reading, predictive)


@dataclass(frozen=True)
class RegressionResult:
    """One number: the n ECGs that have it.

    Attributes:
        endpoint: the number.
        measured_ecgs: values of all ECGs, and why the others have none.
        record: (n,) int64 into the paired ECGs.
        record_id, patient_id, split: (n,) str.
        measured: (n,) float64.
        uncertainty: (n,) float64, mean over dimensions of the ECG's log-variance.
        predicted: (n,) float64 for each protocol that ran.
        skipped: reason for each protocol that did not run.
        number: of the reading card; None where it has no distribution.
        answers: what prediction says of the n ECGs, columns of data_contracts.prediction.NUMBERS; empty without number.
    """

    endpoint: RegressionEndpoint
    measured_ecgs: MeasuredValues
    record: np.ndarray
    record_id: np.ndarray
    patient_id: np.ndarray
    split: np.ndarray
    measured: np.ndarray
    uncertainty: np.ndarray
    predicted: dict[str, np.ndarray]
    skipped: dict[str, str]
    number: LoadedNumber | None
    answers: Mapping[str, np.ndarray]


def evaluate_regression(
    endpoint: RegressionEndpoint,
    inputs: EvaluationInputs,
    pairs: EvaluationPairs,
    models: Models,
    trust: CohortTrust,
    settings: EvaluationSettings,
    card: LoadedReadingCard | None = None,
) -> RegressionResult:
    """Predicts a number by every protocol. Arguments as in `classification.score_endpoint`."""
    measured_ecgs = ecg_values(endpoint, inputs.labels, pairs.record_id)
    record = np.flatnonzero(measured_ecgs.known)
    measured, split = measured_ecgs.value[record], pairs.split[record]
    number = fit_number(endpoint, trust, record, measured) if card is None else _of_card(card, endpoint)
    attempts = dict(_attempts(endpoint, models, trust, settings, record, measured, split, number))
    return RegressionResult(
        endpoint=endpoint,
        measured_ecgs=measured_ecgs,
        record=record,
        record_id=pairs.record_id[record],
        patient_id=pairs.patient_id[record],
        split=split,
        measured=measured,
        uncertainty=models.ecgs.uncertainty[record],
        predicted={protocol: values for protocol, values in attempts.items() if not isinstance(values, names.Skipped)},
        skipped={protocol: values.reason for protocol, values in attempts.items() if isinstance(values, names.Skipped)},
        number=None if isinstance(number, names.Skipped) else number,
        answers={},
    )


def _of_card(card: LoadedReadingCard, endpoint: RegressionEndpoint) -> LoadedNumber | names.Skipped:
    numbers = [number for number in card.numbers if number.reading.number == endpoint.name]
    return numbers[0] if numbers else names.Skipped("the reading card has no number of this name")


def with_answers(result: RegressionResult, answers: Sequence[Mapping[str, Any]]) -> RegressionResult:
    """The result with what the reading card says of the same ECGs.

    Args:
        result: of one number.
        answers: `answers.Answers.numbers` of all paired ECGs.
    """
    for columns in answers:
        if len(result.record) and columns["number"][0] == result.endpoint.name:
            own = {name: np.asarray(columns[name])[result.record] for name in ("low", "high", "deviation", "advice")}
            return replace(result, answers=own)
    return result


def _attempts(
    endpoint: RegressionEndpoint, models: Models, trust: CohortTrust, settings: EvaluationSettings, record: np.ndarray,
    measured: np.ndarray, split: np.ndarray, number: LoadedNumber | names.Skipped,
) -> Iterator[tuple[str, np.ndarray | names.Skipped]]:  # fmt: skip
    """Predictions by protocol, in the order of the tables; the training mean is the baseline to beat."""
    for protocol, space in models.prompted(names.RANKED):
        yield protocol, space if isinstance(space, names.Skipped) else ranked_values(space, endpoint, record)
    if isinstance(number, names.Skipped):
        yield names.EXPECTED_NUMBER, number
    else:
        value, _, _ = number.within_range(trust.expected_number(number.predictive)[record])
        yield names.EXPECTED_NUMBER, value
    for model, features in models.features.items():
        yield names.at_model(names.RIDGE, model), ridge_values(features[record], measured, split, settings.ridge)
    yield names.ECG_MEASUREMENTS, ridge_values(models.measurements[record], measured, split, settings.ridge)
    training = measured[split == "train"]
    if len(training):
        yield names.TRAINING_MEAN, np.full(len(measured), training.mean())


def regression_columns(result: RegressionResult, protocol: str) -> dict[str, Any]:
    """Columns of evaluation.REGRESSIONS."""
    count = len(result.measured)
    return {
        "endpoint": [result.endpoint.name] * count,
        "protocol": [protocol] * count,
        "record_id": result.record_id,
        "patient_id": result.patient_id,
        "split": result.split,
        "measured": result.measured,
        "predicted": result.predicted[protocol],
        "uncertainty": result.uncertainty,
    }


def interval_columns(result: RegressionResult) -> dict[str, Any]:
    """Columns of evaluation.INTERVALS, of a result with answers."""
    count = len(result.measured)
    return {
        "endpoint": [result.endpoint.name] * count,
        "record_id": result.record_id,
        "split": result.split,
        **result.answers,
    }


def regression_metric_rows(result: RegressionResult, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    """Rows of evaluation.REGRESSION_METRICS, on the test split; none without test ECGs."""
    test = result.split == "test"
    if not test.any():
        return
    patients = bootstrap.Patients.from_names(result.patient_id[test])
    sizes = {"patients": patients.count, "records": int(test.sum())}
    measured = result.measured[test]
    for protocol, values in result.predicted.items():
        metrics = classification.regression_metrics(measured, values[test], patients)
        if protocol == names.EXPECTED_NUMBER and result.answers:
            answers = {name: column[test] for name, column in result.answers.items()}
            metrics |= interval_metrics(measured, values[test], answers, patients)
        estimates = bootstrap.estimate_metrics(metrics, patients, settings.bootstrap_draws, settings.seed)
        for metric, estimate in estimates.items():
            yield {
                "endpoint": result.endpoint.name,
                "protocol": protocol,
                "metric": metric,
                **asdict(estimate),
                **sizes,
            }


COVERAGE = "coverage"
COVERAGE_LOW, COVERAGE_HIGH = "coverage_low_deviation", "coverage_high_deviation"
WIDTH = "interval_width"
ANSWERED_SHARE, ANSWERED_MAE, ANSWERED_COVERAGE = "answered_share", "answered_mae", "answered_coverage"


def interval_metrics(
    measured: np.ndarray, predicted: np.ndarray, answers: Mapping[str, np.ndarray], patients: bootstrap.Patients
) -> dict[str, bootstrap.Metric]:
    """What the intervals of n ECGs hold, and the errors of the numbers that are not referred.

    Args:
        measured, predicted: (n,) in the measurement's unit.
        answers: (n,) each: low, high, deviation, advice.
        patients: of the n ECGs.
    """
    holds = ((measured >= answers["low"]) & (measured <= answers["high"])).astype(np.float64)
    is_answered, error = answers["advice"] == "predict", np.abs(predicted - measured)
    is_sure = answers["deviation"] <= np.median(answers["deviation"])
    mean = classification.mean_metric
    return {
        COVERAGE: mean(holds, patients),
        COVERAGE_LOW: mean(holds, patients, is_sure),
        COVERAGE_HIGH: mean(holds, patients, ~is_sure),
        WIDTH: mean(answers["high"] - answers["low"], patients),
        ANSWERED_SHARE: mean(is_answered.astype(np.float64), patients),
        ANSWERED_MAE: mean(error, patients, is_answered),
        ANSWERED_COVERAGE: mean(holds, patients, is_answered),
    }
