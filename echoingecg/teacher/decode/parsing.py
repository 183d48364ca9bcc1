"""Faults of the parsers become refusals; a file is read no further than it goes."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Final

import cv2
from pydicom.errors import BytesLengthException, InvalidDicomError

from echoingecg.common.errors import Refusal
from echoingecg.unquoted import unquoted

# What damage makes pydicom, Pillow and the codecs raise.
PARSE_FAULTS: Final = (
    InvalidDicomError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    OverflowError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    cv2.error,
    struct.error,
    zlib.error,
)


class WholeFile(BufferedReader):
    """An opened file. A read beyond its end takes no memory for what is not there.

    Attributes:
        size: bytes.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(FileIO(path))
        self.size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(self.size - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


@contextmanager
def parsing(what: str) -> Iterator[None]:
    """As `refusing`; warnings are dropped, as they may quote the file's values."""
    with unquoted(), refusing(what):
        yield


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """A parser's faults become a Refusal.

    Raises:
        Refusal: `unreadable`.
        OSError: the disk's own, which has an errno; a parser's has none.
    """
    try:
        yield
    except Refusal:
        raise
    except PARSE_FAULTS as fault:
        if isinstance(fault, OSError) and fault.errno is not None:
            raise
        raise Refusal("unreadable", f"{what} cannot be parsed ({type(fault).__name__})") from fault
