"""Simulates 12-lead ECG recordings, and writes them as MIMIC-IV-ECG stores them (WFDB)."""

from pathlib import Path

import numpy as np

from data_contracts.conventions import LEADS, SIGNAL_UNIT
from echoingecg.ecg.electrodes import DOWER, from_electrodes, to_electrodes, twelve_leads
from echoingecg.simulator.ecg import electrodes, heart_vector
from echoingecg.simulator.population.patient import Heart

SAMPLING_FREQUENCY = 500  # Hz (MIMIC-IV-ECG)
DURATION = 10  # s
_GAIN = 200.0  # ADC units per mV
_ADC_LIMIT = 32_767  # -32768 means a missing sample


def simulate_ecg(
    heart: Heart, beats: heart_vector.Beats, rng: np.random.Generator, fault: electrodes.Fault | None = None
) -> np.ndarray:
    """Simulates one recording: dipoles of all beats, seen through a lead matrix, recorded by electrodes.

    Args:
        heart: state of the heart.
        beats: from `draw_beats` with `DURATION`.
        rng: draws the scatter from beat to beat and all noise.
        fault: of an electrode or a lead; it changes nothing else of the recording.

    Returns:
        float64 (lead, time) = (12, 5000), mV, 500 Hz, leads in the order of `LEADS`.
    """
    time = np.arange(DURATION * SAMPLING_FREQUENCY) / SAMPLING_FREQUENCY
    breath = np.sin(2 * np.pi * rng.uniform(0.2, 0.3) * time + rng.uniform(0, 2 * np.pi))
    vector = heart_vector.sum_waves(heart, beats, time, rng)
    if heart.atrial_fibrillation:
        vector += heart_vector.fibrillation(time, rng)
    potentials = to_electrodes(DOWER @ heart_vector.sway(vector, breath, rng))
    potentials += electrodes.electrode_noise(len(potentials), time, breath, heart.ecg_noise, rng)
    recorded = from_electrodes(electrodes.disturb_electrodes(potentials, time, fault))
    return twelve_leads(electrodes.disturb_leads(recorded, fault))


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
