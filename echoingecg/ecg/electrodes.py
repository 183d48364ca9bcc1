"""Nine electrodes and the twelve leads that a cardiograph makes of them, by Einthoven, Goldberger and Wilson."""

import numpy as np

from data_contracts.conventions import LEADS

ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")
INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def to_electrodes(independent: np.ndarray) -> np.ndarray:
    """Computes the potentials of the electrodes against Wilson's central terminal, the mean of the limb electrodes.

    Args:
        independent: (8, time), leads in the order of `INDEPENDENT`.

    Returns:
        (9, time), electrodes in the order of `ELECTRODES`.
    """
    first, second = independent[:2]
    right_arm = -(first + second) / 3
    return np.vstack([right_arm, right_arm + first, right_arm + second, independent[2:]])


def from_electrodes(potentials: np.ndarray) -> np.ndarray:
    """Computes the eight channels that a cardiograph records (Kligfield et al., J Am Coll Cardiol 2007;49:1109).

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


LEADS_OF_ELECTRODES = twelve_leads(from_electrodes(np.eye(len(ELECTRODES))))  # (12, 9): leads of what electrodes add
