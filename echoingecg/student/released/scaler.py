"""The released scaler: a StandardScaler as joblib or pickle wrote it, or the JSON of an export of ours.

The file is never unpickled, see released_pickle. It names no leads: its twelve numbers stand in the order of
the released weights, which is that of conventions.LEADS.

A pickle read as data. Nothing is imported and nothing is called, whatever the file says.

The standard library's pickletools cuts the bytes into opcodes and runs none of them. The opcodes that a
fitted scikit-learn estimator needs (protocols 3 to 5) are carried out here on plain values; where a pickle
asks for a class or a function, its name is noted, and where it asks for a call, the call is noted.
"""

import json
import pickletools
import zlib
from collections.abc import Callable, Set
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from data_contracts.conventions import LEADS
from echoingecg.common import ContractError, StoreError
from echoingecg.student.data.transforms import Scaler

_LITERALS = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
    | {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, type] = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}
_SHOWN = 80  # characters of a name that an error repeats

Kind = TypeVar("Kind")


class PickleFault(ValueError):
    """The bytes are no pickle, or one that asks for more than was admitted."""


class Name(NamedTuple):
    """A class or function that a pickle names. Only the name: it is never looked up."""

    module: str
    name: str


@dataclass
class Made:
    """What the pickle would build, as a note.

    Attributes:
        maker: what it would call.
        arguments: with which arguments.
        state: what it would then give to `__setstate__`.
    """

    maker: Name
    arguments: tuple[Any, ...]
    state: Any = None


def read_pickle(data: bytes, admitted: Set[Name], complete: Callable[[Made, BytesIO], Any]) -> Any:
    """Plain values, `Name` and `Made`, as the pickle arranges them.

    Args:
        data: the whole file; bounds time and memory, since no opcode can ask for more than is there.
        admitted: every class and function that the pickle may name.
        complete: told of each `Made` that has just got its state, with the file behind that opcode; what
            it returns takes the place of the `Made`. joblib keeps the bytes of an array there.

    Raises:
        PickleFault: not a pickle, or one that names, calls or does anything else.
    """
    machine = _Machine(BytesIO(data), admitted, complete)
    try:
        return machine.run()
    except PickleFault:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError) as fault:
        raise PickleFault(f"not a sound pickle ({type(fault).__name__})") from fault


class _Machine:
    """The stack, the stacks below marks, and the memo of one pickle."""

    def __init__(self, file: BytesIO, admitted: Set[Name], complete: Callable[[Made, BytesIO], Any]) -> None:
        self.file = file
        self.admitted = admitted
        self.complete = complete
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for opcode, argument, _ in pickletools.genops(self.file):
            if opcode.name == "STOP":
                break
            self._step(opcode.name, argument)
        return self.stack.pop()

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case _ if name in _LITERALS:
                stack.append(argument)
            case _ if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case _ if name in _EMPTY:
                stack.append(_EMPTY[name]())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [stack.pop() for _ in range(int(name[-1]))]
                stack.append(tuple(reversed(items)))
            case "MARK":
                self.below.append(stack)
                self.stack = []
            case "TUPLE":
                items = self._since_mark()
                self.stack.append(tuple(items))
            case "APPEND":
                item = stack.pop()
                _of(list, stack[-1]).append(item)
            case "APPENDS":
                items = self._since_mark()
                _of(list, self.stack[-1]).extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _of(dict, stack[-1])[_of(str, key)] = value
            case "SETITEMS":
                items = self._since_mark()
                keys = [_of(str, key) for key in items[::2]]
                _of(dict, self.stack[-1]).update(zip(keys, items[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(self._admit(Name(*argument.split(" ", 1))))
            case "STACK_GLOBAL":
                member, module = stack.pop(), stack.pop()
                stack.append(self._admit(Name(_of(str, module), _of(str, member))))
            case "REDUCE" | "NEWOBJ":
                arguments, maker = stack.pop(), stack.pop()
                stack.append(Made(_of(Name, maker), _of(tuple, arguments)))
            case "BUILD":
                state, made = stack.pop(), _of(Made, stack[-1])
                made.state = state
                stack[-1] = self.complete(made, self.file)
            case _:
                raise PickleFault(f"it uses the opcode {name}, which has no place here")

    def _since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def _admit(self, name: Name) -> Name:
        if name not in self.admitted:
            raise PickleFault(f"it asks for {'.'.join(name)[:_SHOWN]!r}, which has no place here; nothing was run")
        return name


def _of(kind: type[Kind], value: Any) -> Kind:
    """The value, if it is exactly of that kind: a Name is a tuple, but not a tuple of the pickle's."""
    if type(value) is not kind:
        raise PickleFault(f"it puts a {type(value).__name__} where a {kind.__name__} belongs")
    return value


LARGEST = 1 << 16  # bytes, also once decompressed; a scaler of twelve leads takes under 2,000

_SCALER = frozenset(Name(f"sklearn.preprocessing.{one}", "StandardScaler") for one in ("_data", "data"))
_NDARRAY = Name("numpy", "ndarray")
_DTYPE = Name("numpy", "dtype")
_JOBLIB_ARRAY = Name("joblib.numpy_pickle", "NumpyArrayWrapper")
# NumPy 2 renamed its core; files of both spellings are about.
_CORES = ("numpy.core", "numpy._core")
_SCALAR = frozenset(Name(f"{core}.multiarray", "scalar") for core in _CORES)
_ARRAY = frozenset(Name(f"{core}.multiarray", "_reconstruct") for core in _CORES)
_BUFFER_ARRAY = frozenset(Name(f"{core}.numeric", "_frombuffer") for core in _CORES)
ADMITTED = _SCALER | _SCALAR | _ARRAY | _BUFFER_ARRAY | {_NDARRAY, _DTYPE, _JOBLIB_ARRAY}

_ZLIB_FIRST = b"\x78"
_GZIP_FIRST = b"\x1f\x8b"
_EITHER_WRAPPER = zlib.MAX_WBITS + 32  # zlib's code for "zlib or gzip, see the first bytes"


def read_released_scaler(path: Path) -> Scaler:
    """Reads `ecg_scaler.pkl` (joblib, plain or compressed with zlib or gzip; pickle) or `ecg_scaler.json`.

    Raises:
        StoreError: the file cannot be read.
        ContractError: it holds anything but a StandardScaler of twelve finite means and positive scales.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as fault:
        raise StoreError(f"scaler {path}: cannot be read: {fault.strerror}") from fault
    try:
        if path.suffix == ".json":
            return _checked(_from_json(data))
        return _checked(_from_pickle(_decompressed(data)))
    except (ValueError, TypeError, RecursionError) as fault:  # a PickleFault or ContractError is a ValueError
        raise ContractError(f"scaler {path}: refused: {fault}") from fault


def _from_json(data: bytes) -> Scaler:
    values = json.loads(data)
    if not isinstance(values, dict):
        raise ContractError("it holds no mapping")
    return Scaler.from_json(values)


def _decompressed(data: bytes) -> bytes:
    if data.startswith((_ZLIB_FIRST, _GZIP_FIRST)):
        try:
            data = zlib.decompressobj(_EITHER_WRAPPER).decompress(data, LARGEST + 1)
        except zlib.error as fault:
            raise PickleFault(f"damaged compression ({fault})") from fault
    if len(data) > LARGEST:
        raise PickleFault(f"over {LARGEST} bytes, far more than twelve leads need")
    return data


def _from_pickle(data: bytes) -> Scaler:
    made = read_pickle(data, ADMITTED, _with_array)
    if not isinstance(made, Made) or made.maker not in _SCALER or not isinstance(made.state, dict):
        raise PickleFault("it holds no StandardScaler")
    for option in ("with_mean", "with_std"):
        if made.state.get(option, True) is not True:
            raise PickleFault(f"its StandardScaler was fitted without {option}")
    return Scaler(*(_numbers(made.state.get(name), name) for name in ("mean_", "scale_")))


def _checked(scaler: Scaler) -> Scaler:
    for what, values in (("mean", scaler.mean), ("scale", scaler.scale)):
        if values.shape != (len(LEADS),):
            raise ContractError(f"it has {what}s of shape {values.shape}, expected ({len(LEADS)},)")
        if not np.isfinite(values).all():
            raise ContractError(f"a {what} is not finite")
    if not (scaler.scale > 0).all():
        raise ContractError("a scale is not positive")
    return scaler


def _numbers(value: Any, name: str) -> np.ndarray:
    """float64 values of an array, whichever way it was pickled."""
    if isinstance(value, Made) and value.maker in _ARRAY:
        value = _array_from_state(value.state)
    elif isinstance(value, Made) and value.maker in _BUFFER_ARRAY:
        value = _array(*_items(value.arguments, 4)[:3])
    if not isinstance(value, np.ndarray):
        raise PickleFault(f"its StandardScaler has no array '{name}': was it fitted?")
    return value.astype(np.float64)


def _with_array(made: Made, file: BytesIO) -> Any:
    """joblib keeps an array's bytes right behind the wrapper's state, after a byte that counts the padding."""
    if made.maker != _JOBLIB_ARRAY:
        return made
    if not isinstance(made.state, dict) or made.state.get("subclass") != _NDARRAY:
        raise PickleFault("it wraps something other than a plain array")
    dtype, shape = _dtype(made.state.get("dtype")), _shape(made.state.get("shape"))
    if made.state.get("numpy_array_alignment_bytes") is not None:
        file.seek(file.read(1)[0], 1)
    left = len(file.getbuffer()) - file.tell()
    if shape[0] * dtype.itemsize > left:
        raise PickleFault("it promises a longer array than it holds")
    return np.frombuffer(file.read(shape[0] * dtype.itemsize), dtype)


def _array_from_state(state: Any) -> np.ndarray:
    """From the state of numpy.ndarray: format, shape, dtype, Fortran order, bytes."""
    _, shape, dtype, _, content = _items(state, 5)
    return _array(content, dtype, shape)


def _array(content: Any, dtype: Any, shape: Any) -> np.ndarray:
    if not isinstance(content, bytes | bytearray):
        raise PickleFault("an array's content is not bytes")
    array = np.frombuffer(content, _dtype(dtype))
    if array.shape != _shape(shape):
        raise PickleFault("an array's shape does not fit its bytes")
    return array


def _shape(value: Any) -> tuple[int]:
    """(n,): a fitted StandardScaler has no other arrays."""
    (length,) = _items(value, 1)
    if type(length) is not int or length < 0:
        raise PickleFault("an array's length is not a count")
    return (length,)


def _dtype(value: Any) -> np.dtype:
    """A floating or integer dtype of 2 to 8 bytes; never of objects, whose values would be pickles again."""
    if not isinstance(value, Made) or value.maker != _DTYPE or not value.arguments:
        raise PickleFault("an array has no dtype")
    code = value.arguments[0]
    if code not in ("f2", "f4", "f8", "i4", "i8"):
        found = f"'{code[:8]}'" if isinstance(code, str) else "of no name"
        raise PickleFault(f"an array of dtype {found}, where numbers belong")
    order = "<" if value.state is None else _items(value.state, 8)[1]
    if order not in ("<", ">"):
        raise PickleFault("an array's byte order is unknown")
    return np.dtype(order + code)


def _items(value: Any, count: int) -> tuple[Any, ...]:
    """The value, if it is a tuple of so many items."""
    if type(value) is not tuple or len(value) != count:
        raise PickleFault(f"a tuple of {count} was expected")
    return value
