"""Augmentation: what each change does, that it stays within its bounds, and that resuming repeats it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from data_contracts.conventions import LEADS
from echoingecg.ecg.electrodes import LEADS_OF_ELECTRODES
from echoingecg.ecg.filter import band_pass_and_resample
from echoingecg.recipe.ecg import EcgSettings
from echoingecg.recipe.stages import AugmentSettings, LeadMasking
from echoingecg.student.data.transforms import (
    MASKS,
    Scaler,
    apply_changes,
    draw_changes,
    draw_kept_leads,
    ecg_generators,
)
from echoingecg.student.train import train
from helpers.cases.student_data import ONE_THREAD, settings, training_data

SAMPLES = 200
SCALE = np.linspace(0.1, 0.5, 12)
EVERYTHING = {"amplitude": 0.2, "wander_mv": 0.3, "noise_mv": 0.05, "shift_seconds": 0.4, "lead_dropout": 0.3}


def signals(ecgs: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(ecgs, 12, SAMPLES)).astype(np.float32))


def changed(signal: torch.Tensor, first: int = 0, **fields: float) -> torch.Tensor:
    random = ecg_generators(43, 1, 0, range(first, first + len(signal)))
    return apply_changes(signal, draw_changes(AugmentSettings(**fields), random, SAMPLES), SCALE)


def test_nothing_is_on_by_default():
    assert not AugmentSettings().used
    assert torch.equal(changed(signals()), signals())
    assert all(AugmentSettings(**{name: value}).used for name, value in EVERYTHING.items())


def test_amplitude_is_one_gain_an_ecg():
    ratio = changed(signals(50), amplitude=0.2) / signals(50)
    gain = ratio[:, :1, :1]
    torch.testing.assert_close(ratio, gain.expand_as(ratio), rtol=1e-4, atol=1e-4)
    assert 0.8 <= gain.min() < 0.85
    assert 1.15 < gain.max() <= 1.2


def test_noise_has_a_level_of_its_own_in_every_ecg():
    noise = ((changed(signals(200), noise_mv=0.05) - signals(200)) * torch.from_numpy(SCALE)[:, None]).numpy()
    level = noise[:, :3].std(axis=(1, 2))
    assert level.max() < 0.05 * 1.1
    np.testing.assert_allclose(np.quantile(level, [0.1, 0.5, 0.9]), [0.005, 0.025, 0.045], atol=0.005)
    assert abs(noise.mean()) < 1e-3
    # Of a limb lead, an augmented lead, and a chest lead against the mean of three electrodes.
    deviation = noise.reshape(200, 12, -1).std(axis=(0, 2)) / noise[:, :3].std()
    expected = [1.0] * 3 + [np.sqrt(3 / 4)] * 3 + [np.sqrt(2 / 3)] * 6
    np.testing.assert_allclose(deviation, expected, rtol=0.05)
    assert np.corrcoef(noise[:, 0].ravel(), noise[:, 1].ravel())[0, 1] == pytest.approx(0.5, abs=0.05), "RA is in both"


def added(seconds: float, **fields: float) -> np.ndarray:
    """What is added to the leads of 100 ECGs, (100, 12, time), mV."""
    random = ecg_generators(7, 1, 0, range(100))
    return draw_changes(AugmentSettings(**fields), random, round(100 * seconds)).added.astype(np.float64)


def test_the_matrix_of_the_leads_is_einthovens_goldbergers_and_wilsons():
    limb = {"I": (-1, 1, 0), "II": (-1, 0, 1), "III": (0, -1, 1),
            "aVR": (1, -0.5, -0.5), "aVL": (-0.5, 1, -0.5), "aVF": (-0.5, -0.5, 1)}  # of RA, LA, LL  # fmt: skip
    for lead, row in zip(LEADS, LEADS_OF_ELECTRODES, strict=True):
        chest = [float(lead == f"V{number}") for number in range(1, 7)]
        np.testing.assert_allclose(row, [*limb.get(lead, [-1 / 3] * 3), *chest], atol=1e-12)


@pytest.mark.parametrize("fields", [{"wander_mv": 0.3}, {"noise_mv": 0.05}])
def test_what_is_added_keeps_the_identities_of_the_leads(fields):
    leads = dict(zip(LEADS, added(10, **fields).transpose(1, 0, 2), strict=True))
    one, two, three, right, left, foot = (leads[name] for name in ("I", "II", "III", "aVR", "aVL", "aVF"))
    for sum_of_leads in (one + three - two, right + left + foot, left - (one - three) / 2, right + (one + two) / 2):
        assert np.abs(sum_of_leads).max() < 1e-6


def test_what_is_added_passes_the_ecg_filter():
    """Away from the ends, the filter that every ECG goes through leaves wander and noise nearly as they are."""
    middle = slice(300, 700)
    for fields, least in (({"wander_mv": 0.3}, 0.6), ({"noise_mv": 0.05}, 0.9)):
        given_signal = added(10, **fields)
        passed = np.stack([band_pass_and_resample(one, 100, EcgSettings()) for one in given_signal])
        kept = passed[:, :, middle].std(axis=(1, 2)) / given_signal[:, :, middle].std(axis=(1, 2))
        assert np.median(kept) > least, fields
        spectrum = np.abs(np.fft.rfft(given_signal, axis=2)) ** 2
        frequency = np.fft.rfftfreq(1000, 0.01)
        assert spectrum[:, :, frequency > 40].sum() < 1e-3 * spectrum.sum()


def test_wander_is_slow_and_within_its_amplitude_in_mv():
    wander = ((changed(signals(30), wander_mv=0.3) - signals(30)) * torch.from_numpy(SCALE)[:, None]).numpy()
    assert 0.2 < np.abs(wander).max() <= 0.3 + 1e-5
    slope = np.abs(np.diff(wander)).max() * 100
    assert slope <= 2 * np.pi * 1.0 * 0.3 * 1.05, "steeper than a 1 Hz sine of that amplitude"
    largest = np.abs(added(10, wander_mv=0.3)).max(axis=(1, 2))
    np.testing.assert_allclose(np.quantile(largest, [0.1, 0.5, 0.9]), [0.03, 0.15, 0.27], atol=0.04)


def test_a_shift_moves_all_leads_and_leaves_the_gap_flat():
    given_signal, found = signals(40), changed(signals(40), shift_seconds=0.4)
    seen = set()
    for before, after in zip(given_signal, found, strict=True):
        fits = [
            by
            for by in range(-40, 41)
            if torch.equal(after[:, max(by, 0) : SAMPLES + min(by, 0)], before[:, max(-by, 0) : SAMPLES - max(by, 0)])
        ]
        assert len(fits) == 1
        by = fits[0]
        gap = after[:, :by] if by > 0 else after[:, SAMPLES + by :]
        assert not gap.any()
        seen.add(by)
    assert min(seen) < -20
    assert max(seen) > 20


def test_lead_dropout_flattens_whole_leads_at_its_rate():
    found = changed(signals(200), lead_dropout=0.3)
    flat = (found == 0).all(dim=2)
    assert torch.equal(found[~flat], signals(200)[~flat])
    assert 0.26 < flat.float().mean() < 0.34
    assert len(set(map(tuple, flat.tolist()))) > 50


@hypothesis_settings(max_examples=20, deadline=None)
@given(st.integers(-(2**70), 2**70), st.integers(1, 50), st.integers(0, 1000), st.integers(0, 5))
def test_an_ecgs_changes_depend_on_seed_epoch_batch_and_position_alone(seed, epoch, batch, position):
    fields = AugmentSettings(**EVERYTHING)
    whole = draw_changes(fields, ecg_generators(seed, epoch, batch, range(6)), 50)
    alone = draw_changes(fields, ecg_generators(seed, epoch, batch, range(position, position + 1)), 50)
    for one, many in zip(alone, whole, strict=True):
        assert np.array_equal(one[0], many[position])
    for other in ((seed + 1, epoch, batch), (seed, epoch + 1, batch), (seed, epoch, batch + 1)):
        assert draw_changes(fields, ecg_generators(*other, range(6)), 50).gain[position] != whole.gain[position]


class Killed(Exception):
    pass


def test_training_resumes_exactly_and_validation_is_not_augmented(tmp_path):
    plain, augmented = settings(epochs=1), settings(epochs=1, augment=AugmentSettings(**EVERYTHING))

    def kill(done: int, total: int, note: str = "") -> None:
        if done == 7:
            raise Killed

    with pytest.raises(Killed):
        train(training_data(), augmented, ONE_THREAD, tmp_path / "killed", kill)
    resumed = train(training_data(), augmented, ONE_THREAD, tmp_path / "killed")
    whole = train(training_data(), augmented, ONE_THREAD, tmp_path / "whole")
    assert resumed.history.equals(whole.history)
    for name, tensor in whole.objective.state_dict().items():
        assert torch.equal(tensor, resumed.objective.state_dict()[name]), name
    other = train(training_data(), plain, ONE_THREAD, tmp_path / "plain").history.to_pylist()
    first, rows = other[0], whole.history.to_pylist()
    assert rows[0]["validation_loss_ecg_echo"] == first["validation_loss_ecg_echo"]
    assert rows[1]["train_loss_ecg_echo"] != other[1]["train_loss_ecg_echo"]


def test_masks_keep_what_the_recipe_names_as_often_as_it_says() -> None:
    """Slow: one ECG after the other, from its own generator, in plain words."""
    masking = LeadMasking(share=0.8, sets=("six", "three", "one"), random=0.25)
    generators = [ecg_generators(3, 2, 5, range(4000), MASKS) for _ in range(2)]
    kept = draw_kept_leads(masking, generators[0])
    assert kept.shape == (4000, 12, 1)
    limb = ["I", "II", "III", "aVR", "aVF", "aVL"]
    sets = {"six": limb, "three": [*limb, "V2"], "one": ["I"]}
    drawn = []
    for mask, random in zip(kept, generators[1], strict=True):
        masked, by_chance = random.random() < 0.8, random.random() < 0.25
        count, order = random.integers(1, 12), random.permutation(12)
        name = ("six", "three", "one")[random.integers(3)]
        leads = {LEADS[row] for row in order[:count]} if by_chance else set(sets[name])
        expected = leads if masked else set(LEADS)
        assert {lead for lead, value in zip(LEADS, mask[:, 0], strict=True) if value == 1} == expected
        assert set(mask.ravel().tolist()) <= {0.0, 1.0}
        drawn.append("twelve" if not masked else "random" if by_chance else name)
    shares = {name: drawn.count(name) / 4000 for name in ("twelve", "random", "six", "three", "one")}
    assert shares == pytest.approx({"twelve": 0.2, "random": 0.2, "six": 0.2, "three": 0.2, "one": 0.2}, abs=0.03)


def test_masks_are_drawn_beside_the_changes_and_off_by_default() -> None:
    assert (draw_kept_leads(LeadMasking(), ecg_generators(3, 1, 1, range(50), MASKS)) == 1).all()
    changes, masks = (ecg_generators(3, 1, 1, range(2), *stream)[0].random(4) for stream in ((), (MASKS,)))
    assert not np.isclose(changes, masks).any()


def test_a_lead_that_is_not_there_is_0_after_standardisation_of_a_student_of_fewer_leads() -> None:
    signal = np.random.default_rng(0).normal(0, 1, (3, 12, 50)).astype(np.float32)
    signal[1, 4:] = 0
    scaler = Scaler(np.full(12, 0.5), np.full(12, 2.0))
    plain, fewer = (replace(scaler, fewer_leads=value).standardise(signal) for value in (False, True))
    assert (plain[1, 4:] == -0.25).all()
    assert not fewer[1, 4:].any()
    np.testing.assert_array_equal(fewer[[0, 2]], plain[[0, 2]])
    np.testing.assert_array_equal(fewer[1, :4], plain[1, :4])


@pytest.mark.parametrize("wrong", [{"share": 0.5}, {"sets": ("one",)}, {"share": 2.0, "sets": ("one",)}])
def test_masking_that_masks_nothing_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"share|sets"):
        LeadMasking(**wrong)
