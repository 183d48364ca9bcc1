"""Six limb leads from three electrodes: four of them follow from the others, or a lead is not what it is called.

I + III = II (Einthoven 1912); aVR = -(I + II)/2, aVL = (I - III)/2, aVF = (II + III)/2 (Goldberger 1942). The filter
is linear and the same for every lead, so the identities hold after it as before. Exchanged electrodes keep
them: what breaks them is a lead under another's name, of another gain, or disturbed after the amplifier.
"""

from typing import Final

import numpy as np

from data_contracts.conventions import LEADS

_LIMBS: Final = ("I", "II", "III", "aVR", "aVL", "aVF")
_IDENTITIES: Final = (
    {"I": 1.0, "III": 1.0, "II": -1.0},
    {"aVR": 1.0, "I": 0.5, "II": 0.5},
    {"aVL": 1.0, "I": -0.5, "III": 0.5},
    {"aVF": 1.0, "II": -0.5, "III": -0.5},
)
_ROWS: Final = [LEADS.index(lead) for lead in _LIMBS]
_MATRIX: Final = np.array([[one.get(lead, 0.0) for lead in LEADS] for one in _IDENTITIES], dtype=np.float32)


def limb_lead_error(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the limb leads miss their identities.

    Args:
        signal: float (..., 12, time), mV, leads in the order of data_contracts.conventions.LEADS.

    Returns:
        (...,) root mean square of the worst identity's remainder, mV; and (...,) its share of the root mean
        square of the six limb leads, 0 where these are silent.
    """
    remainder = (np.asarray(_MATRIX, dtype=signal.dtype)) @ signal
    error = np.sqrt(np.einsum("...it,...it->...i", remainder, remainder).max(axis=-1) / signal.shape[-1])
    limbs = signal[..., _ROWS, :]
    size = np.sqrt(np.einsum("...lt,...lt->...", limbs, limbs) / (len(_ROWS) * signal.shape[-1]))
    return error, error / np.where(size > 0, size, 1)
