"""Is one student better than another on the same patients?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from echoingecg.evaluation.metrics.bootstrap import Metric, Patients, estimates, percentiles, resampled


@dataclass(frozen=True)
class Difference:
    """First less second, with its 95 % interval and two-sided p; None as in `bootstrap.Estimate`."""

    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None


def paired_differences(
    first: Mapping[str, Metric], second: Mapping[str, Metric], patients: Patients, draws: int, seed: int
) -> dict[str, Difference]:
    """Differences of two students' metrics, both on the same resamples of the same patients.

    p is the share of resampled differences on the far side of 0, twice (Efron and Tibshirani 1993, chapter 15, by
    inverting the percentile interval), with one added above and below so that it is never 0.

    Args:
        first, second: metrics by name, of the same records in the same order; names of both are compared.
        patients: of the records.
        draws, seed: as in `bootstrap.estimates`.
    """
    names = [name for name in first if name in second]
    ours, theirs = ({name: of[name] for name in names} for of in (first, second))
    values = [{name: one.value for name, one in estimates(of, patients, 0, seed).items()} for of in (ours, theirs)]
    drawn = [resampled(of, patients, draws, seed) for of in (ours, theirs)]
    found = {}
    for name in names:
        a, b = (of[name] for of in values)
        fewest = min(patients.among(one) for one in first[name].needs + second[name].needs)
        spread = drawn[0][name] - drawn[1][name] if fewest > 1 else np.empty(0)
        difference = None if a is None or b is None else a - b
        found[name] = Difference(a, b, difference, *percentiles(spread), _two_sided(spread))
    return found


def _two_sided(differences: np.ndarray) -> float | None:
    known = differences[~np.isnan(differences)]
    if len(known) == 0:
        return None
    tail = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(known) + 1))
