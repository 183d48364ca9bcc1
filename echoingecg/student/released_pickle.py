"""A pickle read as data. Nothing is imported and nothing is called, whatever the file says.

The standard library's pickletools cuts the bytes into opcodes and runs none of them. The opcodes that a
fitted scikit-learn estimator needs (protocols 3 to 5) are carried out here on plain values; where a pickle
asks for a class or a function, its name is noted, and where it asks for a call, the call is noted.
"""

import pickletools
from collections.abc import Callable, Set
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, NamedTuple, TypeVar

_LITERALS: Final = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
    | {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
_CONSTANTS: Final[dict[str, Any]] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: Final[dict[str, type]] = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}
_SHOWN: Final = 80  # characters of a name that an error repeats

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
