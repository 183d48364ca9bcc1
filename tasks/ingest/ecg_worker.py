"""What a worker does with a block of ECGs. Imports little: every worker process pays for it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from data_contracts import ecg as contract
from echoingecg.catalog.scan import source_files
from echoingecg.common import Refusal, hash_array, hash_files
from echoingecg.ecg.decode.wfdb_fast import read_plain
from echoingecg.ecg.process import Loaded, Processed, load, process_loaded_safely
from echoingecg.recipe import EcgSettings
from tasks.pools.transaction import Attempt, Block, Rows, SourceFile, block_of, check_unchanged, guarded, key_rows

_AT_ONCE = 32  # files whose signals are held unfiltered, 8 MB at 500 Hz


def process_block(settings: EcgSettings, files: Sequence[SourceFile]) -> Block:
    """Every file of the block as a row of the pool, or several, or refused.

    Raises:
        StoreError: a file cannot be read or has changed since the catalog.
    """
    attempts: list[Attempt] = []
    for start in range(0, len(files), _AT_ONCE):
        some = files[start : start + _AT_ONCE]
        attempts += _finished([guarded(partial(_load, settings, file), file) for file in some], settings)
    return replace(block_of(attempts, _rows), files=len(files))


def _load(settings: EcgSettings, file: SourceFile) -> Loaded:
    plain = read_plain(file.path)
    check_unchanged(file, plain.content_hash() if plain else hash_files(source_files(file.path)))
    return load(file.path, settings, file.stated_unit, file.stated_sampling_frequency, file.stated_leads, plain)


def _finished(attempts: list[Attempt], settings: EcgSettings) -> Iterator[Attempt]:
    """The loaded ones filtered and judged; refusals stay as they are."""
    parts = [one.value.split_windows(settings) if one.refusal is None else [] for one in attempts]
    outcomes = iter(process_loaded_safely([part for some in parts for part in some], settings))
    for one, some in zip(attempts, parts, strict=True):
        if one.refusal is not None:
            yield one
        else:
            yield from _signals(one.content_hash, [next(outcomes) for _ in some])


def _signals(content_hash: str, outcomes: list[Processed | Refusal]) -> Iterator[Attempt]:
    """The usable windows of a file; none: why the first is not.

    The first one comes last: its key says that the file is done, and a commit may fall between two rows.
    """
    usable = [one for one in outcomes if isinstance(one, Processed)]
    for window in reversed(range(len(usable))):
        yield Attempt(contract.window_key(content_hash, window), usable[window])
    if not usable:
        first = outcomes[0]
        assert isinstance(first, Refusal)
        yield Attempt(content_hash, refusal=(first.reason, first.detail))


def _rows(batch: list[Attempt]) -> Rows:
    return {
        contract.KEY.name: key_rows([one.content_hash for one in batch]),
        contract.SIGNAL.name: np.stack([one.value.signal for one in batch]),
        contract.QUALITY.name: np.stack([one.value.quality for one in batch]),
        contract.FINDINGS.name: np.array([one.value.findings for one in batch], dtype=np.uint8),
        contract.DIGEST.name: key_rows([hash_array(one.value.signal) for one in batch]),
    }
