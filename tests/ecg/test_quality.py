"""Findings: each planted fault is found where it is and nowhere else; real recordings as experience has them."""

import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_contracts.conventions import FINDING_RULES, LEADS, FindingRule
from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS
from echoingecg.common import Refusal
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import arrange, limb_lead_error
from echoingecg.ecg.electrodes import DOWER, INDEPENDENT, exchange_electrodes, gain_by_reversal
from echoingecg.ecg.electrodes import twelve_leads as twelve_of
from echoingecg.ecg.filter import band_pass_and_resample
from echoingecg.ecg.process import best_window, cut_windows, fill_gaps, process, process_loaded
from echoingecg.ecg.quality import (
    assess_quality,
    finding_names,
    gain_by_exchange,
    level_and_mains,
    refusal_of_findings,
    strictest_rule,
)
from echoingecg.recipe import EcgSettings
from echoingecg.recipe.ecg import FindingRules
from helpers.ecg.synthetic_hearts import twelve_leads
from helpers.paths import Recording

SETTINGS = EcgSettings()
HEART = twelve_leads()
TIME = np.arange(HEART.shape[1]) / 500
ALL = set(LEADS)


def found(stored: np.ndarray, fs: float = 500, settings: EcgSettings = SETTINGS) -> tuple[dict[str, set[str]], set]:
    """Finding -> leads, and the recording's findings."""
    raw, missing = fill_gaps(stored, 1.0)
    quality, findings = assess_quality(raw, missing, band_pass_and_resample(raw, fs, settings), fs, settings)
    leads = {
        name: {lead for lead, mask in zip(LEADS, quality, strict=True) if mask & bit}
        for name, bit in QUALITY_FLAGS.items()
    }
    return {name: at for name, at in leads.items() if at}, set(finding_names(int(findings), RECORD_FLAGS))


def put(lead: str, values: np.ndarray | Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The heart with one lead replaced."""
    signal = HEART.copy()
    row = LEADS.index(lead)
    signal[row] = values(signal[row]) if callable(values) else values
    return signal


def noise(seed: int = 3, size: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (size, len(TIME)))


def test_a_sound_heart_has_no_finding() -> None:
    assert found(HEART) == ({}, set())
    assert found(twelve_leads(100), 100) == ({}, set())
    assert found(0.3 * twelve_leads(noise=0)) == ({}, set()), "low voltage is no finding"


@pytest.mark.parametrize(
    ("signal", "finding"),
    [
        (put("V4", 0.004), "flat"),
        (put("V4", lambda lead: np.clip(lead, None, 0.05)), "clipped"),
        (put("V4", lambda lead: np.where(TIME < 0.02, np.nan, lead)), "nan"),
        (put("V4", lambda lead: lead - 2.5), "baseline"),
        (put("V4", lambda lead: 20 * lead), "amplitude"),
        (put("V4", noise()[0]), "disconnected"),
        (put("V4", 2 * np.sin(2 * np.pi * 0.11 * TIME)), "disconnected"),
        (put("V4", lambda lead: lead + 0.1 * np.sin(2 * np.pi * 49.8 * TIME)), "mains"),
        (put("V4", lambda lead: lead + 0.1 * np.sin(2 * np.pi * 60.1 * TIME + 1)), "mains"),
    ],
)
def test_a_planted_fault_falls_on_its_lead(signal: np.ndarray, finding: str) -> None:
    assert found(signal) == ({finding: {"V4"}}, set())


def test_an_electrode_that_is_off_shows_on_the_leads_that_need_it() -> None:
    """Left arm: noise in its place on I, III, aVL; what Wilson's terminal passes on to V1-V6 stays small."""
    loose = HEART.copy()
    off = noise(5)[0]
    rows = {lead: LEADS.index(lead) for lead in LEADS}
    loose[rows["I"]], loose[rows["III"]], loose[rows["aVL"]] = off, loose[rows["II"]] - off, off
    leads, whole = found(loose)
    assert leads == {"disconnected": {"I", "aVL"}}, "III still holds lead II, beneath the noise"
    assert whole == {"limb_leads"}


def test_noise_alone_has_no_qrs_and_blames_no_lead() -> None:
    for signal in (noise(1, 12), np.repeat(noise(2), 12, axis=0), np.zeros((12, 5000))):
        leads, whole = found(signal)
        assert "no_qrs" in whole
        assert "disconnected" not in leads


@pytest.mark.parametrize(("limits", "expected"), [((70, 80), False), ((80, 300), True), ((20, 70), True)])
def test_a_rate_no_heart_has(limits: tuple[float, float], expected: bool) -> None:
    settings = EcgSettings(rate_low=limits[0], rate_high=limits[1])
    assert ("no_qrs" in found(HEART, settings=settings)[1]) is expected


@pytest.mark.parametrize(("one", "other"), [("I", "II"), ("II", "III"), ("aVF", "aVL"), ("aVR", "III"), ("V1", "V2")])
def test_exchanged_names_break_the_identities_of_limb_leads_alone(one: str, other: str) -> None:
    rows = list(range(12))
    first, second = LEADS.index(one), LEADS.index(other)
    rows[first], rows[second] = rows[second], rows[first]
    leads, whole = found(HEART[rows])
    assert leads == {}
    assert whole == ({"limb_leads"} if not one.startswith("V") else {"chest_leads"})


def test_the_identities_to_the_letter() -> None:
    exact = twelve_leads(100)
    assert max(np.asarray(limb_lead_error(exact))) < 1e-12
    exact[LEADS.index("aVL")] += 0.3
    error, share = limb_lead_error(exact)
    assert error == pytest.approx(0.3)
    assert share == pytest.approx(0.3 / np.sqrt(np.mean(exact[:6] ** 2)))


@pytest.mark.parametrize("fs", [100, 250, 257.3, 500, 1000])
def test_mains_power_is_that_of_the_sine(fs: float) -> None:
    time = np.arange(int(10 * fs)) / fs
    wave = 0.2 * np.cos(2 * np.pi * 50 * time + 0.4) + 3.0 + 0.5 * time
    level, power = level_and_mains(wave[None], fs, (50.0, 60.0))
    assert level == pytest.approx(np.median([3.0 + 0.5 * (second + 0.5) for second in range(10)]), abs=0.02)
    assert power == pytest.approx(0.02 if fs > 106 else 0, rel=0.02, abs=1e-4)


def test_a_batch_is_judged_as_its_records_are() -> None:
    signals = [HEART, put("V2", noise()[0]), noise(1, 12), put("I", 0.0), put("aVF", lambda lead: 9 * lead)]
    raw = np.stack(signals)
    filtered = np.stack([band_pass_and_resample(one, 500, SETTINGS) for one in signals])
    quality, findings = assess_quality(raw, np.zeros(raw.shape[:2]), filtered, 500, SETTINGS)
    assert quality.shape == (5, 12)
    assert quality.dtype == findings.dtype == np.uint16
    for at, one in enumerate(signals):
        alone = assess_quality(one, np.zeros(12), filtered[at], 500, SETTINGS)
        np.testing.assert_array_equal(quality[at], alone[0])
        assert findings[at] == alone[1]


@pytest.mark.parametrize("rule", FINDING_RULES)
@pytest.mark.parametrize("finding", [*QUALITY_FLAGS, *RECORD_FLAGS])
def test_the_rule_of_a_finding_applies_as_soon_as_one_lead_has_it(finding: str, rule: FindingRule) -> None:
    settings = EcgSettings(rules=FindingRules(**dict.fromkeys(FindingRules.model_fields, "keep") | {finding: rule}))
    for lead in ("I", "V6") if finding in QUALITY_FLAGS else ("",):
        quality = np.array([QUALITY_FLAGS.get(finding, 0) * (lead == name) for name in LEADS], np.uint16)
        assert strictest_rule(quality, RECORD_FLAGS.get(finding, 0), settings) == rule
        detail = f"poor_quality: {finding}: {lead}" if lead else f"poor_quality: {finding}"
        refusal = refusal_of_findings(quality, RECORD_FLAGS.get(finding, 0), settings)
        assert str(refusal) == (detail if rule == "refuse" else "None")


def test_the_strictest_rule_counts() -> None:
    quality = np.zeros(12, np.uint16)
    assert strictest_rule(quality, 0, SETTINGS) == "keep"
    quality[3] = QUALITY_FLAGS["baseline"] | QUALITY_FLAGS["mains"] | QUALITY_FLAGS["nan"]
    assert strictest_rule(quality, 0, SETTINGS) == "keep"
    left_out = EcgSettings(rules=FindingRules(mains="leave_out"))
    assert strictest_rule(quality, 0, left_out) == "leave_out"
    assert strictest_rule(quality, RECORD_FLAGS["limb_leads"], left_out) == "refer"
    assert strictest_rule(quality, RECORD_FLAGS["limb_leads"] | RECORD_FLAGS["no_qrs"], left_out) == "refuse"


def test_every_finding_has_a_rule_and_only_a_missing_heart_is_refused() -> None:
    rules = FindingRules()
    assert set(FindingRules.model_fields) == {*QUALITY_FLAGS, *RECORD_FLAGS}
    assert {name for name, rule in rules if rule == "refuse"} == {"no_signal", "no_qrs"}
    assert {name for name, rule in rules if rule == "keep"} == {"baseline", "mains", "nan"}


@pytest.mark.parametrize("level", [0.0, 1.3])
def test_recordings_without_a_signal_are_refused(level: float) -> None:
    outcome = process_loaded([cut_windows(np.full((12, 5000), level, np.float32), 500, SETTINGS)], SETTINGS)
    assert [str(refusal) for refusal in outcome] == ["poor_quality: no_signal"]


def test_a_recording_without_qrs_is_refused() -> None:
    outcome = process_loaded([cut_windows(2 * noise(1, 12).astype(np.float32), 500, SETTINGS)], SETTINGS)
    assert [str(refusal) for refusal in outcome] == ["poor_quality: no_qrs"]


def test_real_recordings_have_qrs_and_true_limb_leads(all_recordings: Path) -> None:
    """But for LUDB's copy, whose leads follow from each other with other factors: each has a gain of its own."""
    broken, without = set(), set()
    settings = EcgSettings(min_duration=2.5)
    for folder in ("ptbxl", "cinc2021_wfdb_mat", "code15_wfdb", "ludb_wfdb"):
        for path in sorted((all_recordings / folder).rglob("*.hea")):
            stored = decode(path)
            done = best_window(arrange(stored), stored.sampling_frequency, settings)
            whole = finding_names(done.findings, RECORD_FLAGS)
            broken |= {path.stem} if "limb_leads" in whole else set()
            without |= {path.stem} if "no_qrs" in whole else set()
    assert broken == {"ludb-ecg"}
    assert without == set()


def test_what_is_known_of_a_recording(recording: Recording) -> None:
    """47946: mains on the limb leads of the left arm and foot. 1111813: a spike on V1, whose beats are seen."""
    settings = EcgSettings(min_duration=2.5)
    seen = {}
    for name in ("47946", "1111813"):
        stored = decode(recording(f"code15_wfdb/{name}.hea"))
        seen[name] = found(arrange(stored), stored.sampling_frequency, settings)
    assert seen["47946"][0]["mains"] == {"I", "III", "aVF", "aVL"}
    assert seen["1111813"][0] == {"amplitude": {"V1"}}
    assert seen["47946"][1] == {"short"}
    assert seen["1111813"][1] == set()


def _exchanged(signal: np.ndarray, one: str, other: str) -> np.ndarray:
    rows = list(range(len(LEADS)))
    rows[LEADS.index(one)], rows[LEADS.index(other)] = LEADS.index(other), LEADS.index(one)
    return signal[rows]


@pytest.fixture(scope="module")
def real_signals(all_recordings: Path) -> list[np.ndarray]:
    """Filtered 12-lead recordings of 10 s and more from four cohorts."""
    signals = []
    for pattern in ("ptbxl/records500/**/*.hea", "cinc2021_wfdb_mat/*.hea", "code15_wfdb/*.hea", "ludb_wfdb/*.hea"):
        for path in sorted(all_recordings.glob(pattern)):
            with contextlib.suppress(Refusal):  # some are of 7 s
                signals.append(process(path.with_suffix(""), SETTINGS).signal)
    assert len(signals) > 70
    return signals


@pytest.mark.parametrize(
    ("one", "other", "least"), [(0, 1, 0.85), (0, 2, 0.9), (1, 2, 0.85), (0, 5, 0.95), (2, 3, 0.9)]
)
def test_exchanged_chest_leads_of_real_hearts_are_found(
    one: int, other: int, least: float, real_signals: list[np.ndarray]
) -> None:
    order = _exchanged(one, other)
    gains = np.array([gain_by_exchange(_centred(signal[6:][order])) for signal in real_signals])
    assert np.mean(gains > SETTINGS.chest_lead_gain) >= least


def test_chest_leads_in_order_are_left_alone(real_signals: list[np.ndarray]) -> None:
    gains = np.array([gain_by_exchange(_centred(signal[6:])) for signal in real_signals])
    assert np.mean(gains > SETTINGS.chest_lead_gain) <= 0.06
    orders = [_exchanged(one, other) for one, other in itertools.combinations(range(6), 2)]
    for signal, gain in zip(real_signals, gains, strict=True):
        centred = signal[6:] - np.median(signal[6:], axis=-1, keepdims=True)
        unit = centred / np.linalg.norm(centred, axis=-1, keepdims=True)
        slow = [sum(one @ next_one for one, next_one in itertools.pairwise(unit[order])) for order in orders]
        unchanged = sum(one @ next_one for one, next_one in itertools.pairwise(unit))
        assert gain == pytest.approx(max(slow) - unchanged, abs=1e-4)


def _exchanged(one: int, other: int) -> list[int]:
    order = list(range(6))
    order[one], order[other] = other, one
    return order


def test_a_dead_chest_lead_is_not_called_exchanged() -> None:
    for lead in LEADS[6:]:
        assert "chest_leads" not in found(put(lead, 0.0))[1]


@pytest.mark.parametrize(("one", "other", "least"), [("RA", "LA", 0.93), ("RA", "LL", 0.93)])
def test_an_exchanged_right_arm_of_real_hearts_is_seen(
    one: str, other: str, least: float, real_signals: list[np.ndarray]
) -> None:
    gains = np.array(
        [gain_by_reversal(_centred(exchange_electrodes(_independent(signal), one, other))) for signal in real_signals]
    )
    assert np.mean(gains > SETTINGS.limb_electrode_gain) >= least


def test_limb_electrodes_in_place_are_left_alone(real_signals: list[np.ndarray]) -> None:
    """Against a slow fit of the heart vector, sample by sample."""
    gains = np.array([gain_by_reversal(_centred(_independent(signal))) for signal in real_signals])
    assert np.mean(gains > SETTINGS.limb_electrode_gain) <= 0.02
    for signal, gain in zip(real_signals[::7], gains[::7], strict=True):
        shares = []
        for pair in (None, ("RA", "LA"), ("RA", "LL")):
            leads = _independent(signal)
            leads = leads - np.median(leads, axis=-1, keepdims=True)
            leads = exchange_electrodes(leads, *pair) if pair else leads
            vector, *_ = np.linalg.lstsq(DOWER, leads, rcond=None)
            shares.append(np.log(np.sum((leads - DOWER @ vector) ** 2) / np.sum(leads**2)))
        assert gain == pytest.approx(shares[0] - min(shares[1:]), abs=1e-3)


def test_exchanged_arms_are_a_finding_that_refers(real_signals: list[np.ndarray]) -> None:
    whole = real_signals[0]
    swapped = twelve_of(exchange_electrodes(_independent(whole), "RA", "LA"))
    for signal, expected in ((whole, set()), (swapped, {"limb_electrodes"})):
        quality, findings = assess_quality(signal, np.zeros(12), signal, 100, SETTINGS)
        assert set(finding_names(int(findings), RECORD_FLAGS)) == expected
        assert strictest_rule(quality, int(findings), SETTINGS) == ("refer" if expected else "keep")


def test_limb_electrodes_are_not_judged_beside_a_dead_lead(real_signals: list[np.ndarray]) -> None:
    swapped = twelve_of(exchange_electrodes(_independent(real_signals[0]), "RA", "LA"))
    swapped[LEADS.index("V3")] = 0
    _, findings = assess_quality(swapped, np.zeros(12), swapped, 100, SETTINGS)
    assert "limb_electrodes" not in finding_names(int(findings), RECORD_FLAGS)


def _centred(signal: np.ndarray) -> np.ndarray:
    return np.asarray(signal - np.median(signal, axis=-1, keepdims=True))


def _independent(signal: np.ndarray) -> np.ndarray:
    return signal[[LEADS.index(lead) for lead in INDEPENDENT]].astype(np.float64)
