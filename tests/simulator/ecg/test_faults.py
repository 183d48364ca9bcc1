"""Faults of electrodes and leads: which leads they reach, and what stays true."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_contracts.conventions import LEADS
from echoingecg.ecg.electrodes import ELECTRODES, INDEPENDENT
from echoingecg.recipe.execution import SimulatorSettings
from echoingecg.simulator.ecg.electrodes import Fault, draw_fault, frontal_axis
from echoingecg.simulator.ecg.heart_vector import draw_beats
from echoingecg.simulator.ecg.record import DURATION, simulate_ecg
from echoingecg.simulator.export import simulate
from echoingecg.simulator.population.patient import Heart

LIMB = {"RA": ("I", "II"), "LA": ("I", "III"), "LL": ("II", "III")}
OTHER = {"RA": "III", "LA": "II", "LL": "I"}


def record(heart: Heart, fault: Fault | None) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    beats = draw_beats(heart, DURATION, rng)
    return dict(zip(LEADS, simulate_ecg(heart, beats, rng, fault), strict=True))


@pytest.fixture(scope="module")
def heart(hearts: list[Heart]) -> Heart:
    return next(one for one in hearts if one.rhythm == "sinus rhythm" and one.qrs_voltage > 1)


@pytest.fixture(scope="module")
def sound(heart: Heart) -> dict[str, np.ndarray]:
    return record(heart, None)


def changed(faulty: dict[str, np.ndarray], sound: dict[str, np.ndarray]) -> set[str]:
    return {name for name in LEADS if np.abs(faulty[name] - sound[name]).max() > 1e-9}


@pytest.mark.parametrize(
    "fault",
    [Fault(kind, place, 1) for kind in ("electrode off", "motion artefact") for place in ELECTRODES]
    + [Fault("saturated lead", place, 1) for place in INDEPENDENT]
    + [Fault("arm electrodes swapped", "RA", 1)],
    ids=lambda one: f"{one.kind} {one.place}",
)
def test_every_fault_respects_einthoven_and_goldberger(fault: Fault, heart: Heart) -> None:
    lead = record(heart, fault)
    assert all(np.isfinite(one).all() for one in lead.values())
    np.testing.assert_allclose(lead["II"], lead["I"] + lead["III"], atol=1e-12)
    np.testing.assert_allclose(lead["aVR"], -(lead["I"] + lead["II"]) / 2, atol=1e-12)
    np.testing.assert_allclose(lead["aVL"], (lead["I"] - lead["III"]) / 2, atol=1e-12)
    np.testing.assert_allclose(lead["aVF"], (lead["II"] + lead["III"]) / 2, atol=1e-12)


@pytest.mark.parametrize("kind", ["electrode off", "motion artefact"])
@pytest.mark.parametrize("electrode", ELECTRODES)
def test_a_fault_reaches_the_leads_its_electrode_feeds(
    kind: str, electrode: str, heart: Heart, sound: dict[str, np.ndarray]
) -> None:
    expected = set(LEADS) - {OTHER[electrode]} if electrode in LIMB else {electrode}
    assert changed(record(heart, Fault(kind, electrode, 2)), sound) == expected


@pytest.mark.parametrize("electrode", ["V1", "V4", "V6"])
def test_a_chest_electrode_off_shows_no_heart(electrode: str, heart: Heart) -> None:
    """What is left is mains, and what the limb electrodes' own noise lets through Wilson's terminal."""
    lead = record(heart, Fault("electrode off", electrode, 3))[electrode]
    power = np.abs(np.fft.rfft(lead - lead.mean())) ** 2
    frequency = np.fft.rfftfreq(len(lead), 1 / 500)
    assert power[(frequency > 3) & (frequency < 30)].sum() < 0.1 * power[np.abs(frequency - 60) < 1].sum()
    assert np.ptp(lead) < 0.6


@pytest.mark.parametrize(("electrode", "sign"), [("RA", -1), ("LA", 1), ("LL", 1)])
def test_a_limb_electrode_off_reaches_the_chest_leads_by_a_third(
    electrode: str, sign: int, heart: Heart, sound: dict[str, np.ndarray]
) -> None:
    lead = record(heart, Fault("electrode off", electrode, 3))
    for name in INDEPENDENT[2:]:
        for fed in LIMB[electrode]:
            sense = -1 if (electrode, fed) == ("LA", "III") else sign
            np.testing.assert_allclose(lead[name] - sound[name], -sense * (lead[fed] - sound[fed]) / 3, atol=1e-12)


def test_swapped_arms_turn_lead_one_and_exchange_the_others(heart: Heart, sound: dict[str, np.ndarray]) -> None:
    lead = record(heart, Fault("arm electrodes swapped", "RA", 0))
    np.testing.assert_allclose(lead["I"], -sound["I"], atol=1e-12)
    for one, other in (("II", "III"), ("III", "II"), ("aVR", "aVL"), ("aVL", "aVR"), ("aVF", "aVF"), ("V3", "V3")):
        np.testing.assert_allclose(lead[one], sound[other], atol=1e-12)


def test_swapped_arms_mirror_the_axis() -> None:
    swapped = Fault("arm electrodes swapped", "RA", 0)
    assert [frontal_axis(one, swapped) for one in (0.0, 40.0, 90.0, -60.0)] == [180.0, 140.0, 90.0, -120.0]
    assert frontal_axis(40.0, None) == frontal_axis(40.0, Fault("electrode off", "RA", 0)) == 40.0


@pytest.mark.parametrize(
    ("channel", "reached"),
    [
        ("V3", {"V3"}),
        ("I", {"I", "III", "aVR", "aVL", "aVF"}),
        ("II", {"II", "III", "aVR", "aVL", "aVF"}),
    ],
)
def test_a_saturated_channel_stays_at_its_limit(
    channel: str, reached: set[str], heart: Heart, sound: dict[str, np.ndarray]
) -> None:
    lead = record(heart, Fault("saturated lead", channel, 1))
    assert changed(lead, sound) == reached
    cut = np.abs(lead[channel] - sound[channel]) > 0
    assert cut.sum() > 10
    assert np.ptp(lead[channel][cut]) == 0


def test_motion_is_large_and_passes(heart: Heart, sound: dict[str, np.ndarray]) -> None:
    for seed in range(5):
        burst = record(heart, Fault("motion artefact", "V2", seed))["V2"] - sound["V2"]
        assert 0.7 < np.abs(burst).max() < 2.6
        assert 0.03 < np.mean(np.abs(burst) > 0.01) < 0.26


def test_faults_come_at_their_rate_and_in_every_kind() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_fault(0.1, rng) for _ in range(8000)]
    faults = [one for one in drawn if one is not None]
    assert len(faults) / len(drawn) == pytest.approx(0.1, abs=0.015)
    kinds = Counter(one.kind for one in faults)
    assert len(kinds) == 4
    assert min(kinds.values()) > 0.1 * len(faults)
    assert {one.place for one in faults if one.kind == "electrode off"} == set(ELECTRODES)
    assert {one.place for one in faults if one.kind == "saturated lead"} == set(INDEPENDENT)


def test_the_rate_changes_nothing_but_who_has_a_fault() -> None:
    streams = [np.random.default_rng(9) for _ in range(3)]
    for _ in range(200):
        never, often, ever = (draw_fault(rate, rng) for rate, rng in zip((0.0, 0.5, 1.0), streams, strict=True))
        assert never is None
        assert ever is not None
        assert often in (None, ever)


def test_faults_change_ecgs_and_their_statements_alone(tmp_path: Path) -> None:
    exports = {}
    for rate in (0.0, 1.0):
        settings = SimulatorSettings(
            patients=2, frame_rate=8.0, frame_height=64, frame_width=80, real_recordings=False, lead_fault_rate=rate
        )
        simulate(settings, tmp_path / str(rate))
        files = (one for one in sorted((tmp_path / str(rate)).rglob("*")) if one.is_file())
        exports[rate] = {str(one.relative_to(tmp_path / str(rate))): one.read_bytes() for one in files}
    assert exports[0.0].keys() == exports[1.0].keys()
    differ = {name for name, content in exports[0.0].items() if content != exports[1.0][name]}
    signals = {name for name in exports[0.0] if name.endswith(".dat")}
    assert signals <= differ
    assert {Path(name).suffix for name in differ - signals} <= {".hea", ".csv"}
    assert {name for name in differ if name.endswith(".csv")} <= {"mimic-iv-ecg/machine_measurements.csv"}
