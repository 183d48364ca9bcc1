"""Disturbances: what the leads' identities make of them, courses by seed, sizes by level."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.conventions import LEADS
from data_contracts.ecg import QUALITY_FLAGS
from echoingecg.ecg.disturbance import DISTURBANCES, DisturbedEcgs, process_disturbed
from echoingecg.ecg.electrodes import twelve_leads
from echoingecg.ecg.quality import strictest_rule
from echoingecg.recipe import EcgSettings
from echoingecg.simulator.ecg.heart_vector import draw_beats
from echoingecg.simulator.ecg.record import DURATION, simulate_ecg
from echoingecg.simulator.population.patient import sample_heart

HZ = 500
ADDED = ("muscle noise", "baseline wander", "mains", "motion bursts")
HELD = (*ADDED, "electrode reversal", "late start", "missing seconds")  # identities hold in what they leave
LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")
ROW = {lead: row for row, lead in enumerate(LEADS)}


def ecg(seed: int = 0) -> np.ndarray:
    """A simulated ECG, (12, 5000) at 500 Hz, whose leads obey the identities."""
    random = np.random.default_rng(seed)
    heart = sample_heart(random)
    signal = simulate_ecg(heart, draw_beats(heart, DURATION, random), random)
    return twelve_leads(np.stack([signal[ROW[lead]] for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]))


CLEAN = ecg()


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return CLEAN


def disturbed(signal: np.ndarray, name: str, level: float, seed: int = 1) -> np.ndarray:
    return DISTURBANCES[name].apply(signal, HZ, level, np.random.default_rng(seed))


def identity_error(signal: np.ndarray) -> float:
    """Largest error of Einthoven's and Goldberger's identities, mV."""
    first, second, third, right, left, foot = (signal[ROW[lead]] for lead in LIMB)
    errors = (
        first + third - second,
        right + (first + second) / 2,
        left - (first - third) / 2,
        foot - (second + third) / 2,
        right + left + foot,
    )
    return float(np.abs(errors).max())


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(HELD), st.integers(0, 4), st.integers(0, 10_000))
def test_the_identities_of_the_limb_leads_hold(name: str, step: int, seed: int) -> None:
    assert identity_error(CLEAN) < 1e-9
    assert identity_error(disturbed(CLEAN, name, DISTURBANCES[name].levels[step], seed)) < 1e-9


def test_lost_leads_and_clipping_act_on_channels(clean: np.ndarray) -> None:
    """The identities break: that is how stage ecg may know."""
    assert identity_error(disturbed(clean, "clipping", 0.2)) > 0.05
    assert max(identity_error(disturbed(clean, "lead loss", 3, seed)) for seed in range(10)) > 0.05


@pytest.mark.parametrize("name", ADDED)
def test_the_same_seed_adds_the_same_course_at_every_level(clean: np.ndarray, name: str) -> None:
    kind = DISTURBANCES[name]
    courses = [(disturbed(clean, name, level) - clean) / level for level in kind.levels]
    for course in courses[1:]:
        np.testing.assert_allclose(course, courses[0], atol=1e-9)
    other = (disturbed(clean, name, kind.levels[0], seed=2) - clean) / kind.levels[0]
    assert np.abs(other - courses[0]).max() > 0.1
    twice = disturbed(clean, name, kind.levels[0]) - disturbed(2 * clean, name, kind.levels[0])
    np.testing.assert_allclose(twice, -clean, atol=1e-9)  # what is added does not depend on the ECG


@pytest.mark.parametrize("name", ["muscle noise", "baseline wander", "mains"])
def test_levels_are_the_root_mean_square_of_what_is_added(clean: np.ndarray, name: str) -> None:
    for level in DISTURBANCES[name].levels:
        added = disturbed(clean, name, level) - clean
        assert np.sqrt(np.mean(added**2)) == pytest.approx(level)


def test_the_level_of_a_burst_is_its_highest_deflection(clean: np.ndarray) -> None:
    for level in DISTURBANCES["motion bursts"].levels:
        added = disturbed(clean, "motion bursts", level) - clean
        assert np.abs(added).max() == pytest.approx(level)
        still = (np.abs(added) < 1e-12).all(axis=0).mean()
        assert 0.5 < still < 0.95, "bursts last a part of the recording"


def test_noise_lies_in_the_frequencies_it_is_named_after(clean: np.ndarray) -> None:
    hertz = np.fft.rfftfreq(clean.shape[1], 1 / HZ)
    limits = {"muscle noise": (0, 51), "baseline wander": (0.4, 1.1), "mains": (49.5, 60.5)}
    for name, (low, high) in limits.items():
        power = np.abs(np.fft.rfft(disturbed(clean, name, 0.4) - clean)) ** 2
        inside = (hertz >= low) & (hertz <= high)
        assert power[:, inside].sum() / power.sum() > 0.95, name


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_disturbance_returns_a_new_array_and_grows(clean: np.ndarray, name: str) -> None:
    kind, before = DISTURBANCES[name], clean.copy()
    changed = []
    for level in kind.levels:
        result = disturbed(clean, name, level)
        assert result.shape == clean.shape
        assert np.isfinite(result).all()
        changed.append(np.sqrt(np.mean((result - clean) ** 2)))
    np.testing.assert_array_equal(clean, before)
    assert changed[0] > 0
    if name not in ("electrode reversal", "late start"):
        assert (np.diff(changed) > 0).all()


def test_counted_and_measured_kinds_by_hand(clean: np.ndarray) -> None:
    for count in DISTURBANCES["lead loss"].levels:
        assert (disturbed(clean, "lead loss", count) == 0).all(axis=1).sum() == count
    for level in DISTURBANCES["clipping"].levels:
        assert np.abs(disturbed(clean, "clipping", level)).max() == pytest.approx(level * np.abs(clean).max())
    for level in DISTURBANCES["gain"].levels:
        factors = {float(disturbed(clean, "gain", level, seed)[1, 700] / clean[1, 700]) for seed in range(20)}
        assert sorted(factors) == pytest.approx([1 / level, level])
    for seconds in DISTURBANCES["missing seconds"].levels:
        lost = (disturbed(clean, "missing seconds", seconds) == 0).all(axis=0)
        assert lost.sum() == pytest.approx(seconds * HZ, abs=1)
        assert np.ptp(np.flatnonzero(lost)) == lost.sum() - 1, "in one piece"
    for seconds in DISTURBANCES["late start"].levels:
        late, gap = disturbed(clean, "late start", seconds), round(seconds * HZ)
        assert (late[:, :gap] == 0).all()
        np.testing.assert_array_equal(late[:, gap:], clean[:, :-gap])


def test_reversals_are_those_of_the_textbook(clean: np.ndarray) -> None:
    """Arms: I is inverted, II and III change places, aVR and aVL too; V1 and V2 change places."""
    arms = disturbed(clean, "electrode reversal", 4)
    for lead, source, sign in (
        ("I", "I", -1), ("II", "III", 1), ("III", "II", 1), ("aVR", "aVL", 1), ("aVL", "aVR", 1), ("aVF", "aVF", 1),
        ("V1", "V1", 1), ("V6", "V6", 1),
    ):  # fmt: skip
        np.testing.assert_allclose(arms[ROW[lead]], sign * clean[ROW[source]], atol=1e-9)
    chest = disturbed(clean, "electrode reversal", 2)
    np.testing.assert_allclose(chest[ROW["V1"]], clean[ROW["V2"]], atol=1e-9)
    np.testing.assert_allclose(chest[ROW["V2"]], clean[ROW["V1"]], atol=1e-9)
    leg = disturbed(clean, "electrode reversal", 1)  # left arm and left leg: III is inverted, I and II change places
    for lead, source, sign in (("III", "III", -1), ("I", "II", 1), ("aVL", "aVF", 1), ("aVR", "aVR", 1)):
        np.testing.assert_allclose(leg[ROW[lead]], sign * clean[ROW[source]], atol=1e-9)
    for level in range(1, 6):
        again = disturbed(disturbed(clean, "electrode reversal", level), "electrode reversal", level)
        np.testing.assert_allclose(again, clean, atol=1e-9)


@pytest.mark.parametrize("name", DISTURBANCES)
def test_drawn_levels_lie_between_the_least_and_the_most(name: str) -> None:
    kind = DISTURBANCES[name]
    levels = kind.draw_levels(2000, np.random.default_rng(0))
    least, most = min(kind.levels), max(kind.levels)
    assert levels.shape == (2000,)
    assert (levels >= least - 1e-12).all()
    assert (levels <= most + 1e-12).all()
    if name in ("lead loss", "electrode reversal"):
        assert set(levels) == set(kind.levels)
    else:
        assert np.median(levels) == pytest.approx(np.sqrt(least * most), rel=0.1)  # even in the logarithm


@pytest.fixture(scope="module")
def filtered() -> np.ndarray:
    """Three ECGs as stage ecg leaves them, float32 (3, 12, 1000)."""
    recorded = np.stack([ecg(seed)[:, ::5] for seed in range(3)]).astype(np.float32)
    return process_disturbed(recorded, None, np.zeros(3), (0,), EcgSettings()).signals


def outcome(filtered: np.ndarray, name: str | None, level: float, seed: int = 1) -> DisturbedEcgs:
    kind = None if name is None else DISTURBANCES[name]
    return process_disturbed(filtered, kind, np.full(len(filtered), level), (seed,), EcgSettings())


def test_an_undisturbed_ecg_passes_nearly_as_it_was(filtered: np.ndarray) -> None:
    """The filter removes little the second time."""
    again = outcome(filtered, None, 0)
    assert again.kept.all()
    error = np.sqrt(np.mean((again.signals - filtered) ** 2)) / filtered.std()
    assert error < 0.1
    assert all(strictest_rule(quality, 0, EcgSettings()) == "keep" for quality in again.quality)


def test_what_an_ecg_gets_depends_on_its_place_and_the_seed_alone(filtered: np.ndarray) -> None:
    three = outcome(filtered, "baseline wander", 0.2)
    two = outcome(filtered[:2], "baseline wander", 0.2)
    np.testing.assert_allclose(two.signals, three.signals[:2], atol=1e-5)
    np.testing.assert_array_equal(outcome(filtered, "baseline wander", 0.2).signals, three.signals)
    assert np.abs(outcome(filtered, "baseline wander", 0.2, seed=2).signals - three.signals).max() > 0.05
    same = np.stack([filtered[0]] * 2)
    twice = outcome(same, "baseline wander", 0.2).signals
    assert np.abs(twice[0] - twice[1]).max() > 0.05, "each place has a course of its own"


def test_findings_and_refusals_reach_the_caller(filtered: np.ndarray) -> None:
    lost = outcome(filtered, "lead loss", 3)
    assert ((lost.quality & QUALITY_FLAGS["flat"]) > 0).sum(axis=1).tolist() == [3, 3, 3]
    tiny = process_disturbed(filtered * [[[1]], [[1e-4]], [[1]]], None, np.zeros(3), (0,), EcgSettings())
    assert tiny.kept.tolist() == [True, False, True]
    assert len(tiny.signals) == len(tiny.quality) == len(tiny.findings) == 2
    nothing = process_disturbed(filtered * 1e-4, None, np.zeros(3), (0,), EcgSettings())
    assert not nothing.kept.any()
    assert nothing.signals.shape == (0, 12, 1000)
    assert nothing.quality.shape == (0, 12)
