"""SCP-ECG files (EN 1064), written section by section."""

import binascii
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from helpers.ecg.wfdb_files import CLINICAL

NUMBERS = {"I": 1, "II": 2, "III": 61, "aVR": 62, "aVL": 63, "aVF": 64} | {f"V{n}": n + 2 for n in range(1, 7)}
Encoder = Callable[[Sequence[int]], bytes]


def default_bits(value: int) -> str:
    """The standard's default Huffman code of a value, as it is written."""
    if abs(value) <= 8:
        return "1" * abs(value) + "0" + "01"[value < 0] if value else "0"
    if -128 <= value <= 127:
        return "1" * 9 + "0" + f"{value & 0xFF:08b}"
    return "1" * 10 + f"{value & 0xFFFF:016b}"


def to_bytes(bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def default_huffman(values: Sequence[int]) -> bytes:
    return to_bytes("".join(map(default_bits, values)))


def plain(values: Sequence[int]) -> bytes:
    return np.array(values, "<i2").tobytes()


def table_row(code: str, value: int, literal: int = 0, switch: bool = False) -> bytes:
    """A row of a table of one's own: the code's first bit goes lowest."""
    return struct.pack("<BBBhI", len(code), len(code) + literal, not switch, value, int(code[::-1], 2))


def differences(values: np.ndarray, order: int) -> list[int]:
    """Values, or their first or second differences after as many values."""
    return [*values[:order].tolist(), *np.diff(values, order).tolist()]


def section(number: int, body: bytes, reserved: bytes = bytes(6)) -> bytes:
    body += b"\0" * (len(body) % 2)
    rest = struct.pack("<HIBB", number, 16 + len(body), 20, 20) + reserved + body
    return struct.pack("<H", binascii.crc_hqx(rest, 0xFFFF)) + rest


def record(bodies: dict[int, bytes]) -> bytes:
    """The whole file of these section bodies."""
    parts = {number: section(number, body) for number, body in sorted(bodies.items())}
    at, pointers = 6 + 16 + 12 * 10, b""
    pointers += struct.pack("<HII", 0, 136, 7)
    for number in range(1, 12):
        size = len(parts.get(number, b""))
        pointers += struct.pack("<HII", number, size, at + 1 if size else 0)
        at += size
    whole = section(0, pointers, b"SCPECG") + b"".join(parts.values())
    rest = struct.pack("<I", 6 + len(whole)) + whole
    return struct.pack("<H", binascii.crc_hqx(rest, 0xFFFF)) + rest


def leads_body(ends: Sequence[tuple[int, int]], names: Sequence[str], subtracted: bool) -> bytes:
    body = bytes((len(names), int(subtracted)))
    return body + b"".join(
        struct.pack("<IIB", start, end, NUMBERS[name]) for (start, end), name in zip(ends, names, strict=True)
    )


def samples_body(
    rows: Sequence[Sequence[int]], encode: Encoder, nanovolts: int, microseconds: int, order: int, bimodal: bool = False
) -> bytes:
    parts = [encode(row) for row in rows]
    head = struct.pack("<HHBB", nanovolts, microseconds, order, bimodal)
    return head + struct.pack(f"<{len(parts)}H", *map(len, parts)) + b"".join(parts)


def write_scp(
    folder: Path,
    steps: np.ndarray,
    order: int = 2,
    encode: Encoder = default_huffman,
    tables: bytes | None = struct.pack("<H", 19999),
    names: Sequence[str] = CLINICAL,
    nanovolts: int = 5000,
    patient: bytes = b"",
) -> Path:
    """500 Hz; `patient` is the body of section 1, empty for none, `tables` that of section 2, None for none."""
    rows = [differences(row, order) for row in steps]
    bodies = {3: leads_body([(1, steps.shape[1])] * len(names), names, False)}
    bodies[6] = samples_body(rows, encode, nanovolts, 2000, order)
    if tables is not None:
        bodies[2] = tables
    if patient:
        bodies[1] = patient
    (folder / "ecg.scp").write_bytes(record(bodies))
    return folder / "ecg.scp"
