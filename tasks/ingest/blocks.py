"""What becomes of a block of files: rows for a pool, and refusals. Workers import this file, and little with it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_contracts import ecg, teacher
from echoingecg.common import Refusal, StoreError, hash_array, key_rows, result_or_refusal
from echoingecg.ecg.decode import content_hash
from echoingecg.recipe import EcgSettings, TeacherSettings

if TYPE_CHECKING:
    from echoingecg.ecg.process import Loaded, Processed
    from echoingecg.ecg.windows import Rows
    from echoingecg.teacher.embed import Teacher
    from echoingecg.teacher.frames import SeenClip
    from tasks.base.workers import Map

_ECGS_PER_BATCH = 32  # files whose signals are held unfiltered: 8 MB at 500 Hz


@dataclass(frozen=True)
class SourceFile:
    """A file of the export, and what it must hold. Its path is not shown: it may hold a name, and Dask logs arguments.

    Attributes:
        path: where it is.
        content_hash: under which its results are kept: a keyed digest, which no decoder can make.
        sha256: of its content when the catalog was made, from the private index.
        stated_unit, stated_sampling_frequency, stated_leads: what the export states about it, if anything.
    """

    path: Path = field(repr=False)
    content_hash: str
    sha256: str
    stated_unit: str | None = None
    stated_sampling_frequency: float | None = None
    stated_leads: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Attempt:
    """What became of one file, or of a part of it: a value, or a refusal (reason, detail).

    Attributes:
        content_hash: of the file.
        value: what it became.
        refusal: reason and detail, or None.
        sector: of a clip, one of data_contracts.teacher.SECTORS.
    """

    content_hash: str
    value: Any = None
    refusal: tuple[str, str] | None = None
    sector: str = "none"


@dataclass(frozen=True)
class Block:
    """What became of some files: their number, rows for the pool's arrays, and refusals by content hash."""

    files: int
    rows: Mapping[str, np.ndarray]
    refused: Mapping[str, tuple[str, str]]


def ecg_block(
    settings: EcgSettings, files: Sequence[SourceFile], begin: Callable[[int | None], None] = lambda number: None
) -> Block:
    """ECG files as rows of the pool, one or several for a file, or as refusals.

    Args:
        settings: the recipe's section.
        files: what is read.
        begin: told the number of each file before it is read, and None before several are filtered at once.

    Raises:
        StoreError: a file cannot be read, or has changed since the catalog was made.
    """
    from echoingecg.ecg.windows import Rows  # not for a worker that decodes clips

    attempts: list[Attempt] = []
    for start in range(0, len(files), _ECGS_PER_BATCH):
        loaded, new = [], Rows()
        for number, file in enumerate(files[start : start + _ECGS_PER_BATCH], start):
            begin(number)
            loaded.append(_guarded(partial(_load_ecg, settings, file, new), file))
        begin(None)
        attempts += _filtered(loaded, settings)
    return replace(_block_of(attempts, _ecg_rows), files=len(files))


def _load_ecg(settings: EcgSettings, file: SourceFile, new: "Rows") -> "Loaded":
    from echoingecg.ecg.decode.wfdb_fast import read_plain
    from echoingecg.ecg.process import load  # SciPy: not for a worker that decodes clips

    plain = read_plain(file.path)
    _check_unchanged(file, plain.content_hash() if plain else content_hash(file.path))
    return load(file.path, settings, file.stated_unit, file.stated_sampling_frequency, file.stated_leads, plain, new)


def _filtered(attempts: list[Attempt], settings: EcgSettings) -> Iterator[Attempt]:
    """The loaded ECGs, filtered and with their quality assessed; refusals stay as they are."""
    from echoingecg.ecg.process import process_loaded_safely

    parts = [attempt.value.split_windows(settings) if attempt.refusal is None else [] for attempt in attempts]
    outcomes = iter(process_loaded_safely([part for windows in parts for part in windows], settings))
    for attempt, windows in zip(attempts, parts, strict=True):
        if attempt.refusal is not None:
            yield attempt
        else:
            yield from _usable_windows(attempt.content_hash, [next(outcomes) for _ in windows])


def _usable_windows(content_hash: str, outcomes: "list[Processed | Refusal]") -> Iterator[Attempt]:
    """The usable windows of a file; where there is none, why the first is refused.

    The first window comes last: its key says that the file is done, and a commit may fall between two rows.
    """
    usable = [outcome for outcome in outcomes if not isinstance(outcome, Refusal)]
    for window in reversed(range(len(usable))):
        yield Attempt(ecg.window_key(content_hash, window), usable[window])
    if not usable:
        first = outcomes[0]
        assert isinstance(first, Refusal)
        yield Attempt(content_hash, refusal=(first.reason, first.detail))


def _ecg_rows(attempts: list[Attempt]) -> dict[str, np.ndarray]:
    return {
        ecg.KEY.name: key_rows([attempt.content_hash for attempt in attempts]),
        ecg.SIGNAL.name: np.stack([attempt.value.signal for attempt in attempts]),
        ecg.QUALITY.name: np.stack([attempt.value.quality for attempt in attempts]),
        ecg.FINDINGS.name: np.array([attempt.value.findings for attempt in attempts], dtype=np.uint16),
        ecg.BAD_SECONDS.name: np.stack([attempt.value.bad_seconds for attempt in attempts]),
        ecg.DIGEST.name: key_rows([hash_array(attempt.value.signal) for attempt in attempts]),
    }


def clip_blocks(
    run: "Map",
    decode: Callable[[SourceFile], Attempt],
    teachers: "Sequence[Teacher]",
    block_size: int,
    groups: Iterable[Sequence[SourceFile]],
) -> Iterator[Block]:
    """Echo files as rows of the teacher's ragged array, or as refusals, in order. Workers decode, this process embeds.

    Args:
        run: maps over the workers that decode.
        decode: makes frames of a file.
        teachers: replicas of one teacher.
        block_size: files in a block.
        groups: the files.
    """
    from echoingecg.teacher.embed import embed_clips  # torch: not for the workers

    decoded = run(decode, chain.from_iterable(groups))
    embedded = (
        replace(attempt, value=vectors) for attempt, vectors in embed_clips(map(_frames_apart, decoded), teachers)
    )
    while batch := list(islice(embedded, block_size)):
        yield _block_of(batch, clip_rows)


def decode_clip(settings: TeacherSettings, size: int, file: SourceFile) -> Attempt:
    """The frames of one file that the teacher is to see, uint8 (frame, size, size, 3), and how sure their sector is.

    A file that is refused has a reason instead.

    Raises:
        StoreError: the file cannot be read, or has changed since the catalog was made.
    """

    import cv2  # not for a worker that reads ECGs

    from echoingecg.teacher.frames import read_checked

    def clip() -> "SeenClip":
        _check_unchanged(file, content_hash(file.path))
        return read_checked(file.path, settings, size)

    cv2.setNumThreads(1)  # clips are decoded side by side: OpenCV's own threads would be in their way
    attempt = _guarded(clip, file)
    if attempt.refusal is not None:
        return attempt
    return replace(attempt, value=attempt.value.masked, sector=attempt.value.degree)


def _frames_apart(attempt: Attempt) -> tuple[Attempt, np.ndarray]:
    """An attempt and its frames; a refusal has none."""
    frames = np.empty((0, 1, 1, 3), np.uint8) if attempt.refusal else attempt.value
    return replace(attempt, value=None), frames


def clip_rows(attempts: list[Attempt]) -> dict[str, np.ndarray]:
    """Rows of the teacher's pool for clips whose value is their vectors, float16 (vector, dim)."""
    return {
        teacher.KEY.name: key_rows([attempt.content_hash for attempt in attempts]),
        teacher.CLIP_FRAMES.name: np.array([len(attempt.value) for attempt in attempts], dtype=np.int64),
        teacher.EMBEDDING.name: np.concatenate([attempt.value for attempt in attempts]),
        teacher.DIGEST.name: key_rows([hash_array(attempt.value) for attempt in attempts]),
        teacher.SECTOR.name: np.array([teacher.SECTORS.index(attempt.sector) for attempt in attempts], dtype=np.uint8),
    }


def _check_unchanged(file: SourceFile, digest: str) -> None:
    if digest != file.sha256:
        raise StoreError("a file of the export has changed since the catalog was made: run again")


def _guarded(work: Callable[[], Any], file: SourceFile) -> Attempt:
    """What `work` makes of a file. This is the quarantine boundary: any fault of the file becomes a refusal.

    Raises:
        StoreError: the file cannot be read, or has changed since the catalog was made. This is a fault of the disk
            or of the run, not of the record.
    """
    try:
        outcome = result_or_refusal(work)
    except OSError as fault:
        raise StoreError(f"a file of the export cannot be read ({fault.strerror}): is it still mounted?") from fault
    if isinstance(outcome, Refusal):
        return Attempt(file.content_hash, refusal=(outcome.reason, outcome.detail))
    return Attempt(file.content_hash, outcome)


def _block_of(attempts: list[Attempt], as_rows: Callable[[list[Attempt]], dict[str, np.ndarray]]) -> Block:
    good = [attempt for attempt in attempts if attempt.refusal is None]
    refused = {attempt.content_hash: attempt.refusal for attempt in attempts if attempt.refusal is not None}
    return Block(len(attempts), as_rows(good) if good else {}, refused)
