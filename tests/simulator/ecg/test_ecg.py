"""The heart-vector ECG against what a cardiologist would look for."""

from dataclasses import replace

import numpy as np
import pytest
from wfdb.processing import xqrs_detect

from data_contracts.conventions import LEADS
from echoingecg.ecg.electrodes import DOWER, from_electrodes, to_electrodes, twelve_leads
from echoingecg.simulator.ecg.heart_vector import Beats, draw_beats, sum_waves
from echoingecg.simulator.ecg.record import DURATION, SAMPLING_FREQUENCY, simulate_ecg
from echoingecg.simulator.population.patient import Heart, sample_heart


@pytest.fixture(scope="module")
def healthy() -> Heart:
    return replace(
        sample_heart(np.random.default_rng(0)), lvef=62.0, heart_rate=70.0, rhythm="sinus rhythm",
        ectopic_share=0.0, conduction="normal", pr_interval=160.0, qrs_duration=90.0, qt_corrected=415.0,
        qrs_axis=45.0, qrs_voltage=1.2, t_amplitude=0.35, st_depression=0.0, ecg_noise=0.005,
    )  # fmt: skip


def record(heart: Heart, seed: int | tuple[int, int]) -> tuple[dict[str, np.ndarray], Beats]:
    """The leads of a recording by name, and when the heart beat."""
    rng = np.random.default_rng(seed)
    beats = draw_beats(heart, DURATION, rng)
    return dict(zip(LEADS, simulate_ecg(heart, beats, rng), strict=True)), beats


def one_beat(heart: Heart, ectopic: bool = False, seed: int = 0) -> dict[str, np.ndarray]:
    """Noise-free leads around an R peak at 1 s, at 60 beats a minute; sample 500 is the peak."""
    time = np.arange(1000) / SAMPLING_FREQUENCY
    beats = Beats(np.array([-1.0, 0.0, 1.0, 2.0, 3.0]), np.array([False, False, ectopic, False, False]))
    vector = sum_waves(heart, beats, time, np.random.default_rng(seed))
    return dict(zip(LEADS, twelve_leads(DOWER @ vector), strict=True))


def test_shape_and_range(healthy: Heart) -> None:
    signal = np.stack(list(record(healthy, 0)[0].values()))
    assert signal.shape == (12, 5000)
    assert np.abs(signal).max() < 5


def test_einthoven_and_goldberger_hold_exactly(healthy: Heart) -> None:
    lead, _ = record(healthy, 1)
    np.testing.assert_allclose(lead["II"], lead["I"] + lead["III"], atol=1e-12)
    np.testing.assert_allclose(lead["aVR"], -(lead["I"] + lead["II"]) / 2, atol=1e-12)
    np.testing.assert_allclose(lead["aVL"], (lead["I"] - lead["III"]) / 2, atol=1e-12)
    np.testing.assert_allclose(lead["aVF"], (lead["II"] + lead["III"]) / 2, atol=1e-12)


@pytest.mark.parametrize("rate", [50.0, 72.0, 110.0])
@pytest.mark.parametrize("rhythm", ["sinus rhythm", "atrial fibrillation"])
def test_r_peaks_follow_the_heart_rate(rate: float, rhythm: str, healthy: Heart) -> None:
    heart = replace(healthy, heart_rate=rate, rhythm=rhythm)
    counts = [len(xqrs_detect(record(heart, seed)[0]["II"], SAMPLING_FREQUENCY, verbose=False)) for seed in range(3)]
    assert np.mean(counts) == pytest.approx(rate / 6, abs=1.5 if rhythm == "sinus rhythm" else 2.5)


def test_atrial_fibrillation_is_irregular(healthy: Heart) -> None:
    def scatter(heart: Heart) -> float:
        intervals = np.diff(draw_beats(heart, 120, np.random.default_rng(0)).times)
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


def width(lead: np.ndarray) -> float:
    """ms in which a QRS is larger than a tenth of its peak; P and T lie outside the window."""
    qrs = np.abs(lead[450:560])
    return 1000 / SAMPLING_FREQUENCY * float(np.count_nonzero(qrs > 0.1 * qrs.max()))


def test_left_bundle_branch_block(healthy: Heart) -> None:
    blocked = one_beat(replace(healthy, conduction="left bundle branch block", qrs_duration=155.0))
    assert width(blocked["V6"]) > 1.4 * width(one_beat(healthy)["V6"])
    assert blocked["V1"][420:530].max() < 0.05, "no r in V1"
    assert blocked["V6"][420:480].min() > -0.02, "no septal q in V6"
    assert np.max(blocked["V1"][600:740]) > 0.2, "T opposite to QRS in V1"


def test_hypertrophy_raises_voltage(healthy: Heart) -> None:
    assert one_beat(replace(healthy, qrs_voltage=2.4))["V5"][500] > 1.8 * one_beat(healthy)["V5"][500]


def test_right_bundle_branch_block(healthy: Heart) -> None:
    lead = one_beat(replace(healthy, conduction="right bundle branch block", qrs_duration=145.0))
    first, second = lead["V1"][430:475], lead["V1"][490:560]
    assert first.max() > 0.05, "r in V1"
    assert lead["V1"][460:500].min() < -0.2, "S in V1"
    assert second.max() > 2 * first.max(), "R' in V1, larger than r"
    for name in ("I", "V6"):
        late = lead[name][500:570] < -0.1 * lead[name].max()
        assert late.sum() / SAMPLING_FREQUENCY > 0.04, f"wide S in {name} (over 40 ms)"
        assert lead[name][460:500].max() > 0.3, f"R in {name}"
    assert lead["V1"][620:740].min() < -0.1, "T against R' in V1"
    assert lead["V6"][620:740].max() > 0.1, "T against S in V6"
    assert width(lead["V1"]) > 1.3 * width(one_beat(healthy)["V1"])


@pytest.mark.parametrize("seed", range(6))
def test_an_ectopic_beat_is_wide_without_p_and_with_its_t_against_it(seed: int, healthy: Heart) -> None:
    ectopic, ordinary = one_beat(healthy, ectopic=True, seed=seed), one_beat(healthy, seed=seed)
    for name in ("II", "V2"):
        assert 115 < width(ectopic[name]) < 190
        assert width(ordinary[name]) < 110
        assert np.abs(ectopic[name][390:445]).max() < 0.02, "no P"
        peak = ectopic[name][450:550][np.argmax(np.abs(ectopic[name][450:550]))]
        late = ectopic[name][590:680][np.argmax(np.abs(ectopic[name][590:680]))]
        assert np.sign(late) == -np.sign(peak)


def test_ectopic_beats_come_early_and_a_compensatory_pause_follows(healthy: Heart) -> None:
    heart = replace(healthy, ectopic_share=0.15)
    beats = draw_beats(heart, 2000, np.random.default_rng(0))
    assert beats.ectopic.mean() == pytest.approx(0.15, abs=0.02)
    early = np.flatnonzero(beats.ectopic)
    assert np.diff(early).min() > 1, "no two in a row"
    mean = 60 / heart.heart_rate
    before, after = np.diff(beats.times)[early - 1], np.diff(beats.times)[early]
    assert before.min() > 0.5 * mean
    assert before.max() < 0.75 * mean
    np.testing.assert_allclose((before + after) / (2 * mean), 1, atol=0.1)
    assert not draw_beats(healthy, 2000, np.random.default_rng(0)).ectopic.any()


@pytest.mark.parametrize("rhythm", ["sinus rhythm", "atrial fibrillation"])
def test_beats_ascend_and_reach_past_both_edges(rhythm: str, healthy: Heart) -> None:
    for rate in (42.0, 95.0, 150.0):
        for seed in range(20):
            heart = replace(healthy, heart_rate=rate, rhythm=rhythm, ectopic_share=0.2)
            times = draw_beats(heart, DURATION, np.random.default_rng(seed)).times
            assert np.diff(times).min() > 0.32
            assert times[1] < 0
            assert times[-2] > DURATION


@pytest.mark.parametrize("depth", [0.05, 0.15])
def test_st_depression_lies_in_the_lateral_leads(depth: float, healthy: Heart) -> None:
    """60 to 80 ms past the J point; the same beat without it is the baseline."""
    part = slice(500 + 22 + 30, 500 + 22 + 40)
    flat, low = one_beat(healthy), one_beat(replace(healthy, st_depression=depth))
    change = {name: float(np.mean(low[name][part] - flat[name][part])) for name in LEADS}
    assert change["V5"] == pytest.approx(-depth, rel=0.2)
    for name in ("I", "V4", "V6"):
        assert change[name] < -0.3 * depth
    assert change["aVR"] > 0.3 * depth
    assert change["V1"] > 0


def test_strain_inverts_t_asymmetrically(healthy: Heart) -> None:
    lead = one_beat(replace(healthy, qrs_voltage=2.0, t_amplitude=-0.3, st_depression=0.12))["V5"]
    lowest = 560 + int(np.argmin(lead[560:760]))
    half = lead[lowest] / 2
    slow = lowest - int(np.flatnonzero(lead[560:lowest] > half)[-1] + 560)
    fast = int(np.flatnonzero(lead[lowest:] > half)[0])
    assert slow > 1.5 * fast


@pytest.mark.parametrize("conduction", ["normal", "left bundle branch block", "right bundle branch block"])
@pytest.mark.parametrize("axis", [-60.0, -20.0, 15.0, 45.0, 80.0])
def test_limb_leads_show_the_axis(axis: float, conduction: str, healthy: Heart) -> None:
    lead = one_beat(replace(healthy, qrs_axis=axis, conduction=conduction, rhythm="atrial fibrillation"))

    def net(name: str) -> float:
        return float(lead[name][465:535].max() + lead[name][465:535].min())

    shown = np.degrees(np.arctan2(net("aVF") * 2 / np.sqrt(3), net("I")))
    assert shown == pytest.approx(axis, abs=25)


TOLERANCE = 0.1  # s
FORMS = ("as drawn", "atrial fibrillation", "left bundle branch block", "right bundle branch block", "ectopic beats")


def a_heart(form: str, index: int) -> Heart:
    heart = sample_heart(np.random.default_rng((11, index)))
    return {
        "as drawn": heart,
        "atrial fibrillation": replace(heart, rhythm="atrial fibrillation"),
        "left bundle branch block": replace(heart, conduction="left bundle branch block", qrs_duration=150.0),
        "right bundle branch block": replace(heart, conduction="right bundle branch block", qrs_duration=140.0),
        "ectopic beats": replace(heart, ectopic_share=0.2),
    }[form]


@pytest.mark.parametrize("form", FORMS)
def test_a_detector_finds_the_true_beats(form: str) -> None:
    """Twelve hearts of each form, V2, where QRS is large in all of them; 0.3 s at both edges do not count."""
    found_true = found_false = missed = 0
    for index in range(12):
        lead, beats = record(a_heart(form, index), (5, index))
        found = xqrs_detect(lead["V2"], SAMPLING_FREQUENCY, verbose=False) / SAMPLING_FREQUENCY
        true = beats.times[(beats.times > 0.3) & (beats.times < DURATION - 0.3)]
        hit = (np.abs(true[:, None] - found) < TOLERANCE).any(axis=1)
        found_true, missed = found_true + hit.sum(), missed + (~hit).sum()
        found_false += (np.abs(found[:, None] - beats.times) > TOLERANCE).all(axis=1).sum()
    assert found_true / (found_true + missed) >= 0.97
    assert found_true / (found_true + found_false) >= 0.97


def test_electrodes_and_leads_tell_the_same() -> None:
    leads = np.random.default_rng(0).normal(size=(8, 50))
    potentials = to_electrodes(leads)
    np.testing.assert_allclose(potentials[:3].sum(axis=0), 0, atol=1e-12, err_msg="Wilson's terminal is zero")
    np.testing.assert_allclose(from_electrodes(potentials), leads, atol=1e-12)
    np.testing.assert_allclose(from_electrodes(potentials + 3.0), leads, atol=1e-12, err_msg="any reference will do")
