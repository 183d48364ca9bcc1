"""HDF5 files that hold the ECGs of thousands of exams, as in CODE-15 (Zenodo 4916206) and SaMi-Trop (Zenodo 4905618).

A file has `tracings` (exam, time, 12) and, in CODE-15, `exam_id` (exam). It states neither unit, rate nor leads: the
export must. Both ends of a tracing are filled with zeros up to 4096 samples; that padding is no signal.

A file of CODE-15 has 4 GB. It stays open, and one exam is read at a time. Nothing outside the file is opened: a link, a
virtual data set or values in another file are refused.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode.recording import Recording, Stated, check_expansion, check_size

if TYPE_CHECKING:
    import h5py

_TRACINGS = "tracings"
_IDS = "exam_id"
_NUMERIC_KINDS = "fiu"
_OPEN_FILES = 32  # CODE-15 has 18
# What h5py raises on damaged content.
_FAULTS = (OSError, ValueError, TypeError, KeyError, RuntimeError, OverflowError, MemoryError)


@dataclass(frozen=True)
class _Exams:
    """An open file.

    Attributes:
        tracings: (exam, time, lead).
        ids: sorted (exam,) int64; None where the file names no exams.
        rows: (exam,) row of each of `ids`.
    """

    tracings: "h5py.Dataset"
    ids: np.ndarray | None
    rows: np.ndarray


def read_tracing(path: Path, name: str) -> np.ndarray:
    """Reads one exam as stored, (time, lead), with its padding.

    Args:
        path: HDF5 file.
        name: the exam's `exam_id`; or, for a file that names no exams, `17of1631`: row 17, from 0, of a table of 1631
            rows.

    Raises:
        Refusal: missing_file when the file has no such exam, unreadable otherwise.
        OSError: the file cannot be read.
    """
    exams = _exams(path)
    row = _row(exams, name)
    try:
        return np.asarray(exams.tracings[row])
    except _FAULTS as fault:
        raise Refusal("unreadable", f"HDF5 fails with {type(fault).__name__}") from fault


def check_tracing(path: Path, name: str) -> None:
    """Raises what `read_tracing` does, without reading the exam."""
    _row(_exams(path), name)


def decode_tracing(path: Path, name: str, stated: Stated) -> Recording:
    """Reads one exam without its padding.

    Args:
        path, name: see `read_tracing`.
        stated: leads, unit and rate.

    Raises:
        Refusal: see `read_tracing`; missing_leads, missing_units or missing_sampling_frequency when the export does not
            state them; too_short when there is nothing but padding.
        OSError: the file cannot be read.
    """
    if not stated.leads:
        raise Refusal("missing_leads", "the export does not state which lead stands where in an array")
    frequency = stated.frequency(None)
    per_millivolt = stated.units_per_millivolt(None)
    tracing = read_tracing(path, name)
    if tracing.shape[1] != len(stated.leads):
        raise Refusal("unreadable", f"{len(stated.leads)} leads are stated and {tracing.shape[1]} stored")
    signal = without_padding(tracing).T.astype(np.float64) / per_millivolt
    signal[~np.isfinite(signal)] = np.nan
    return Recording(signal, tuple(stated.leads), frequency)


def without_padding(tracing: np.ndarray) -> np.ndarray:
    """Returns a tracing, (time, lead), from the first to the last sample that is not zero in every lead.

    Raises:
        Refusal: too_short when every sample is zero.
    """
    filled = np.flatnonzero((tracing != 0).any(axis=1))
    if not len(filled):
        raise Refusal("too_short", "nothing but zero padding")
    return tracing[filled[0] : filled[-1] + 1]


def _row(exams: _Exams, name: str) -> int:
    number, _, total = name.partition("of")
    held = len(exams.tracings)
    if total:
        if exams.ids is not None:
            raise Refusal("unreadable", "the file names its exams, and the export lists them by their order")
        if held != int(total):
            raise Refusal("unreadable", f"{held} tracings for a table of {total} rows: which is whose is not known")
        if int(number) >= held:
            raise Refusal("missing_file", "the file has no such exam")
        return int(number)
    if exams.ids is None:
        raise Refusal("unreadable", "the file does not name its exams")
    start, stop = np.searchsorted(exams.ids, int(number), "left"), np.searchsorted(exams.ids, int(number), "right")
    if stop == start:
        raise Refusal("missing_file", "the file has no such exam")
    if stop - start > 1:
        raise Refusal("unreadable", "the file has several tracings of this exam")
    return int(exams.rows[start])


_State = tuple[int, int, int]  # size, time of change, inode
# By path and process: one that was forked must not share an open file with its parent.
_opened: dict[tuple[Path, int], tuple[_State, _Exams]] = {}


def _exams(path: Path) -> _Exams:
    """Returns the file, opened once; a file that has changed is opened again."""
    status = path.stat()
    state, key = (status.st_size, status.st_mtime_ns, status.st_ino), (path, os.getpid())
    if key not in _opened or _opened[key][0] != state:
        _close(key)
        if len(_opened) >= _OPEN_FILES:
            _close(next(iter(_opened)))
        _opened[key] = state, _open(path)
    return _opened[key][1]


def _close(key: tuple[Path, int]) -> None:
    """Closes a file, if it is open: HDF5 would not see that it has changed."""
    if key in _opened:
        _opened.pop(key)[1].tracings.file.close()


def _open(path: Path) -> _Exams:
    import h5py  # half a second, and few exports need it

    with path.open("rb"):  # a fault of the disk is no fault of the file
        pass
    try:
        file = h5py.File(path, "r", locking=False)
        tracings = _dataset(file, _TRACINGS)
        names = None if file.get(_IDS, getlink=True) is None else _dataset(file, _IDS)
        if tracings.ndim != 3 or tracings.dtype.kind not in _NUMERIC_KINDS or tracings.dtype.itemsize > 8:
            raise Refusal("unreadable", f"{_TRACINGS} are no numbers of shape (exam, time, lead)")
        held = path.stat().st_size
        check_size(*tracings.shape[1:])
        check_expansion(int(np.prod(tracings.shape[1:])), held)
        check_expansion(int(np.prod(tracings.chunks or (1,))), held)
        check_expansion(len(tracings), held)
        if names is None:
            return _Exams(tracings, None, np.zeros(0, np.int64))
        if names.shape != tracings.shape[:1] or names.dtype.kind not in "iu":
            raise Refusal("unreadable", f"{_IDS} does not hold a whole number for each tracing")
        ids = names[:].astype(np.int64)
    except Refusal:
        raise
    except _FAULTS as fault:
        raise Refusal("unreadable", f"HDF5 fails with {type(fault).__name__}") from fault
    rows = np.argsort(ids, kind="stable")
    return _Exams(tracings, ids[rows], rows)


def _dataset(file: "h5py.File", name: str) -> "h5py.Dataset":
    """Returns a data set whose values lie in the file itself. Raises Refusal."""
    import h5py

    # `name in file` would follow a link out of it.
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise Refusal("unknown_format", f"an HDF5 file without '{name}' of its own")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise Refusal("unreadable", f"the values of '{name}' lie in another file")
    return dataset
