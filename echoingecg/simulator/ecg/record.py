"""The 12-lead ECG of a heart vector: dipoles of all beats, seen through a lead matrix, taken up by electrodes.

Model: McSharry et al., IEEE Trans Biomed Eng 2003;50:289 (Gaussian waves), Sameni et al., EURASIP J Adv
Signal Process 2007:043407 (three-dimensional dipole). Axes are Frank's: x to the left, y downward,
z to the back; mV and s.

ECG recordings as MIMIC-IV-ECG stores them.
"""

from pathlib import Path

import numpy as np

from data_contracts.conventions import LEADS, SIGNAL_UNIT
from echoingecg.simulator.ecg.faults import Fault, disturb_electrodes, disturb_leads, electrode_noise
from echoingecg.simulator.ecg.heart_vector import (
    DOWER,
    Beats,
    ectopic_waves,
    from_electrodes,
    to_electrodes,
    twelve_leads,
    waves,
)
from echoingecg.simulator.population.patient import Heart

SAMPLING_FREQUENCY = 500  # Hz (MIMIC-IV-ECG)
DURATION = 10  # s

# Where an ectopic QRS points: from the right outflow tract, the right apex, the left free wall.
_FOCI = ((0.35, 0.75, 0.56), (0.66, -0.55, 0.51), (-0.62, 0.35, -0.70))


def simulate_ecg(heart: Heart, beats: Beats, rng: np.random.Generator, fault: Fault | None = None) -> np.ndarray:
    """One recording.

    Args:
        heart: what beats.
        beats: when, from `draw_beats` with `DURATION`.
        rng: draws scatter from beat to beat and all noise.
        fault: of an electrode or a lead; the rest of the recording is the same with and without it.

    Returns:
        float64 (lead, time) = (12, 5000), mV, 500 Hz, leads in the order of `LEADS`.
    """
    time = np.arange(DURATION * SAMPLING_FREQUENCY) / SAMPLING_FREQUENCY
    breath = np.sin(2 * np.pi * rng.uniform(0.2, 0.3) * time + rng.uniform(0, 2 * np.pi))
    vector = heart_vector(heart, beats, time, rng)
    if heart.atrial_fibrillation:
        vector += fibrillation(time, rng)
    potentials = to_electrodes(DOWER @ _sway(vector, breath, rng))
    potentials += electrode_noise(len(potentials), time, breath, heart.ecg_noise, rng)
    return twelve_leads(disturb_leads(from_electrodes(disturb_electrodes(potentials, time, fault)), fault))


def heart_vector(heart: Heart, beats: np.ndarray | Beats, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sum of all waves of all beats.

    Args:
        heart: shapes the waves.
        beats: (beat,) R peaks, s, all conducted; or beats of which some are ectopic.
        time: (time,) s.
        rng: scatters amplitude and width from beat to beat; draws one focus for all ectopic beats.

    Returns:
        float64 (3, time), mV.
    """
    if not isinstance(beats, Beats):
        beats = Beats(beats, np.zeros(len(beats), bool))
    stretch = np.sqrt(np.clip(np.diff(beats.times, prepend=2 * beats.times[0] - beats.times[1]), 0.35, 1.5))
    kinds = [(waves(heart), ~beats.ectopic)]
    if beats.ectopic.any():
        kinds.append((ectopic_waves(heart, _FOCI[rng.integers(len(_FOCI))]), beats.ectopic))
    vector = np.zeros((3, len(time)))
    for shapes, chosen in kinds:
        peaks, stretched = beats.times[chosen], stretch[chosen]
        for wave in shapes:
            centres = peaks + wave.centre * (stretched if wave.follows_rate else 1.0)
            sizes = rng.normal(1, 0.03, len(peaks))
            widths = wave.width * rng.normal(1, 0.02, len(peaks))
            vector += np.outer(wave.vector, _gaussians(time, centres, widths, sizes))
    return vector


def fibrillation(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fibrillatory waves of 4-9 Hz: (3, time), mV; largest in V1, as in patients."""
    phases = 2 * np.pi * (np.outer(rng.uniform(4, 9, 5), time) + rng.random((5, 1)))
    swell = 1 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * time)
    return np.outer((-0.006, 0.012, -0.016), np.sin(phases).sum(axis=0) * swell)


def _gaussians(time: np.ndarray, centres: np.ndarray, widths: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(time,) sum of Gaussians; each is evaluated within 5 standard deviations, beyond it is under 4e-6."""
    total = np.zeros(len(time))
    for centre, width, size in zip(centres, widths, sizes, strict=True):
        first, last = np.searchsorted(time, (centre - 5 * width, centre + 5 * width))
        total[first:last] += size * np.exp(-0.5 * ((time[first:last] - centre) / width) ** 2)
    return total


def _sway(vector: np.ndarray, breath: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Respiration turns the heart by a few degrees in the frontal plane."""
    angle = np.radians(rng.uniform(1, 5)) * breath
    x, y, z = vector
    return np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle), z])


_GAIN = 200.0  # ADC units per mV
_ADC_LIMIT = 32_767  # -32768 means a missing sample


def write_wfdb(path: Path, signal: np.ndarray) -> None:
    """Writes a WFDB record in format 16, 200 ADC units per mV, without a date.

    The bytes are those of `wfdb.wrsamp`, which takes thirty times as long. Fields: WFDB Applications Guide,
    header(5) and signal(5).

    Args:
        path: of the record, without extension.
        signal: (12, time), mV, 500 Hz, leads in the order of `LEADS`.

    Raises:
        OSError: the disk cannot take the files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name
    digital = np.clip(np.round(signal.T * _GAIN), -_ADC_LIMIT, _ADC_LIMIT).astype("<i2")
    checksums = digital.sum(axis=0, dtype=np.int64) % 65_536
    lines = [f"{name} {len(LEADS)} {SAMPLING_FREQUENCY} {len(digital)}"]
    for lead, first, checksum in zip(LEADS, digital[0], checksums, strict=True):
        lines.append(f"{name}.dat 16 {_GAIN}(0)/{SIGNAL_UNIT} 16 0 {first} {checksum} 0 {lead}")
    path.with_name(f"{name}.hea").write_text("\n".join(lines) + "\n", encoding="ascii", newline="\n")
    path.with_name(f"{name}.dat").write_bytes(digital.tobytes())
