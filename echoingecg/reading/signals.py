"""Files as filtered signals, or as the reason why not; the same bytes as stage ecg makes of them."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS
from echoingecg.common.errors import Refusal, outcome_of
from echoingecg.ecg.attempts import finish_each
from echoingecg.ecg.decode.wfdb_fast import read_plain
from echoingecg.ecg.process import Loaded, Processed, load
from echoingecg.ecg.quality import names
from echoingecg.recipe import EcgSettings

_AT_ONCE: Final = 32  # files whose signals are held unfiltered, 8 MB at 500 Hz


def read_signals(files: Sequence[str], settings: EcgSettings) -> Iterator[Processed | Refusal]:
    """One outcome a file, in order.

    Args:
        files: ECGs of any accepted format.
        settings: by which the student's training signals were made.
    """
    for start in range(0, len(files), _AT_ONCE):
        loaded = [_load(Path(file), settings) for file in files[start : start + _AT_ONCE]]
        finished = iter(finish_each([one for one in loaded if isinstance(one, Loaded)], settings))
        yield from (one if isinstance(one, Refusal) else next(finished) for one in loaded)


def findings(one: Processed) -> list[str]:
    """Names of what was found in the recording, then in any lead."""
    return [*names(one.findings, RECORD_FLAGS), *names(int(np.bitwise_or.reduce(one.quality)), QUALITY_FLAGS)]


def _load(path: Path, settings: EcgSettings) -> Loaded | Refusal:
    try:
        return outcome_of(partial(load, path, settings, plain=read_plain(path)))
    except OSError as fault:
        return Refusal("unreadable", f"cannot be opened: {fault.strerror}")
