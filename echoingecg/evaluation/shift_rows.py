"""Rows of evaluation_space.SHIFT: training against test patients, or those a student knew against a new export."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from echoingecg.evaluation.metrics.bootstrap import Patients
from echoingecg.evaluation.metrics.shift import embedding_shift, share_shift
from echoingecg.evaluation.strata import parts


@dataclass(frozen=True)
class Shifts:
    """Compares two sides.

    Attributes:
        reference, compared: names of the sides.
        draws, seed: of resamples, permutations and draws.
    """

    reference: str
    compared: str
    draws: int
    seed: int

    def embedding(self, mean: np.ndarray, side: np.ndarray, patient: np.ndarray) -> Iterator[dict[str, Any]]:
        """Mean embeddings, (r, D); of each side's patients the first ECG."""
        members = [np.flatnonzero(side == one) for one in (self.reference, self.compared)]
        firsts = [own[np.unique(patient[own], return_index=True)[1]] for own in members]
        found = embedding_shift(mean[firsts[0]], mean[firsts[1]], self.seed)
        if found is not None:
            yield self._row("embedding", "mmd2", firsts, firsts) | {"value": found.mmd2, "p": found.p}

    def shares(
        self, strata: Mapping[str, np.ndarray], side: np.ndarray, patient: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """How common each level of each stratum is among the ECGs, (r,), whose level is known."""
        for stratum, levels in strata.items():
            known = levels != ""
            for level, holds in parts(levels[known], patient[known]).items():
                yield from self.share("share", f"{stratum}: {level}", holds, side[known], patient[known])

    def share(
        self, measure: str, name: str, holds: np.ndarray, side: np.ndarray, patient: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """How common it is that `holds`, (n,) bool; nothing where a side is empty."""
        members = [np.flatnonzero(side == one) for one in (self.reference, self.compared)]
        if not all(len(own) for own in members):
            return
        reference, compared = (holds[own] for own in members)
        owners = [Patients.of(patient[own]) for own in members]
        found = share_shift(reference, owners[0], compared, owners[1], self.draws, self.seed)
        yield self._row(measure, name, members, [range(one.count) for one in owners]) | {
            "reference_value": float(reference.mean()),
            "compared_value": float(compared.mean()),
            "value": found.value,
            "low": found.low,
            "high": found.high,
        }

    def _row(self, measure: str, name: str, records: list, patients: list) -> dict[str, Any]:
        row: dict[str, Any] = {"measure": measure, "name": name}
        for side, of, records_of, patients_of in zip(
            ("reference", "compared"), (self.reference, self.compared), records, patients, strict=True
        ):
            row |= {side: of, f"{side}_records": len(records_of), f"{side}_patients": len(patients_of)}
        return row
