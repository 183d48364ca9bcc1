"""Twelve leads that three limb electrodes and six on the chest could give: the identities hold."""

import numpy as np

from data_contracts.conventions import LEADS


def twelve_leads(fs: float = 500, seconds: float = 10.0, seed: int = 0, noise: float = 0.005) -> np.ndarray:
    """float64 (12, time), mV, order of LEADS: 75 beats a minute, P, QRS and T; noise of each electrode, mV."""
    time = np.arange(round(fs * seconds)) / fs
    phase = (time % 0.8) - 0.4
    waves = [(-0.16, 0.02, 0.1), (-0.02, 0.008, -0.1), (0.0, 0.012, 1.0), (0.03, 0.01, -0.2), (0.25, 0.04, 0.25)]
    beat = sum(height * np.exp(-((phase - at) ** 2) / (2 * width**2)) for at, width, height in waves)
    generator = np.random.default_rng(seed)
    electrodes = {
        name: height * beat + generator.normal(0, noise, len(time))
        for name, height in zip(
            ("R", "L", "F", "V1", "V2", "V3", "V4", "V5", "V6"),
            (-0.4, 0.2, 0.9, -0.6, 0.9, 0.9, 1.6, 1.4, 1.0),
            strict=True,
        )
    }
    right, left, foot = (electrodes[name] for name in "RLF")
    wilson = (right + left + foot) / 3
    leads = {"I": left - right, "II": foot - right, "III": foot - left}
    leads |= {"aVR": 1.5 * (right - wilson), "aVL": 1.5 * (left - wilson), "aVF": 1.5 * (foot - wilson)}
    leads |= {name: electrodes[name] - wilson for name in electrodes if name.startswith("V")}
    return np.stack([leads[lead] for lead in LEADS])
