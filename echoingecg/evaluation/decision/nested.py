"""Nested questions, such as LVEF < 30, < 40 and < 50 %: their answers must not contradict each other.

Who meets the stricter question meets the wider one, too. Values of each ECG are projected onto that order by isotonic
regression (Barlow et al., Statistical Inference under Order Restrictions, 1972), jointly over the questions of a chain.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from echoingecg.recipe import Endpoint
from echoingecg.recipe.evaluation import ThresholdBySex


def chains(endpoints: Sequence[Endpoint]) -> list[list[str]]:
    """Names of the nested questions, the strictest first; questions that are alone are left out.

    Questions are nested if they ask for the same measurement, unit, valid range and direction (so that the same ECGs
    have a label), and their thresholds are in the same order for both sexes.
    """
    groups: dict[tuple[tuple[str, ...], str, tuple[float, float], bool, str], list[Endpoint]] = {}
    for endpoint in endpoints:
        if endpoint.positive_words or endpoint.negative_words:
            continue
        by_sex = isinstance(endpoint.threshold, ThresholdBySex)
        key = (endpoint.measurements, endpoint.unit, endpoint.valid_range, by_sex, endpoint.comparison[0])
        groups.setdefault(key, []).append(endpoint)
    nested = []
    for group, members in groups.items():
        direction = group[-1]
        ordered = sorted(members, key=_strictness, reverse=direction == ">")
        if len(ordered) > 1 and _is_chain([_thresholds(endpoint) for endpoint in ordered], direction == ">"):
            nested.append([endpoint.name for endpoint in ordered])
    return nested


def _strictness(endpoint: Endpoint) -> tuple[float, float, int]:
    """Sorts the strictest first for <; for > in the reverse order."""
    inclusive = len(endpoint.comparison) - 1
    return (*_thresholds(endpoint), -inclusive if endpoint.comparison[0] == ">" else inclusive)


def _thresholds(endpoint: Endpoint) -> tuple[float, float]:
    limit = endpoint.threshold
    return (limit.F, limit.M) if isinstance(limit, ThresholdBySex) else (limit, limit)


def _is_chain(thresholds: Sequence[tuple[float, float]], falls: bool) -> bool:
    steps = np.diff(np.array(thresholds), axis=0)
    return bool((steps <= 0).all() if falls else (steps >= 0).all())


def project(values: np.ndarray) -> np.ndarray:
    """The nearest values, in squares, that rise from question to question: (n, question) to the same shape.

    Isotonic regression by the max-min formula; it keeps the order of two rows that are ordered in every column, and
    rows that rise to the last bit.
    """
    count = values.shape[1]
    sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    fitted = np.full(values.shape, -np.inf)
    for column in range(count):
        for first in range(column + 1):
            means = [(sums[:, last + 1] - sums[:, first]) / (last + 1 - first) for last in range(column, count)]
            np.maximum(fitted[:, column], np.min(means, axis=0), out=fitted[:, column])
    rises = (np.diff(values, axis=1) >= 0).all(axis=1, keepdims=True)
    # A mean of two 1.0 can come out as 1.0000000000000002.
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    return np.where(rises, values, np.clip(fitted, low, high))


def project_by_name(values: Mapping[str, np.ndarray], nested: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """Values of n ECGs by question, (n,) each, projected within each chain; absent questions of a chain are skipped."""
    projected = dict(values)
    for chain in nested:
        present = [name for name in chain if name in values]
        if len(present) > 1:
            columns = project(np.stack([values[name] for name in present], axis=1))
            projected |= dict(zip(present, columns.T, strict=True))
    return projected


class ConsistentDistance(NamedTuple):
    """Distances of n ECGs to the threshold of one question, whose decisions contradict no nested question.

    Attributes:
        distance: (n,) float64.
        is_kept: (n,) bool, whether the ECG's own decision was kept, beyond doubt.
        rounding: (n,) float64, by how much `distance` may differ between two computations.
    """

    distance: np.ndarray
    is_kept: np.ndarray
    rounding: np.ndarray


def consistent_distances(
    distances: Mapping[str, np.ndarray], rounding: Mapping[str, np.ndarray], nested: Sequence[Sequence[str]]
) -> dict[str, ConsistentDistance]:
    """Distances to the thresholds whose decisions do not contradict.

    A projection changes by no more than the largest change of its values, so its rounding is the chain's largest. An
    own decision that was projected, and is within rounding of the threshold, does not count as kept: in another
    computation it could be the other one.

    Args:
        distances: (n,) by question, not negative for label 1; questions of a chain have the same ECGs.
        rounding: (n,) by question, by how much the distances may differ between two computations.
        nested: of `chains`.
    """
    projected, largest = project_by_name(distances, nested), dict(rounding)
    for chain in nested:
        present = [name for name in chain if name in rounding]
        if len(present) > 1:
            largest |= dict.fromkeys(present, np.max([rounding[name] for name in present], axis=0))
    consistent = {}
    for name, own in distances.items():
        same = (projected[name] >= 0) == (own >= 0)
        is_sure = (projected[name] == own) | (np.abs(own) > rounding[name])
        consistent[name] = ConsistentDistance(projected[name], same & is_sure, largest[name])
    return consistent
