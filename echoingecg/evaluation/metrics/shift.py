"""How far two groups of patients lie apart: training and test split, or the training export and a later one.

Shape legend: n, m = records of the two groups, D = embedding width.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from echoingecg.evaluation.metrics import bootstrap, selective
from echoingecg.evaluation.metrics.classification import mean_metric

MAX_ECGS_PER_SIDE = 1000  # in the kernel matrix: 32 MB for both sides
PERMUTATIONS = 500


@dataclass(frozen=True)
class EmbeddingShift:
    """Squared maximum mean discrepancy, and the share of permutations that reach it."""

    mmd2: float
    p: float


def embedding_shift(reference: np.ndarray, compared: np.ndarray, seed: int) -> EmbeddingShift | None:
    """Tests whether two groups of embeddings have one distribution (Gretton et al., JMLR 2012, eq. 3, unbiased).

    Gaussian kernel with the median distance as width; p by permuting the rows, so give one row for each patient. At
    most MAX_ECGS_PER_SIDE rows of a group are drawn.

    Args:
        reference: (n, D).
        compared: (m, D).
        seed: of the draw and the permutations.

    Returns:
        None where a group has fewer than two rows.
    """
    if min(len(reference), len(compared)) < 2:
        return None
    generator = np.random.default_rng(seed)
    groups = [
        group[np.sort(generator.permutation(len(group))[:MAX_ECGS_PER_SIDE])].astype(np.float64)
        for group in (reference, compared)
    ]
    squared = cdist(np.concatenate(groups), np.concatenate(groups), "sqeuclidean")
    width = float(np.median(squared[np.triu_indices(len(squared), 1)]))
    kernel = np.exp(-squared / width) if width > 0 else np.ones_like(squared)
    np.fill_diagonal(kernel, 0.0)
    own = np.arange(len(kernel)) < len(groups[0])
    members = np.stack([own, *(generator.permutation(own) for _ in range(PERMUTATIONS))]).astype(np.float64)
    distances = _mmd2(kernel, members)
    return EmbeddingShift(
        float(distances[0]), float((distances[1:] >= distances[0] - 1e-12).sum() + 1) / (PERMUTATIONS + 1)
    )


def _mmd2(kernel: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Squared discrepancy for every row of `members`, 1 in the first group, 0 in the second; zero kernel diagonal."""
    ours = members @ kernel
    within = (ours * members).sum(axis=1)
    across = ours.sum(axis=1) - within
    beyond = kernel.sum() - within - 2 * across
    n = members[0].sum()
    m = members.shape[1] - n
    return np.asarray(within / (n * (n - 1)) + beyond / (m * (m - 1)) - 2 * across / (n * m))


def share_shift(
    reference: np.ndarray,
    of_reference: bootstrap.Patients,
    compared: np.ndarray,
    of_compared: bootstrap.Patients,
    draws: int,
    seed: int,
) -> bootstrap.Estimate:
    """Share of true records in the compared group minus that in the reference, with an interval over all patients.

    Args:
        reference, compared: (n,) and (m,) bool, at least one each.
        of_reference, of_compared: their patients.
        draws, seed: as in `bootstrap.estimate_metrics`.
    """
    difference = float(compared.mean() - reference.mean())
    if min(of_reference.count, of_compared.count) < 2:
        return bootstrap.Estimate(difference, None, None)
    drawn = [
        bootstrap.resample_metrics(
            {"share": mean_metric(values.astype(np.float64), patients)}, patients, draws, seed + index
        )["share"]
        for index, (values, patients) in enumerate(((reference, of_reference), (compared, of_compared)))
    ]
    return bootstrap.Estimate(difference, *bootstrap.percentile_interval(drawn[1] - drawn[0]))


@dataclass(frozen=True)
class SideComparison:
    """Makes rows of evaluation_details.SHIFT, which compare two sides.

    Attributes:
        reference, compared: names of the sides.
        draws, seed: of resamples, permutations and draws.
    """

    reference: str
    compared: str
    draws: int
    seed: int

    def embedding(self, mean: np.ndarray, side: np.ndarray, patient: np.ndarray) -> Iterator[dict[str, Any]]:
        """Compares the mean embeddings, (r, D), by the first ECG of each patient."""
        members = [np.flatnonzero(side == name) for name in (self.reference, self.compared)]
        firsts = [own[np.unique(patient[own], return_index=True)[1]] for own in members]
        shift = embedding_shift(mean[firsts[0]], mean[firsts[1]], self.seed)
        if shift is not None:
            yield self._row("embedding", "mmd2", firsts, firsts) | {"value": shift.mmd2, "p": shift.p}

    def shares(
        self, strata: Mapping[str, np.ndarray], side: np.ndarray, patient: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """Compares how common each level of each stratum is, among the ECGs, (r,), whose level is known."""
        for stratum, levels in strata.items():
            known = levels != ""
            for level, holds in selective.subgroup_masks(levels[known], patient[known]).items():
                yield from self.share("share", f"{stratum}: {level}", holds, side[known], patient[known])

    def share(
        self, measure: str, name: str, holds: np.ndarray, side: np.ndarray, patient: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """Compares how often `holds`, (n,) bool, is true; no row where a side is empty."""
        members = [np.flatnonzero(side == name) for name in (self.reference, self.compared)]
        if not all(len(own) for own in members):
            return
        reference, compared = (holds[own] for own in members)
        owners = [bootstrap.Patients.from_names(patient[own]) for own in members]
        difference = share_shift(reference, owners[0], compared, owners[1], self.draws, self.seed)
        yield self._row(measure, name, members, [range(patients.count) for patients in owners]) | {
            "reference_value": float(reference.mean()),
            "compared_value": float(compared.mean()),
            "value": difference.value,
            "low": difference.low,
            "high": difference.high,
        }

    def _row(self, measure: str, name: str, records: list, patients: list) -> dict[str, Any]:
        row: dict[str, Any] = {"measure": measure, "name": name}
        for side, side_name, records_of, patients_of in zip(
            ("reference", "compared"), (self.reference, self.compared), records, patients, strict=True
        ):
            row |= {side: side_name, f"{side}_records": len(records_of), f"{side}_patients": len(patients_of)}
        return row
