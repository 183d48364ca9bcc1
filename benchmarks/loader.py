"""Shuffled, standardised training batches: ours against a tar file of one .npy an ECG; and their memory."""

import io
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import Row, at_least, at_most, in_fresh_process, once, seconds
from benchmarks.pool import published
from echoingecg.student.data.transforms import Scaler
from tasks.base.workspace import Workspace
from tasks.pools import PoolSignals

RECORDS = 6_000
BATCH = 128
FEW, MANY = 2_000, 20_000
SCALER = Scaler(np.zeros(12), np.ones(12))


def _epoch(read: Callable[[np.ndarray], np.ndarray], records: int) -> None:
    for batch in np.array_split(np.random.default_rng(0).permutation(records), records // BATCH):
        torch.from_numpy(SCALER.standardise(read(batch)))


def _write_tar(path: Path, signals: PoolSignals) -> None:
    with tarfile.open(path, "w") as tar:
        for row in range(len(signals)):
            content = io.BytesIO()
            np.save(content, signals.read(np.array([row]))[0])
            member = tarfile.TarInfo(f"{row}.npy")
            member.size = content.tell()
            content.seek(0)
            tar.addfile(member, content)


def _from_tar(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Random access through tarfile.extractfile; the member index is read beforehand and not counted."""
    tar = tarfile.open(path)  # noqa: SIM115 - open for as long as the reader is used
    members = tar.getmembers()

    def read(rows: np.ndarray) -> np.ndarray:
        files = (tar.extractfile(members[row]) for row in rows)
        return np.stack([np.load(io.BytesIO(file.read())) for file in files if file is not None])

    return read


def _peak(records: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        published(Workspace(Path(folder)), records)
        peak: float = in_fresh_process("pool", "epoch_peak", folder)
        return peak


def rows() -> Iterator[Row]:
    """Both routes read from the page cache: what is compared is the work, not the disk."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        artefact = published(workspace, RECORDS)
        _write_tar(Path(folder) / "ecgs.tar", PoolSignals(workspace, artefact))
        from_tar, fresh = _from_tar(Path(folder) / "ecgs.tar"), PoolSignals(workspace, artefact)
        some = np.array([5, RECORDS - 1, 0])
        np.testing.assert_array_equal(from_tar(some), PoolSignals(workspace, artefact).read(some))
        plain_route = "one tar + npy an ECG, tarfile.extractfile + np.load"
        plain = seconds(lambda: _epoch(from_tar, RECORDS))
        first = once(lambda: _epoch(fresh.read, RECORDS))
        later = seconds(lambda: _epoch(fresh.read, RECORDS))
    yield Row(f"{RECORDS} shuffled ECGs, batch {BATCH}, first pass: every SHA-256 checked", plain_route, plain, first)
    yield Row(f"{RECORDS} shuffled ECGs, batch {BATCH}, later passes", plain_route, plain, later, at_least(3))
    yield Row(
        f"peak memory of a process without torch: copy and one pass over {MANY} ECGs",
        f"over {FEW} ECGs",
        _peak(FEW),
        _peak(MANY),
        at_most(1.2),
        "MB",
    )
