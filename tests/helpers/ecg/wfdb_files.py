"""WFDB records written by the wfdb library, with known content."""

from pathlib import Path
from typing import Any

import numpy as np
import wfdb

CLINICAL = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]


def heartbeats(fs: float = 500, seconds: float = 10.0, seed: int = 0) -> np.ndarray:
    """float64 (time, 12), mV in whole microvolts: spikes, each lead of its own height, and noise."""
    time = np.arange(round(fs * seconds)) / fs
    spikes = np.exp(-(((time % 0.8) - 0.4) ** 2) / 2e-4)
    heights = np.linspace(-1.5, 1.5, 12)
    noise = np.random.default_rng(seed).normal(0, 0.02, (len(time), 12))
    return np.round(spikes[:, None] * heights + noise, 3)


def write_record(path: Path, signal: np.ndarray, fs: float = 500, **changes: Any) -> Path:
    """A record at `path` (no ending) in mV, format 16, 1000 units a millivolt, unless `changes` say otherwise."""
    count = signal.shape[1]
    values = {
        "units": ["mV"] * count,
        "sig_name": CLINICAL[:count],
        "p_signal": signal,
        "fmt": ["16"] * count,
        "adc_gain": [1000.0] * count,
        "baseline": [0] * count,
    } | changes
    wfdb.wrsamp(path.name, fs=fs, write_dir=str(path.parent), **values)
    return path


def edit_header(path: Path, old: str, new: str) -> Path:
    """Replaces text in the record's header; the text must be there."""
    header = path.with_name(path.name + ".hea")
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new))
    return path
