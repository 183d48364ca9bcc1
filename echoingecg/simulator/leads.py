"""Leads and electrodes: how a heart vector is seen, and how the twelve leads hang together."""

from typing import Final

import numpy as np

from data_contracts.conventions import LEADS

ELECTRODES: Final = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")
# Dower, Machado, Osborne: On deriving the electrocardiogram from vectorcardiographic leads,
# Clin Cardiol 1980;3:87-95. Row: lead, column: x, y, z.
INDEPENDENT: Final = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
DOWER: Final = np.array(
    [
        (0.632, -0.235, 0.059),
        (0.235, 1.066, -0.132),
        (-0.515, 0.157, -0.917),
        (0.044, 0.164, -1.387),
        (0.882, 0.098, -1.277),
        (1.213, 0.127, -0.601),
        (1.125, 0.127, -0.086),
        (0.831, 0.076, 0.230),
    ]
)


def to_electrodes(independent: np.ndarray) -> np.ndarray:
    """Potentials of the electrodes against Wilson's central terminal, the mean of the limb electrodes.

    Args:
        independent: (8, time), leads in the order of `INDEPENDENT`.

    Returns:
        (9, time), electrodes in the order of `ELECTRODES`.
    """
    first, second = independent[:2]
    right_arm = -(first + second) / 3
    return np.vstack([right_arm, right_arm + first, right_arm + second, independent[2:]])


def from_electrodes(potentials: np.ndarray) -> np.ndarray:
    """The eight channels that a cardiograph records (Kligfield et al., J Am Coll Cardiol 2007;49:1109).

    Args:
        potentials: (9, time), electrodes in the order of `ELECTRODES`, against any common reference.

    Returns:
        (8, time), leads in the order of `INDEPENDENT`.
    """
    right_arm, left_arm, left_leg = potentials[:3]
    return np.vstack([left_arm - right_arm, left_leg - right_arm, potentials[3:] - potentials[:3].mean(axis=0)])


def twelve_leads(independent: np.ndarray) -> np.ndarray:
    """Adds III and the augmented leads by Einthoven's and Goldberger's identities.

    Args:
        independent: (8, time), leads in the order of `INDEPENDENT`.

    Returns:
        (12, time), leads in the order of `LEADS`.
    """
    named = dict(zip(INDEPENDENT, independent, strict=True))
    first, second = named["I"], named["II"]
    named |= {
        "III": second - first,
        "aVR": -(first + second) / 2,
        "aVL": first - second / 2,
        "aVF": second - first / 2,
    }
    return np.stack([named[lead] for lead in LEADS])
