"""What a worker is given and gives back. Imports little: every worker process pays for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from echoingecg.catalog.sources import files_of
from echoingecg.common.errors import Refusal, StoreError, outcome_of
from echoingecg.fingerprint import hash_files

Rows = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class SourceFile:
    """One file of the export: where it is, and what it must hold. Its path may hold a name: Dask logs arguments."""

    path: Path = field(repr=False)
    content_hash: str
    stated_unit: str | None = None
    stated_sampling_frequency: float | None = None
    stated_leads: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Attempt:
    """What became of one file: a value, or a refusal."""

    content_hash: str
    value: Any = None
    refusal: tuple[str, str] | None = None


@dataclass(frozen=True)
class Block:
    """What became of some files: rows for the pool's arrays, and refusals by content hash."""

    files: int
    rows: Rows
    refused: Mapping[str, tuple[str, str]]


def attempt(process: Callable[[SourceFile], Any], file: SourceFile) -> Attempt:
    """Processes one file after its content is found unchanged. As `guarded`."""

    def work() -> Any:
        check_unchanged(file, hash_files(files_of(file.path)))
        return process(file)

    return guarded(work, file)


def check_unchanged(file: SourceFile, content_hash: str) -> None:
    """Raises StoreError when the content is not the catalog's."""
    if content_hash != file.content_hash:
        raise StoreError("a file of the export has changed since the catalog was made: run again")


def guarded(work: Callable[[], Any], file: SourceFile) -> Attempt:
    """What `work` makes of a file; the quarantine boundary, where any fault of the file becomes a row.

    Raises:
        StoreError: the file cannot be read or has changed since the catalog: a fault of the disk or of
            the run, not of the record.
    """
    try:
        found = outcome_of(work)
    except OSError as fault:
        raise StoreError(f"a file of the export cannot be read ({fault.strerror}): is it still mounted?") from fault
    if isinstance(found, Refusal):
        return Attempt(file.content_hash, refusal=(found.reason, found.detail))
    return Attempt(file.content_hash, found)


def block_of(attempts: list[Attempt], as_rows: Callable[[list[Attempt]], Rows]) -> Block:
    """Attempts as the pool takes them."""
    good = [one for one in attempts if one.refusal is None]
    refused = {one.content_hash: one.refusal for one in attempts if one.refusal is not None}
    return Block(len(attempts), as_rows(good) if good else {}, refused)


def key_rows(keys: list[str]) -> np.ndarray:
    """Content hashes (64 hexadecimal digits) as uint8 (key, 32)."""
    return np.frombuffer(bytes.fromhex("".join(keys)), dtype=np.uint8).reshape(len(keys), 32)
