"""Numbers of the echo: one number by every protocol, ranked prompts and ridge regression, with its metrics."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from echoingecg.common.prompt_ranking import best_median, values_by_rank
from echoingecg.evaluation.data import names
from echoingecg.evaluation.data.inputs import EvaluationInputs, EvaluationPairs
from echoingecg.evaluation.data.models import Models, Space
from echoingecg.evaluation.metrics import bootstrap, classification
from echoingecg.evaluation.protocols.labels import MeasuredValues, ecg_values
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
    low, high = endpoint.prompt_range
    numbers = np.arange(low, high + endpoint.prompt_step / 2, endpoint.prompt_step)
    filled = [
        (prompt.replace(NUMBER_PLACEHOLDER, f"{number:g}"), number)
        for prompt, number in product(endpoint.prompts, numbers)
    ]
    sentences, values = zip(*filled, strict=True)
    return best_median(values_by_rank(space.ecgs.mean[record], space.encode_text(sentences).mean, np.array(values)))


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


@dataclass(frozen=True)
class RegressionResult:
    """One number: the n ECGs that have it.

    Attributes:
        endpoint: the number.
        measured_ecgs: values of all ECGs, and why the others have none.
        record_id, patient_id, split: (n,) str.
        measured: (n,) float64.
        uncertainty: (n,) float64, mean over dimensions of the ECG's log-variance.
        predicted: (n,) float64 for each protocol that ran.
        metrics: on the test split, for each protocol that ran, by name; none without test ECGs.
        skipped: reason for each protocol that did not run.
    """

    endpoint: RegressionEndpoint
    measured_ecgs: MeasuredValues
    record_id: np.ndarray
    patient_id: np.ndarray
    split: np.ndarray
    measured: np.ndarray
    uncertainty: np.ndarray
    predicted: dict[str, np.ndarray]
    metrics: dict[str, dict[str, bootstrap.Estimate]]
    skipped: dict[str, str]


def evaluate_regression(
    endpoint: RegressionEndpoint,
    inputs: EvaluationInputs,
    pairs: EvaluationPairs,
    models: Models,
    settings: EvaluationSettings,
) -> RegressionResult:
    """Predicts a number by every protocol and measures the errors on the test split.

    Arguments as in `classification.evaluate_endpoint`.
    """
    measured_ecgs = ecg_values(endpoint, inputs.labels, pairs.record_id)
    record = np.flatnonzero(measured_ecgs.known)
    measured, split, patient = measured_ecgs.value[record], pairs.split[record], pairs.patient_id[record]
    attempts = dict(_attempts(endpoint, models, settings, record, measured, split))
    predicted = {protocol: values for protocol, values in attempts.items() if not isinstance(values, names.Skipped)}
    test = split == "test"
    patients = bootstrap.Patients.from_names(patient[test])
    metrics = {
        protocol: bootstrap.estimate_metrics(
            classification.regression_metrics(measured[test], values[test], patients),
            patients,
            settings.bootstrap_draws,
            settings.seed,
        )
        for protocol, values in predicted.items()
        if test.any()
    }
    return RegressionResult(
        endpoint=endpoint,
        measured_ecgs=measured_ecgs,
        record_id=pairs.record_id[record],
        patient_id=patient,
        split=split,
        measured=measured,
        uncertainty=models.ecgs.uncertainty[record],
        predicted=predicted,
        metrics=metrics,
        skipped={protocol: values.reason for protocol, values in attempts.items() if isinstance(values, names.Skipped)},
    )


def _attempts(
    endpoint: RegressionEndpoint, models: Models, settings: EvaluationSettings, record: np.ndarray,
    measured: np.ndarray, split: np.ndarray,
) -> Iterator[tuple[str, np.ndarray | names.Skipped]]:  # fmt: skip
    """Predictions by protocol, in the order of the tables; the training mean is the baseline to beat."""
    for protocol, space in models.prompted(names.RANKED):
        yield protocol, space if isinstance(space, names.Skipped) else ranked_values(space, endpoint, record)
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


def regression_metric_rows(result: RegressionResult) -> Iterator[dict[str, Any]]:
    """Rows of evaluation.REGRESSION_METRICS."""
    patients = result.patient_id[result.split == "test"]
    sizes = {"patients": len(np.unique(patients)), "records": len(patients)}
    for protocol, metrics in result.metrics.items():
        for metric, estimate in metrics.items():
            yield {
                "endpoint": result.endpoint.name,
                "protocol": protocol,
                "metric": metric,
                **asdict(estimate),
                **sizes,
            }
