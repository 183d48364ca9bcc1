"""Prediction sets with a guarantee, and when to refer to echo.

Split conformal prediction, class by class (Mondrian): Vovk, Gammerman and Shafer, Algorithmic Learning in a Random
World, 2005, section 4.5; Vovk, ACML 2012; in plain words Angelopoulos and Bates, arXiv 2107.07511, section 4.1.
"""

from dataclasses import dataclass
from math import ceil, inf

import numpy as np


@dataclass(frozen=True)
class ConformalLimits:
    """Which labels a score leaves possible.

    A score that leaves one label possible is answered with it; one that leaves both or neither is referred to echo.

    Attributes:
        one_from: label 1 is possible from this score on; -inf when validation holds too few of label 1.
        zero_to: label 0 is possible up to this score; inf when validation holds too few of label 0.
    """

    one_from: float
    zero_to: float

    def possible(self, score: np.ndarray) -> np.ndarray:
        """(n,) scores -> (n, 2) bool: label 0, label 1."""
        return np.stack([score <= self.zero_to, score >= self.one_from], axis=1)

    def answered(self, score: np.ndarray) -> np.ndarray:
        """(n,) bool: exactly one label is possible."""
        return np.asarray(self.possible(score).sum(axis=1) == 1)


def conformal_limits(label: np.ndarray, score: np.ndarray, miscoverage: float) -> ConformalLimits:
    """Limits such that a new record's label is possible with probability at least 1 - miscoverage, in each class.

    The k-th most extreme score of a class is its limit, k = ceil((n + 1)(1 - miscoverage)) of its n records; with
    k > n every score must stay possible. The guarantee is over records exchangeable with these, within a class: it
    is marginal over patients, not for each one, and loosens where a patient has many records.

    Args:
        label: (n,) 0 or 1, of the validation records.
        score: (n,) of the same.
        miscoverage: in (0, 1).
    """
    return ConformalLimits(
        one_from=-_limit(-score[label == 1], miscoverage), zero_to=_limit(score[label == 0], miscoverage)
    )


def _limit(strangeness: np.ndarray, miscoverage: float) -> float:
    # Rounded, so that (9 + 1) * 0.9 is 9 and not a little more.
    rank = ceil(round((len(strangeness) + 1) * (1 - miscoverage), 9))
    return float(np.sort(strangeness)[rank - 1]) if rank <= len(strangeness) else inf
