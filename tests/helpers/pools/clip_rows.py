"""A small pool layout with several vectors a clip, rows to append to it, and such a pool on S3."""

from pathlib import Path

import numpy as np

from data_contracts.tables import ArrayContract
from echoingecg.common import key_rows
from helpers.pools.signal_rows import key
from tasks.base.workspace import Workspace
from tasks.pools import Pool, PoolArray

KEY = ArrayContract("key", ("clip", "byte"), "uint8", "", "SHA-256 of the source file", (("byte", 32),))
START = ArrayContract("start", ("clip",), "int64", "", "first vector of the clip")
COUNT = ArrayContract("count", ("clip",), "int64", "", "vectors of the clip")
VECTOR = ArrayContract("vector", ("frame", "dim"), "float32", "", "vectors", (("dim", 2),))
LAYOUT = (
    PoolArray(KEY, (32,), 16, 16),
    PoolArray(START, (), 16, 16, starts="vector"),
    PoolArray(COUNT, (), 16, 16),
    PoolArray(VECTOR, (2,), 4, 16, ragged="count"),
)


def rows(*numbers: int) -> dict[str, np.ndarray]:
    """Clip n has n vectors, all of them n."""
    vectors = np.repeat(np.array(numbers, np.float32), numbers)
    return {
        "key": key_rows([key(number) for number in numbers]),
        "count": np.array(numbers, np.int64),
        "vector": np.stack([vectors, vectors], axis=1),
    }


def on_machine(name: str, tmp_path: Path, bucket: str) -> Pool:
    return Pool(Workspace(tmp_path / name), "teacher/test", LAYOUT, f"{bucket}/{tmp_path.name}")
