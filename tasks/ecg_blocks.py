"""What a worker does with a block of ECGs. Imports little: every worker process pays for it."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from data_contracts import ecg as contract
from echoingecg.catalog.sources import files_of
from echoingecg.ecg.attempts import finish_each
from echoingecg.ecg.decode.wfdb_fast import read_plain
from echoingecg.ecg.process import Loaded, Processed, load
from echoingecg.errors import Refusal
from echoingecg.fingerprint import hash_array, hash_files
from echoingecg.recipe import EcgSettings
from tasks.blocks import Attempt, Block, Rows, SourceFile, block_of, check_unchanged, guarded, key_rows

_AT_ONCE: Final = 32  # files whose signals are held unfiltered, 8 MB at 500 Hz


def process_block(settings: EcgSettings, files: Sequence[SourceFile]) -> Block:
    """Every file of the block as a row of the pool, or refused.

    Raises:
        StoreError: a file cannot be read or has changed since the catalog.
    """
    attempts: list[Attempt] = []
    for start in range(0, len(files), _AT_ONCE):
        some = files[start : start + _AT_ONCE]
        attempts += _finished([guarded(partial(_load, settings, file), file) for file in some], settings)
    return block_of(attempts, _rows)


def _load(settings: EcgSettings, file: SourceFile) -> Loaded:
    plain = read_plain(file.path)
    check_unchanged(file, plain.content_hash() if plain else hash_files(files_of(file.path)))
    return load(file.path, settings, file.stated_unit, file.stated_sampling_frequency, plain)


def _finished(attempts: list[Attempt], settings: EcgSettings) -> list[Attempt]:
    """The loaded ones filtered and judged; refusals stay as they are."""
    outcomes = iter(finish_each([one.value for one in attempts if one.refusal is None], settings))
    return [one if one.refusal is not None else _outcome(one.content_hash, next(outcomes)) for one in attempts]


def _outcome(content_hash: str, done: Processed | Refusal) -> Attempt:
    if isinstance(done, Refusal):
        return Attempt(content_hash, refusal=(done.reason, done.detail))
    return Attempt(content_hash, done)


def _rows(batch: list[Attempt]) -> Rows:
    return {
        contract.KEY.name: key_rows([one.content_hash for one in batch]),
        contract.SIGNAL.name: np.stack([one.value.signal for one in batch]),
        contract.QUALITY.name: np.stack([one.value.quality for one in batch]),
        contract.FINDINGS.name: np.array([one.value.findings for one in batch], dtype=np.uint8),
        contract.DIGEST.name: key_rows([hash_array(one.value.signal) for one in batch]),
    }
