"""Measurements of the median beat: drawn ECGs with known answers, and simulated hearts."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from data_contracts.conventions import LEADS
from echoingecg.ecg.beats import MEASUREMENT_NAMES, measure_ecgs
from echoingecg.ecg.filter import band_pass_and_resample
from echoingecg.recipe import EcgSettings
from echoingecg.simulator.ecg.heart_vector import draw_beats
from echoingecg.simulator.ecg.record import DURATION, SAMPLING_FREQUENCY, simulate_ecg
from echoingecg.simulator.population.patient import Heart, sample_heart

TIME = np.arange(1000) / 100


def drawn(rate: float, width: float, axis: float) -> np.ndarray:
    """A Gaussian QRS of 1 mV on a frontal axis (degrees), a T wave of a third, (12, 1000)."""
    beat = np.zeros(1000)
    for peak in np.arange(0.5, 9.6, 60 / rate):
        beat += np.exp(-((TIME - peak) ** 2) / (2 * width**2)) + 0.33 * np.exp(-((TIME - peak - 0.3) ** 2) / 0.005)
    limb = {"I": 0, "II": 60, "III": 120, "aVR": -150, "aVL": -30, "aVF": 90}
    angle = np.radians(axis)
    gain = {lead: np.cos(angle - np.radians(at)) for lead, at in limb.items()}
    gain |= {lead: gain[lead] * np.sqrt(3) / 2 for lead in ("aVR", "aVL", "aVF")}
    return np.stack([gain.get(lead, 1.0) * beat for lead in LEADS])


def measured(*signals: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(MEASUREMENT_NAMES, measure_ecgs(np.stack(signals)).T, strict=True))


@pytest.mark.parametrize("axis", [-60.0, 0.0, 45.0, 120.0])
def test_known_beats(axis: float) -> None:
    found = measured(drawn(60, 0.012, axis), drawn(100, 0.022, axis))
    assert found["heart_rate"] == pytest.approx([60, 100], abs=0.5)
    assert found["rr_variation"] == pytest.approx([0, 0], abs=0.01)
    degrees = np.degrees(np.arctan2(found["qrs_axis_sin"], found["qrs_axis_cos"]))
    assert degrees == pytest.approx([axis, axis], abs=1)
    assert found["r_V3"] == pytest.approx([1, 1], abs=0.03)
    assert found["t_V3"] == pytest.approx([0.33, 0.33], abs=0.05)
    assert found["s_V3"] == pytest.approx([0, 0], abs=0.05)
    narrow, wide = found["qrs_duration"]
    assert 50 <= narrow <= 90
    assert wide >= narrow + 40


def test_no_beats_no_measurements() -> None:
    assert (measure_ecgs(np.zeros((2, 12, 1000), np.float32)) == 0).all()
    assert measure_ecgs(np.zeros((0, 12, 1000), np.float32)).shape == (0, len(MEASUREMENT_NAMES))


def test_simulated_hearts_are_told_apart() -> None:
    random = np.random.default_rng(5)
    hearts: list[Heart] = [sample_heart(random) for _ in range(80)]
    signals = [
        band_pass_and_resample(
            simulate_ecg(one, draw_beats(one, DURATION, random), random), SAMPLING_FREQUENCY, EcgSettings()
        )
        for one in hearts
    ]
    found = measured(*signals)
    assert np.isfinite(np.stack(list(found.values()))).all()
    for name, column, least in (
        ("heart_rate", "heart_rate", 0.9),
        ("qrs_duration", "qrs_duration", 0.75),
        ("t_amplitude", "t_V5", 0.85),
    ):
        truth = [getattr(one, name) for one in hearts]
        assert spearmanr(truth, found[column]).statistic > least, name
    irregular = np.array([one.atrial_fibrillation for one in hearts])
    assert found["rr_variation"][irregular].mean() > 2 * found["rr_variation"][~irregular].mean()
