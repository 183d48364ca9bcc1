"""Nine electrodes and the twelve leads that a cardiograph makes of them, by Einthoven, Goldberger and Wilson.

Also the heart vector behind them, by Dower, what it tells about exchanged limb electrodes, and how large a lead is that
has the gain of the others.
"""

import numpy as np

from data_contracts.conventions import LEADS

ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")
INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")

# What each lead makes of the heart vector. Dower, Machado, Osborne: On deriving the electrocardiogram from
# vectorcardiographic leads, Clin Cardiol 1980;3:87-95. Row: lead, in the order of INDEPENDENT; column: x, y, z.
DOWER = np.array(
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
# Reversals that a heart vector tells from a sound recording. Left arm and left leg exchanged are not among them: lead I
# and II change places, which another heart would give as well.
_REVERSALS = (("RA", "LA"), ("RA", "LL"))


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


def exchange_electrodes(independent: np.ndarray, first: str, second: str) -> np.ndarray:
    """Computes what a cardiograph records of the same heart with two electrodes exchanged.

    Args:
        independent: (8, time), leads in the order of `INDEPENDENT`.
        first, second: names in `ELECTRODES`.

    Returns:
        (8, time), leads in the order of `INDEPENDENT`.
    """
    order = list(range(len(ELECTRODES)))
    a, b = ELECTRODES.index(first), ELECTRODES.index(second)
    order[a], order[b] = b, a
    return from_electrodes(to_electrodes(independent)[order])


# (1 + reversals, 8, 8): the recorded leads as they are, then with each reversal undone; and what no heart vector
# explains of them.
_RECORDED = np.stack([np.eye(len(INDEPENDENT)), *(exchange_electrodes(np.eye(8), *pair) for pair in _REVERSALS)])
_UNEXPLAINED = (np.eye(len(INDEPENDENT)) - DOWER @ np.linalg.pinv(DOWER)) @ _RECORDED
_ENERGY, _REMAINDER = (np.swapaxes(leads, -1, -2) @ leads for leads in (_RECORDED, _UNEXPLAINED))  # quadratic forms


def gain_by_reversal(centred: np.ndarray) -> np.ndarray:
    """How much better one heart vector explains a recording when a reversal of the right arm's electrode is undone.

    The heart vector is fitted to the eight leads at each sample by least squares on Dower's matrix. Compared is the
    share of the leads' energy that it leaves unexplained. Comparing leads with what the others predict of them is the
    method of Kors and van Herpen (J Electrocardiol 2001;34 Suppl:125).

    Args:
        centred: float (..., 8, time), mV, leads in the order of `INDEPENDENT`, filtered, free of their medians.

    Returns:
        (...,) natural logarithm of the ratio of the shares, as recorded to the best reversal undone; 0 or less where
        the recording is explained best as it is.
    """
    products = (centred @ np.swapaxes(centred, -1, -2)).astype(np.float64)
    unexplained, energy = (np.einsum("kij,...ij->...k", form, products) for form in (_REMAINDER, _ENERGY))
    tiny = np.finfo(np.float32).tiny
    shares = np.log(np.maximum(unexplained, tiny)) - np.log(np.maximum(energy, tiny))
    return np.asarray(shares[..., 0] - shares[..., 1:].min(axis=-1))


# Of each independent lead: leads that its size follows; the usual ratio of its size to theirs (geometric mean); and the
# factor around that within which 95 of 100 leads of 192 real recordings stay.
_SIZES = {
    "I": (("V1", "V4", "V5", "V6"), 0.63, 2.2),
    "II": (("V1", "V4", "V5", "V6"), 0.80, 2.3),
    "V1": (("I", "V2", "V3"), 0.75, 2.05),
    "V2": (("V1", "V3"), 1.5, 2.05),
    "V3": (("V2", "V4"), 1.0, 1.67),
    "V4": (("V3", "V5"), 1.04, 1.58),
    "V5": (("V4", "V6"), 1.04, 1.35),
    "V6": (("V5",), 0.84, 1.48),
}
_AGAINST_OTHERS = np.array([[(lead == name) - (name in row[0]) / len(row[0]) for name in INDEPENDENT]
                            for lead, row in _SIZES.items()])  # fmt: skip
_USUAL, _SPREAD = (np.log([row[column] for row in _SIZES.values()]) for column in (1, 2))

LIMB_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL")
_LIMB_OF_ELECTRODES = LEADS_OF_ELECTRODES[[LEADS.index(lead) for lead in LIMB_LEADS], :3]
_LIMB_GAIN = 1.25  # a smaller change of one limb lead is left to the identities
_MIN_LIKENESS = 0.9  # correlation of a limb lead with what the five others make of it
_MAX_REST = 0.25  # of what contradicts the six: what may still contradict the five


def gain_against_neighbours(power: np.ndarray) -> np.ndarray:
    """How unusual the size of each lead is beside that of its neighbours, whose view of the heart is like its own.

    Args:
        power: float (..., 8), mean square of each filtered lead, mV², in the order of `INDEPENDENT`; 0 for a lead that
            does not count.

    Returns:
        (..., 8) logarithm of the size's ratio to its usual one, without sign, in units of what 95 of 100 real leads
        stay within; NaN beside a lead that does not count.
    """
    sizes = np.log(np.where(power > 0, power, 1).astype(np.float64)) / 2
    unusual = np.abs(sizes @ _AGAINST_OTHERS.T - _USUAL) / _SPREAD
    return np.where((power == 0) @ (_AGAINST_OTHERS != 0).T, np.nan, unusual)


def limb_lead_of_other_gain(limbs: np.ndarray) -> np.ndarray:
    """Which limb lead alone contradicts the five others by its gain, by Einthoven's and Goldberger's identities.

    Without it the five agree, and it has their shape in another size.

    Args:
        limbs: float (..., 6, time), mV, leads in the order of `LIMB_LEADS`, filtered.

    Returns:
        bool (..., 6).
    """
    products = (limbs @ np.swapaxes(limbs, -1, -2)).astype(np.float64)
    agreed, dot, rest = (np.einsum("kij,...ij->...k", forms, products) for forms in _LIMB_FORMS)
    size = np.diagonal(products, axis1=-2, axis2=-1)
    whole = np.einsum("ij,...ij->...", _contradiction(_LIMB_OF_ELECTRODES), products)[..., None]
    tiny = np.finfo(np.float32).tiny
    gain = dot / np.maximum(agreed, tiny)
    is_alike = dot > _MIN_LIKENESS * np.sqrt(np.maximum(agreed * size, tiny))
    is_explained = rest < _MAX_REST**2 * whole
    return np.asarray(is_alike & is_explained & ((gain > _LIMB_GAIN) | (gain < 1 / _LIMB_GAIN)))


def _contradiction(leads: np.ndarray) -> np.ndarray:
    """The part of leads, (lead, electrode), that no potentials explain, as a projection (lead, lead)."""
    return np.eye(len(leads)) - leads @ np.linalg.pinv(leads)


def _limb_forms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quadratic forms (6, 6, 6) of the limb leads' products, for each lead.

    The power of what the five others make of it; its product with that; and what contradicts among the five.
    """
    forms = np.zeros((3, 6, 6, 6))
    for lead in range(6):
        others = [row for row in range(6) if row != lead]
        weights = np.zeros(6)
        weights[others] = _LIMB_OF_ELECTRODES[lead] @ np.linalg.pinv(_LIMB_OF_ELECTRODES[others])
        forms[0, lead] = np.outer(weights, weights)
        forms[1, lead, :, lead] = weights
        forms[2, lead][np.ix_(others, others)] = _contradiction(_LIMB_OF_ELECTRODES[others])
    return forms[0], forms[1], forms[2]


_LIMB_FORMS = _limb_forms()
