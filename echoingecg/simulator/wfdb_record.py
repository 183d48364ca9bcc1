"""ECG recordings as MIMIC-IV-ECG stores them."""

from pathlib import Path
from typing import Final

import numpy as np
import wfdb

from data_contracts.conventions import LEADS, SIGNAL_UNIT
from echoingecg.simulator.ecg import SAMPLING_FREQUENCY

_GAIN: Final = 200.0  # ADC units per mV
_ADC_LIMIT: Final = 32_767  # -32768 means a missing sample


def write_wfdb(path: Path, signal: np.ndarray) -> None:
    """Writes a WFDB record in format 16, 200 ADC units per mV, without a date.

    Args:
        path: of the record, without extension.
        signal: (12, time), mV, 500 Hz, leads in the order of `LEADS`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    digital = np.clip(np.round(signal.T * _GAIN), -_ADC_LIMIT, _ADC_LIMIT).astype(np.int16)
    wfdb.wrsamp(
        path.name,
        fs=SAMPLING_FREQUENCY,
        units=[SIGNAL_UNIT] * len(LEADS),
        sig_name=list(LEADS),
        d_signal=digital,
        fmt=["16"] * len(LEADS),
        adc_gain=[_GAIN] * len(LEADS),
        baseline=[0] * len(LEADS),
        write_dir=str(path.parent),
    )
