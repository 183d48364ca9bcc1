"""Augmentation of training ECGs: drawn in physical units, applied to standardised signals.

Shapes: B ECGs, 12 leads, T samples.

Per-lead standardisation, fitted on the training split only.
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
from echoingecg.recipe.stages import AugmentSettings
from echoingecg.student.data.pairs import SignalReader

_CHUNK = 256  # ECGs read at once: 25 MB as float64


@dataclass(frozen=True)
class Scaler:
    """Attributes:
    mean: (12,) float64, mV, in the order of conventions.LEADS.
    scale: (12,) float64, population standard deviation, mV; 1 for a lead that never changes.
    """

    mean: np.ndarray
    scale: np.ndarray

    def standardise(self, signal: np.ndarray) -> np.ndarray:
        """(n, 12, T) mV to float32 with mean 0 and deviation 1 per lead over the training ECGs."""
        mean, scale = self.mean.astype(np.float32), self.scale.astype(np.float32)
        standardised = signal - mean[:, None]
        standardised /= scale[:, None]  # in place: a second new array would take half of a batch's time
        return np.asarray(standardised, dtype=np.float32)

    def as_json(self) -> dict[str, Any]:
        """As the contract data_contracts.student.SCALER writes it."""
        return {"leads": list(LEADS), "mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Scaler":
        """Raises ContractError when leads, means or scales are missing or impossible."""
        check_scaler(values)
        return cls(np.array(values["mean"], np.float64), np.array(values["scale"], np.float64))


def fit_scaler(signals: SignalReader, rows: np.ndarray) -> Scaler:
    """Mean and population deviation of each lead over all samples of some ECGs, in one pass.

    Args:
        signals: read in chunks, so memory does not grow with the rows.
        rows: (n,) int64, the training ECGs.

    Raises:
        ContractError: a sample is not finite.
    """
    from sklearn.preprocessing import StandardScaler

    running = StandardScaler()
    for first in range(0, len(rows), _CHUNK):
        chunk = signals.read(rows[first : first + _CHUNK]).astype(np.float64)
        if not np.isfinite(chunk).all():
            raise ContractError("the ecg artefact holds samples that are not finite: run stage ecg again")
        running.partial_fit(chunk.transpose(0, 2, 1).reshape(-1, len(LEADS)))
    return Scaler(np.asarray(running.mean_), np.asarray(running.scale_))


WANDER_HZ = (0.05, 0.5)  # breathing and slow electrode drift; the ECG filter's pass band begins where it ends


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
