"""Numbers off an ECG: by ranked prompts, and by ridge regression on the mean embedding."""

from collections.abc import Iterable
from itertools import product

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from echoingecg.common.prompt_ranking import best_median, values_by_rank
from echoingecg.evaluation.data.models import Space
from echoingecg.evaluation.skipped import Skipped
from echoingecg.recipe import RegressionEndpoint
from echoingecg.recipe.evaluation import NUMBER


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
