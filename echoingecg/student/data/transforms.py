"""Augmentation of training ECGs: drawn in physical units, applied to standardised signals.

Shapes: B ECGs, 12 leads, T samples.
"""

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from data_contracts.conventions import LEADS, SAMPLING_FREQUENCY
from echoingecg.recipe.stages import AugmentSettings

WANDER_HZ: Final = (0.05, 0.5)  # breathing and slow electrode drift; the ECG filter's pass band begins where it ends


class Changes(NamedTuple):
    """What happens to B ECGs.

    Attributes:
        gain: (B, 1, 1) float32.
        shift: (B,) int64, samples; positive moves the signal to later times.
        added: (B, 12, T) float32, mV.
        kept: (B, 12, 1) float32, 0 for a lead that is flattened, else 1.
    """

    gain: np.ndarray
    shift: np.ndarray
    added: np.ndarray
    kept: np.ndarray


def generators(seed: int, epoch: int, batch: int, positions: range) -> list[np.random.Generator]:
    """A generator for each ECG of a batch: the same however the batch is shared out and wherever training resumes.

    Args:
        seed: the recipe's.
        epoch: from 1.
        batch: number within the epoch, from 0.
        positions: of the ECGs within the whole batch.
    """
    # A spawn key keeps these streams apart from the plan's, which have no key.
    sequences = (np.random.SeedSequence([seed % 2**64, epoch], spawn_key=(batch, position)) for position in positions)
    return [np.random.default_rng(sequence) for sequence in sequences]


def draw(settings: AugmentSettings, random: list[np.random.Generator], samples: int) -> Changes:
    """Draws the changes of each ECG from its own generator.

    Args:
        settings: how far each change may go; 0 leaves it out.
        random: one generator an ECG.
        samples: T.
    """
    ecgs = [_draw_one(settings, one, samples) for one in random]
    gain, shift, added, kept = zip(*ecgs, strict=True)
    return Changes(
        np.array(gain, np.float32)[:, None, None],
        np.array(shift, np.int64),
        np.stack(added),
        np.stack(kept)[:, :, None],
    )


def apply(signal: Tensor, changes: Changes, scale: np.ndarray) -> Tensor:
    """Changed ECGs: shifted and amplified, then wander and noise, then flat leads.

    Works on standardised signals, where 0 is a lead's training mean: gaps and flattened leads lie there.

    Args:
        signal: (B, 12, T) float32, standardised.
        changes: of these ECGs.
        scale: (12,) the scaler's, mV a unit.
    """

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(signal.device)

    samples = signal.shape[2]
    source = torch.arange(samples, device=signal.device) - tensor(changes.shift)[:, None]
    inside = (source >= 0) & (source < samples)
    shifted = signal.gather(2, source.clamp(0, samples - 1)[:, None].expand_as(signal)) * inside[:, None]
    added = tensor(changes.added / scale.astype(np.float32)[:, None])
    return (shifted * tensor(changes.gain) + added) * tensor(changes.kept)


def _draw_one(
    settings: AugmentSettings, random: np.random.Generator, samples: int
) -> tuple[float, int, np.ndarray, np.ndarray]:
    """Every draw is made whatever the settings, so that turning one change on leaves the others as they were."""
    leads = len(LEADS)
    gain = 1 + settings.amplitude * random.uniform(-1, 1)
    shift = round(settings.shift_seconds * SAMPLING_FREQUENCY * random.uniform(-1, 1))
    kept = (random.random(leads) >= settings.lead_dropout).astype(np.float32)
    amplitude = settings.wander_mv * random.random((leads, 1))
    frequency, phase = random.uniform(*WANDER_HZ), random.uniform(0, 2 * np.pi, (leads, 1))
    time = np.arange(samples) / SAMPLING_FREQUENCY
    added = (amplitude * np.sin(2 * np.pi * frequency * time + phase)).astype(np.float32)
    if settings.noise_mv:  # last, so leaving it out changes nothing else; it is most of the cost
        level = np.float32(settings.noise_mv * random.random())
        added += level * random.standard_normal((leads, samples), np.float32)
    return gain, shift, added, kept
