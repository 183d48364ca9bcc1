"""Per-lead standardisation, fitted on the training split only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from data_contracts.conventions import LEADS
from data_contracts.student import check_scaler
from echoingecg.common.errors import ContractError
from echoingecg.student.data.pairs import SignalReader

_CHUNK: Final = 256  # ECGs read at once: 25 MB as float64


@dataclass(frozen=True)
class Scaler:
    """Attributes:
    mean: (12,) float64, mV, in the order of conventions.LEADS.
    scale: (12,) float64, population standard deviation, mV; 1 for a lead that never changes.
    """

    mean: np.ndarray
    scale: np.ndarray

    def standardise(self, signal: np.ndarray) -> np.ndarray:
        """(n, 12, T) mV to float32 with mean 0 and deviation 1 per lead over the training ECGs."""
        mean, scale = self.mean.astype(np.float32), self.scale.astype(np.float32)
        standardised = signal - mean[:, None]
        standardised /= scale[:, None]  # in place: a second new array would take half of a batch's time
        return np.asarray(standardised, dtype=np.float32)

    def as_json(self) -> dict[str, Any]:
        """As the contract data_contracts.student.SCALER writes it."""
        return {"leads": list(LEADS), "mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Scaler":
        """Raises ContractError when leads, means or scales are missing or impossible."""
        check_scaler(values)
        return cls(np.array(values["mean"], np.float64), np.array(values["scale"], np.float64))


def fit_scaler(signals: SignalReader, rows: np.ndarray) -> Scaler:
    """Mean and population deviation of each lead over all samples of some ECGs, in one pass.

    Args:
        signals: read in chunks, so memory does not grow with the rows.
        rows: (n,) int64, the training ECGs.

    Raises:
        ContractError: a sample is not finite.
    """
    from sklearn.preprocessing import StandardScaler

    running = StandardScaler()
    for first in range(0, len(rows), _CHUNK):
        chunk = signals.read(rows[first : first + _CHUNK]).astype(np.float64)
        if not np.isfinite(chunk).all():
            raise ContractError("the ecg artefact holds samples that are not finite: run stage ecg again")
        running.partial_fit(chunk.transpose(0, 2, 1).reshape(-1, len(LEADS)))
    return Scaler(np.asarray(running.mean_), np.asarray(running.scale_))
