"""Reads the released scaler: a StandardScaler in a file of joblib or pickle, or the JSON file of an export.

Loading a pickle can run any code. Here every class and function that the pickle names is replaced by a `_Part`,
which keeps what it is given and does nothing; a name that no scaler needs is refused. The file names no leads: its
twelve numbers stand in the order of the released weights, which is that of conventions.LEADS.
"""

import json
import pickle
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.conventions import LEADS
from echoingecg.common import ContractError, StoreError
from echoingecg.student.data.transforms import Scaler

MAX_BYTES = 1 << 16  # of the file, also once decompressed; a scaler of twelve leads takes under 2,000

# Every name that a scaler's pickle may use, and what it makes. NumPy and scikit-learn have renamed their modules.
_KINDS = {
    **{f"sklearn.preprocessing.{module}.StandardScaler": "scaler" for module in ("_data", "data")},
    **{f"numpy.{core}.multiarray._reconstruct": "array" for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": "buffer" for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": "scalar" for core in ("core", "_core")},
    **{"numpy.ndarray": "type", "numpy.dtype": "dtype", "joblib.numpy_pickle.NumpyArrayWrapper": "joblib"},
}
# What hashes values of the file (nested tuples can take hours), and extension codes, which bypass `find_class`.
_REFUSED = b"".join((pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET, pickle.DICT, pickle.SETITEM, b"\x82\x83\x84"))


class _Part:
    """Stands for an object that the pickle would build: its kind, the arguments of its call, and its state."""

    __match_args__ = ("kind", "arguments", "state")
    kind = ""
    arguments: tuple[Any, ...]
    state: Any = None

    def __new__(cls, *arguments: Any) -> "_Part":
        part = super().__new__(cls)
        part.arguments = arguments
        return part

    def __setstate__(self, state: Any) -> None:
        self.state = state


_PythonUnpickler: Any = pickle._Unpickler  # the standard library's; the one in C allocates what a file asks for


class _Unpickler(_PythonUnpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (kind := _KINDS.get(f"{module}.{name}")) is None:
            raise ContractError(f"it asks for {f'{module}.{name}'[:80]!r}, which has no place here; nothing was run")
        return _array if kind == "buffer" else type(kind, (_Part,), {"kind": kind})

    def load_build(self) -> None:
        super().load_build()
        match self.stack[-1]:
            case _Part("array", _, (_, shape, dtype, _, content)):
                self.stack[-1] = _array(content, dtype, shape)
            # joblib writes the array's bytes behind its description, after a byte that counts the padding.
            case _Part("joblib", _, {"dtype": dtype, "shape": (int(length),) as shape, **state}):
                if state.get("numpy_array_alignment_bytes") is not None:
                    self.read(self.read(1)[0])
                self.stack[-1] = _array(self.read(length * _dtype(dtype).itemsize), dtype, shape)
            case _Part("joblib"):
                raise ContractError("an array has more than one axis")

    def load_bytearray8(self) -> None:
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    def load_setitems(self) -> None:
        if any(type(key) is not str for key in self.stack[::2]):
            raise ContractError("a key is not text")
        super().load_setitems()

    dispatch = {code: load for code, load in _PythonUnpickler.dispatch.items() if code not in _REFUSED} | {
        pickle.BUILD[0]: load_build,
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.SETITEMS[0]: load_setitems,
    }


def read_released_scaler(path: Path) -> Scaler:
    """Reads `ecg_scaler.pkl` (joblib, plain or compressed with zlib or gzip; pickle) or `ecg_scaler.json`.

    Raises:
        StoreError: the file cannot be read.
        ContractError: it holds anything but a StandardScaler of twelve finite means and positive scales.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        scaler = Scaler.from_json(json.loads(data) if path.suffix == ".json" else _from_pickle(data))
        if not np.isfinite([scaler.mean, scaler.scale]).all():
            raise ContractError("a mean or a scale is not finite")
    except OSError as fault:
        raise StoreError(f"scaler {path}: cannot be read: {fault.strerror}") from fault
    except ContractError as fault:
        raise ContractError(f"scaler {path}: refused: {fault}") from fault
    except Exception as fault:  # damaged bytes make the readers fail in many ways
        raise ContractError(f"scaler {path}: refused: not a sound file ({type(fault).__name__})") from fault
    return scaler


def _from_pickle(data: bytes) -> dict[str, list[Any]]:
    """The scaler as `data_contracts.student.SCALER` writes it."""
    if data.startswith((b"\x78", b"\x1f\x8b")):  # zlib or gzip, which the 32 tells apart
        data = zlib.decompressobj(zlib.MAX_WBITS + 32).decompress(data, MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ContractError(f"over {MAX_BYTES} bytes, far more than twelve leads need")
    match _Unpickler(BytesIO(data)).load():
        case _Part("scaler", _, {"mean_": np.ndarray() as mean, "scale_": np.ndarray() as scale, **state}):
            if state.get("with_mean") is True and state.get("with_std") is True:
                return {"leads": list(LEADS), "mean": mean.tolist(), "scale": scale.tolist()}
    raise ContractError("it holds no StandardScaler that was fitted with_mean and with_std")


def _array(content: Any, dtype: Any, shape: Any, order: str = "C") -> np.ndarray:
    array = np.frombuffer(content, _dtype(dtype))
    if array.shape != shape:
        raise ContractError("an array's shape does not fit its bytes")
    return array.astype(np.float64)


def _dtype(part: Any) -> np.dtype:
    """A floating or integer dtype of 2 to 8 bytes; never of objects, whose values would be pickles again."""
    match part:
        case _Part("dtype", ("f2" | "f4" | "f8" | "i4" | "i8" as code, *_), (_, "<" | ">" as order, *_)):
            return np.dtype(order + code)
    raise ContractError("an array holds something other than plain numbers")
