"""The heart-vector ECG against what a cardiologist would look for."""

from dataclasses import replace

import numpy as np
import pytest
from wfdb.processing import xqrs_detect

from data_contracts.conventions import LEADS
from echoingecg.simulator.ecg import DOWER, SAMPLING_FREQUENCY, heart_vector, simulate_ecg, twelve_leads
from echoingecg.simulator.patient import Heart, sample_heart
from echoingecg.simulator.rhythm import beat_times


@pytest.fixture(scope="module")
def healthy() -> Heart:
    return replace(
        sample_heart(np.random.default_rng(0)), lvef=62.0, heart_rate=70.0, rhythm="sinus rhythm",
        left_bundle_branch_block=False, pr_interval=160.0, qrs_duration=90.0, qt_corrected=415.0, qrs_axis=45.0,
        qrs_voltage=1.2, t_amplitude=0.35, ecg_noise=0.005,
    )  # fmt: skip


def one_beat(heart: Heart) -> dict[str, np.ndarray]:
    """Noise-free leads around an R peak at 1 s, at 60 beats a minute; sample 500 is the peak."""
    time = np.arange(1000) / SAMPLING_FREQUENCY
    vector = heart_vector(heart, np.array([-1.0, 0.0, 1.0, 2.0, 3.0]), time, np.random.default_rng(0))
    return dict(zip(LEADS, twelve_leads(DOWER @ vector), strict=True))


def test_shape_and_range(healthy: Heart) -> None:
    signal = simulate_ecg(healthy, np.random.default_rng(0))
    assert signal.shape == (12, 5000)
    assert np.abs(signal).max() < 5


def test_einthoven_and_goldberger_hold_exactly(healthy: Heart) -> None:
    lead = dict(zip(LEADS, simulate_ecg(healthy, np.random.default_rng(1)), strict=True))
    np.testing.assert_allclose(lead["II"], lead["I"] + lead["III"], atol=1e-12)
    np.testing.assert_allclose(lead["aVR"], -(lead["I"] + lead["II"]) / 2, atol=1e-12)
    np.testing.assert_allclose(lead["aVL"], (lead["I"] - lead["III"]) / 2, atol=1e-12)
    np.testing.assert_allclose(lead["aVF"], (lead["II"] + lead["III"]) / 2, atol=1e-12)


@pytest.mark.parametrize("rate", [50.0, 72.0, 110.0])
@pytest.mark.parametrize("rhythm", ["sinus rhythm", "atrial fibrillation"])
def test_r_peaks_follow_the_heart_rate(rate: float, rhythm: str, healthy: Heart) -> None:
    heart = replace(healthy, heart_rate=rate, rhythm=rhythm)
    counts = [
        len(xqrs_detect(simulate_ecg(heart, np.random.default_rng(seed))[1], SAMPLING_FREQUENCY, verbose=False))
        for seed in range(3)
    ]
    assert np.mean(counts) == pytest.approx(rate / 6, abs=1.5 if rhythm == "sinus rhythm" else 2.5)


def test_atrial_fibrillation_is_irregular(healthy: Heart) -> None:
    def scatter(heart: Heart) -> float:
        intervals = np.diff(beat_times(heart, 120, np.random.default_rng(0)))
        return float(intervals.std() / intervals.mean())

    assert scatter(healthy) < 0.06
    assert scatter(replace(healthy, rhythm="atrial fibrillation")) > 0.12


def test_normal_beat_has_the_textbook_form(healthy: Heart) -> None:
    lead = one_beat(healthy)
    for name in ("I", "II", "V4", "V5", "V6"):
        assert lead[name][500] > 0.3, f"R in {name}"
    assert lead["aVR"][500] < -0.3
    ratio = [np.max(lead[f"V{n}"][460:540]) / -np.min(lead[f"V{n}"][460:540]) for n in (1, 2, 3, 4)]
    assert ratio == sorted(ratio), "R grows from V1 to V4"
    assert ratio[0] < 1 < ratio[-1]
    assert np.max(lead["II"][390:460]) > 0.05, "P"
    for name in ("II", "V3", "V5"):
        assert np.max(lead[name][590:740]) > 0.1, f"T upright in {name}"


def test_t_inversion(healthy: Heart) -> None:
    inverted = one_beat(replace(healthy, t_amplitude=-0.3))
    assert np.min(inverted["V5"][590:740]) < -0.1


def test_no_p_wave_in_atrial_fibrillation(healthy: Heart) -> None:
    lead = one_beat(replace(healthy, rhythm="atrial fibrillation"))
    assert np.abs(lead["II"][390:450]).max() < 0.01


def test_left_bundle_branch_block(healthy: Heart) -> None:
    def width(lead: np.ndarray) -> int:
        return int(np.count_nonzero(np.abs(lead[400:600]) > 0.1 * np.abs(lead[400:600]).max()))

    blocked = one_beat(replace(healthy, left_bundle_branch_block=True, qrs_duration=155.0))
    assert width(blocked["V6"]) > 1.4 * width(one_beat(healthy)["V6"])
    assert blocked["V1"][420:530].max() < 0.05, "no r in V1"
    assert blocked["V6"][420:480].min() > -0.02, "no septal q in V6"
    assert np.max(blocked["V1"][600:740]) > 0.2, "T opposite to QRS in V1"


def test_hypertrophy_raises_voltage(healthy: Heart) -> None:
    assert one_beat(replace(healthy, qrs_voltage=2.4))["V5"][500] > 1.8 * one_beat(healthy)["V5"][500]
