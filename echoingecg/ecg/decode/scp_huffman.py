"""Huffman codes of SCP-ECG (EN 1064, section 2 and annex C): the default table and a file's own."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from echoingecg.common.errors import Refusal

DEFAULT: Final = 19999  # stands for a count of tables and means the standard's own
_ROW: Final = struct.Struct("<BBBhI")


@dataclass(frozen=True)
class Code:
    """One row of a table.

    Attributes:
        prefix: bits of the code, at most 32.
        literal: bits after it that hold the value itself; 0 when `value` is the value.
        switch: whether `value` is the number of the table to go on with.
        value: the code's value.
        bits: the code, its first bit lowest.
    """

    prefix: int
    literal: int
    switch: bool
    value: int
    bits: int


Table = dict[tuple[int, int], Code]  # by (prefix, bits)


def _table(codes: Sequence[Code]) -> Table:
    return {(code.prefix, code.bits): code for code in codes}


def default_table() -> Table:
    """0 is `0`; +-n, to 8, are n ones, a zero and the sign; 9 or 10 ones go before 8 or 16 literal bits."""
    codes = [Code(1, 0, False, 0, 0)]
    for size in range(1, 9):
        ones = (1 << size) - 1
        codes.append(Code(size + 2, 0, False, size, ones))
        codes.append(Code(size + 2, 0, False, -size, ones | 1 << size + 1))
    return _table([*codes, Code(10, 8, False, 0, (1 << 9) - 1), Code(10, 16, False, 0, (1 << 10) - 1)])


def read_tables(body: bytes) -> list[Table]:
    """Section 2. Raises Refusal(unreadable)."""
    if len(body) < 2:
        raise Refusal("unreadable", "the section of Huffman tables ends early")
    (count,) = struct.unpack_from("<H", body)
    if count == DEFAULT:
        return [default_table()]
    tables, at = [], 2
    for _ in range(count):
        if at + 2 > len(body):
            raise Refusal("unreadable", "the section of Huffman tables ends early")
        (rows,) = struct.unpack_from("<H", body, at)
        end = at + 2 + rows * _ROW.size
        if end > len(body):
            raise Refusal("unreadable", "a Huffman table ends early")
        tables.append(_table([_code(*row) for row in _ROW.iter_unpack(body[at + 2 : end])]))
        at = end
    if not tables:
        raise Refusal("unreadable", "no Huffman table")
    return tables


def _code(prefix: int, whole: int, mode: int, value: int, bits: int) -> Code:
    if not 1 <= prefix <= 32 or not 0 <= whole - prefix <= 32 or mode > 1 or bits >> prefix:
        raise Refusal("unreadable", "a Huffman code that the format does not have")
    return Code(prefix, whole - prefix, mode == 0, value, bits)


def decode_huffman(data: bytes, tables: list[Table], most: int) -> np.ndarray:
    """At most `most` values, fewer when the data end. int64 (time,).

    Raises:
        Refusal: unreadable when bits are no code of the table in use.
    """
    bits = np.unpackbits(np.frombuffer(data, np.uint8)).tolist()
    out: list[int] = []
    table, at = tables[0], 0
    while len(out) < most:
        word = length = 0
        code = None
        while code is None and at < len(bits) and length < 32:
            word |= bits[at] << length
            at, length = at + 1, length + 1
            code = table.get((length, word))
        if code is None:
            if at < len(bits):
                raise Refusal("unreadable", "bits that are no Huffman code")
            break
        if code.switch:
            if not 1 <= code.value <= len(tables):
                raise Refusal("unreadable", "a switch to a Huffman table that is not there")
            table = tables[code.value - 1]
            continue
        value = code.value
        if code.literal:
            if at + code.literal > len(bits):
                break
            value = 0
            for bit in bits[at : at + code.literal]:
                value = value << 1 | bit
            value -= bits[at] << code.literal
            at += code.literal
        out.append(value)
    return np.array(out, dtype=np.int64)
