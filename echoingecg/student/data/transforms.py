"""Transforms of the signals: standardisation of each lead, and augmentation of training ECGs.

The scaler is fitted on the training split only. Augmentation is drawn in physical units and applied to standardised
signals. Shapes: B ECGs, 12 leads, T samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from data_contracts.conventions import LEADS, SAMPLING_FREQUENCY
from data_contracts.student import check_scaler
from echoingecg.common import ContractError
from echoingecg.ecg.decode.recording.leads import leads_of_set
from echoingecg.ecg.electrodes import ELECTRODES, LEADS_OF_ELECTRODES
from echoingecg.recipe.stages import AugmentSettings, LeadMasking
from echoingecg.student.data.pairs import SignalReader

PASS_BAND_HZ = (0.5, 40.0)  # of the published ECG filter: nothing else reaches a student
WANDER_HZ = (0.5, 1.0)  # the part of baseline wander that passes: fast breathing, movement
_LIMB_LEAD_GAIN = np.sqrt(2)  # standard deviation of the difference of two electrodes
_ECGS_AT_ONCE = 256  # 25 MB as float64


@dataclass(frozen=True)
class Scaler:
    """Mean and deviation of each lead over the training ECGs.

    Attributes:
        mean: (12,) float64, mV, in the order of conventions.LEADS.
        scale: (12,) float64, population standard deviation, mV; 1 for a lead that never changes.
        fewer_leads: of a student that was trained on fewer leads, too: a lead that is 0 mV throughout is not there.
    """

    mean: np.ndarray
    scale: np.ndarray
    fewer_leads: bool = False

    def standardise(self, signal: np.ndarray) -> np.ndarray:
        """Standardises (n, 12, T) mV to float32: each lead has mean 0 and deviation 1 over the training ECGs.

        With `fewer_leads` a lead that is not there is 0 afterwards, too, as it was in training.
        """
        mean, scale = self.mean.astype(np.float32), self.scale.astype(np.float32)
        standardised = signal - mean[:, None]
        standardised /= scale[:, None]  # in place: a second new array would take as long as the rest
        if self.fewer_leads:
            standardised[~signal.any(axis=-1)] = 0
        return np.asarray(standardised, dtype=np.float32)

    @classmethod
    def millivolts(cls) -> "Scaler":
        """Makes a scaler that leaves signals in mV, for encoders that scale them on their own."""
        return cls(np.zeros(len(LEADS)), np.ones(len(LEADS)))

    def as_json(self) -> dict[str, Any]:
        """Returns the JSON values of the contract data_contracts.student.SCALER."""
        return {"leads": list(LEADS), "mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Scaler":
        """Makes a scaler from JSON values.

        Raises:
            ContractError: leads, means or scales are missing or impossible.
        """
        check_scaler(values)
        return cls(np.array(values["mean"], np.float64), np.array(values["scale"], np.float64))


def fit_scaler(signals: SignalReader, rows: np.ndarray) -> Scaler:
    """Computes mean and population deviation of each lead over all samples of some ECGs, in one pass.

    Args:
        signals: read in chunks, so that memory does not grow with the number of rows.
        rows: (n,) int64, the training ECGs.

    Raises:
        ContractError: a sample is not finite.
    """
    from sklearn.preprocessing import StandardScaler

    running = StandardScaler()
    for first in range(0, len(rows), _ECGS_AT_ONCE):
        chunk = signals.read(rows[first : first + _ECGS_AT_ONCE]).astype(np.float64)
        if not np.isfinite(chunk).all():
            raise ContractError("the ecg artefact holds samples that are not finite: run stage ecg again")
        running.partial_fit(chunk.transpose(0, 2, 1).reshape(-1, len(LEADS)))
    return Scaler(np.asarray(running.mean_), np.asarray(running.scale_))


class SignalChanges(NamedTuple):
    """Augmentation of B ECGs.

    Attributes:
        gain: (B, 1, 1) float32.
        shift: (B,) int64, samples; a positive shift moves the signal to later times.
        added: (B, 12, T) float32, mV.
        kept: (B, 12, 1) float32, 0 for a lead that is flattened, else 1.
    """

    gain: np.ndarray
    shift: np.ndarray
    added: np.ndarray
    kept: np.ndarray


def ecg_generators(seed: int, epoch: int, batch: int, positions: range, *stream: int) -> list[np.random.Generator]:
    """Makes a random generator for each ECG of a batch, whatever the number of processes and the point of resumption.

    Args:
        seed: the recipe's.
        epoch: from 1.
        batch: number within the epoch, from 0.
        positions: of the ECGs in the whole batch.
        stream: numbers that make these draws differ from others of the same ECG.
    """
    # A spawn key makes these streams differ from those of the batches, which have no key.
    keys = ((batch, position, *stream) for position in positions)
    return [np.random.default_rng(np.random.SeedSequence([seed % 2**64, epoch], spawn_key=key)) for key in keys]


def draw_changes(settings: AugmentSettings, random: list[np.random.Generator], samples: int) -> SignalChanges:
    """Draws the changes of each ECG from its own generator.

    Args:
        settings: the largest value of each change; 0 leaves it out.
        random: one generator for each ECG.
        samples: T.
    """
    ecgs = [_draw_one(settings, generator, samples) for generator in random]
    gain, shift, added, kept = zip(*ecgs, strict=True)
    return SignalChanges(
        np.array(gain, np.float32)[:, None, None],
        np.array(shift, np.int64),
        np.stack(added),
        np.stack(kept)[:, :, None],
    )


MASKS = 1  # stream of the masks, beside that of the changes


def draw_kept_leads(settings: LeadMasking, random: list[np.random.Generator]) -> np.ndarray:
    """Which leads are left of each ECG: those of a named set, or random ones; float32 (B, 12, 1), 1 for a kept lead.

    Multiply standardised signals by it, after augmentation: a lead that is not there is 0.

    Args:
        settings: how often, and which.
        random: one generator for each ECG; every draw is made whatever the settings.
    """
    kept = np.ones((len(random), len(LEADS), 1), np.float32)
    sets = settings.sets or ("twelve",)
    for mask, generator in zip(kept, random, strict=True):
        is_masked, is_random = generator.random() < settings.share, generator.random() < settings.random
        count, order = generator.integers(1, len(LEADS)), generator.permutation(len(LEADS))
        name = sets[generator.integers(len(sets))]
        if is_masked and is_random:
            mask[order[count:]] = 0
        elif is_masked:
            mask[~np.isin(LEADS, leads_of_set(name))] = 0
    return kept


def _draw_one(
    settings: AugmentSettings, random: np.random.Generator, samples: int
) -> tuple[float, int, np.ndarray, np.ndarray]:
    """Makes every draw whatever the settings, so that one change that is turned on leaves the others as they were.

    Wander and noise arise at the electrodes, so that Einthoven's and Goldberger's identities hold in the leads.
    """
    leads = len(LEADS)
    gain = 1 + settings.amplitude * random.uniform(-1, 1)
    shift = round(settings.shift_seconds * SAMPLING_FREQUENCY * random.uniform(-1, 1))
    kept = (random.random(leads) >= settings.lead_dropout).astype(np.float32)
    amplitude, frequency = settings.wander_mv * random.random(), random.uniform(*WANDER_HZ)
    wander = random.random(len(ELECTRODES)) * np.exp(1j * random.uniform(0, 2 * np.pi, len(ELECTRODES)))
    of_leads = LEADS_OF_ELECTRODES @ wander  # amplitude and phase as one complex number
    turns = np.exp(2j * np.pi * frequency * np.arange(samples) / SAMPLING_FREQUENCY)
    added = amplitude / np.abs(of_leads).max() * np.outer(of_leads, turns).imag
    if settings.noise_mv:  # last, so that to leave it out changes nothing else; it takes most of the time
        level = settings.noise_mv * random.random() / _LIMB_LEAD_GAIN
        added += level * (LEADS_OF_ELECTRODES @ _passed_noise(len(ELECTRODES), samples, random))
    return gain, shift, added.astype(np.float32), kept


def _passed_noise(electrodes: int, samples: int, random: np.random.Generator) -> np.ndarray:
    """Draws noise of standard deviation 1 that is white within the ECG filter's pass band and absent beyond it.

    Args:
        electrodes: how many, each with noise of its own.
        samples: T.
        random: draws all of it.

    Returns:
        float64 (electrodes, T).
    """
    frequency = np.fft.rfftfreq(samples, 1 / SAMPLING_FREQUENCY)
    (passed,) = np.nonzero((frequency >= PASS_BAND_HZ[0]) & (frequency <= PASS_BAND_HZ[1]))
    spectrum = np.zeros((electrodes, len(frequency)), np.complex128)
    spectrum[:, passed] = random.standard_normal((electrodes, len(passed), 2)).view(np.complex128)[:, :, 0]
    return np.fft.irfft(spectrum, samples) * (samples / (2 * np.sqrt(max(len(passed), 1))))


def apply_changes(signal: Tensor, changes: SignalChanges, scale: np.ndarray) -> Tensor:
    """Changes ECGs: shift and gain, then wander and noise, then flattened leads.

    In a standardised signal 0 is the lead's training mean; gaps and flattened leads get this value.

    Args:
        signal: (B, 12, T) float32, standardised.
        changes: one for each ECG.
        scale: (12,) of the scaler, mV for each unit of the signal.
    """

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(signal.device)

    samples = signal.shape[2]
    source = torch.arange(samples, device=signal.device) - tensor(changes.shift)[:, None]
    inside = (source >= 0) & (source < samples)
    shifted = signal.gather(2, source.clamp(0, samples - 1)[:, None].expand_as(signal)) * inside[:, None]
    added = tensor(changes.added / scale.astype(np.float32)[:, None])
    return (shifted * tensor(changes.gain) + added) * tensor(changes.kept)
