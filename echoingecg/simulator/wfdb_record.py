"""ECG recordings as MIMIC-IV-ECG stores them."""

from pathlib import Path
from typing import Final

import numpy as np

from data_contracts.conventions import LEADS, SIGNAL_UNIT
from echoingecg.simulator.ecg.record import SAMPLING_FREQUENCY

_GAIN: Final = 200.0  # ADC units per mV
_ADC_LIMIT: Final = 32_767  # -32768 means a missing sample


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
