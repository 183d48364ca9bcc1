"""A small pool layout with one signal a row, and rows to append to it."""

import numpy as np

from data_contracts.tables import ArrayContract
from echoingecg.common import key_rows
from tasks.pools import PoolArray

KEY = ArrayContract("key", ("record", "byte"), "uint8", "", "SHA-256 of the source file", (("byte", 32),))
SIGNAL = ArrayContract("signal", ("record", "lead", "time"), "float32", "mV", "a signal", (("lead", 12),))
LAYOUT = (PoolArray(KEY, (32,), 16, 16), PoolArray(SIGNAL, (12, 5), 1, 4))


def key(number: int) -> str:
    return f"{number:064x}"


def rows(*numbers: int) -> dict[str, np.ndarray]:
    signal = np.stack([np.full((12, 5), number, np.float32) for number in numbers])
    return {"key": key_rows([key(number) for number in numbers]), "signal": signal}
