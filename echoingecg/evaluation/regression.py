"""Numbers off an ECG: by ranked prompts, and by ridge regression on the mean embedding."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from echoingecg.evaluation.skipped import Skipped
from echoingecg.evaluation.spaces import Space
from echoingecg.ranking import best_median, values_by_rank
from echoingecg.recipe import RegressionEndpoint
from echoingecg.recipe.evaluation import NUMBER


@dataclass(frozen=True)
class RegressionMetric:
    """A metric with its 95 % interval over patients; None where it is not defined."""

    metric: str
    value: float | None
    low: float | None
    high: float | None


def ranked_values(space: Space, endpoint: RegressionEndpoint, record: np.ndarray) -> np.ndarray:
    """The number whose prompts fit each ECG's mean best: no label is read.

    ECHO-CLIP ranks the prompts for each frame of an echo and averages; an ECG has one mean to rank by.

    Args:
        space: ECGs among sentences.
        endpoint: its prompts, each with every number put in, are ranked together.
        record: (n,) int64 into the ECGs.

    Returns:
        (n,) float64, in the endpoint's unit.
    """
    low, high = endpoint.prompt_range
    numbers = np.arange(low, high + endpoint.prompt_step / 2, endpoint.prompt_step)
    filled = [(prompt.replace(NUMBER, f"{one:g}"), one) for prompt, one in product(endpoint.prompts, numbers)]
    sentences, values = zip(*filled, strict=True)
    return best_median(values_by_rank(space.ecgs.mean[record], space.words(sentences).mean, np.array(values)))


def ridge_values(
    features: np.ndarray, value: np.ndarray, split: np.ndarray, strengths: Iterable[float]
) -> np.ndarray | Skipped:
    """Ridge regression fitted on the training ECGs; of the strengths the one of least validation error (MAE).

    Args:
        features: (n, D), standardised with the training ECGs' mean and scale.
        value: (n,) measured; those of test ECGs are not read.
        split: (n,) str.
        strengths: of the L2 penalty; of equals the first, which is also taken without validation ECGs.

    Returns:
        (n,) float64, or Skipped with fewer than two training ECGs.
    """
    training, validation = split == "train", split == "validation"
    if training.sum() < 2:
        return Skipped("there are fewer than two measured training ECGs")
    features = features.astype(np.float64)

    def fitted(strength: float) -> np.ndarray:
        model = make_pipeline(StandardScaler(), Ridge(strength)).fit(features[training], value[training])
        return np.asarray(model.predict(features))

    tried = [fitted(strength) for strength in strengths]
    if not validation.any():
        return tried[0]
    return min(tried, key=lambda one: float(np.abs(one - value)[validation].mean()))


def regression_metrics(
    measured: np.ndarray, predicted: np.ndarray, patient: np.ndarray, draws: int, seed: int
) -> list[RegressionMetric]:
    """Mean absolute error and Pearson's correlation, with percentile intervals over resampled patients.

    Both come from sums over ECGs, so a resample is a weighted sum of the patients' sums.

    Args:
        measured, predicted: (n,) in one unit.
        patient: (n,) str, n > 0; a patient's ECGs are drawn together.
        draws: patient resamples.
        seed: of the resamples.
    """
    names, owner = np.unique(patient, return_inverse=True)
    x, y = measured - measured.mean(), predicted - predicted.mean()  # small squares keep their digits
    terms = np.column_stack([np.ones_like(x), np.abs(measured - predicted), x, y, x * x, y * y, x * y])
    sums = np.zeros((len(names), terms.shape[1]))
    np.add.at(sums, owner, terms)
    draws = draws if len(names) > 1 else 0
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), draws)
    values, resampled = _from_sums(sums.sum(axis=0, keepdims=True)), _from_sums(drawn @ sums)
    return [RegressionMetric(name, *_finite(values[name]), *_interval(resampled[name])) for name in values]


def _from_sums(sums: np.ndarray) -> dict[str, np.ndarray]:
    """(k, 7) sums to both metrics, (k,); NaN where they are not defined."""
    count, error, x, y, xx, yy, xy = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.maximum(xx - x * x / count, 0) * np.maximum(yy - y * y / count, 0))
        return {"mae": error / count, "pearson": np.where(spread > 1e-9 * count, (xy - x * y / count) / spread, np.nan)}


def _finite(values: np.ndarray) -> list[float | None]:
    return [float(one) if np.isfinite(one) else None for one in values]


def _interval(drawn: np.ndarray) -> list[float | None]:
    drawn = drawn[np.isfinite(drawn)]
    return _finite(np.percentile(drawn, [2.5, 97.5])) if len(drawn) else [None, None]
