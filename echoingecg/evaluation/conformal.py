"""Limits of a score with a guarantee: which labels stay possible.

Split conformal prediction, class by class (Mondrian): Vovk, Gammerman and Shafer, Algorithmic Learning in a Random
World, 2005, section 4.5; Vovk, ACML 2012; in plain words Angelopoulos and Bates, arXiv 2107.07511, section 4.1.
"""

from math import ceil, inf
from typing import NamedTuple

import numpy as np


class Limits(NamedTuple):
    """Label 1 is possible from the score `one_from` on, label 0 up to `zero_to`; -inf and inf for always."""

    one_from: float
    zero_to: float


def conformal_limits(label: np.ndarray, score: np.ndarray, miscoverage: float) -> Limits:
    """Limits such that a new record's label is possible with probability at least 1 - miscoverage, in each class.

    The k-th most extreme score of a class is its limit, k = ceil((n + 1)(1 - miscoverage)) of its n records; with
    k > n every score must stay possible. The guarantee is over records exchangeable with these, within a class: it
    is marginal over patients, not for each one, and loosens where a patient has many records.

    Args:
        label: (n,) 0 or 1, of the validation records.
        score: (n,) of the same.
        miscoverage: in (0, 1).
    """
    return Limits(one_from=-_limit(-score[label == 1], miscoverage), zero_to=_limit(score[label == 0], miscoverage))


def _limit(strangeness: np.ndarray, miscoverage: float) -> float:
    # Rounded, so that (9 + 1) * 0.9 is 9 and not a little more.
    rank = ceil(round((len(strangeness) + 1) * (1 - miscoverage), 9))
    return float(np.sort(strangeness)[rank - 1]) if rank <= len(strangeness) else inf
