"""Damage that a reader of files must survive: bytes changed, absurd numbers put in or over, the end cut off."""

import numpy as np
from hypothesis import strategies as st

# Numbers, as text and as bytes, that a decoder must not believe.
ABSURD = (
    b"99999999999", b"4294967295", b"-1", b"0", b"1e308", b"nan", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f",
)  # fmt: skip
FLIPS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4)
INSERTS = st.lists(st.tuples(st.floats(0, 0.3), st.sampled_from(ABSURD), st.booleans()), max_size=2)
KEPT = st.one_of(st.just(1.0), st.floats(0, 1))


def damaged(content: bytes, flips: list[tuple[float, int]], inserts: list, kept: float) -> bytes:
    """The content, damaged at places given as shares of its length."""
    out = bytearray(content)
    for place, value in flips:
        out[int(place * (len(out) - 1))] = value
    for place, number, over in inserts:
        at = int(place * (len(out) - 1))
        out[at : at + (len(number) if over else 0)] = number
    return bytes(out[: int(kept * len(out))])


KINDS = ("flip", "byte", "zeros", "cut", "insert", "delete", "repeat", "digit")
_HEAD_BYTES = 3000  # half of all damage falls on the part where most formats state what follows


def damaged_once(content: bytes, random: np.random.Generator) -> tuple[bytes, int]:
    """The content with one damage, and how many of its bytes that touches; the same draw gives the same damage."""
    kind, out = KINDS[random.integers(len(KINDS))], bytearray(content)
    place = int(random.integers(len(out) if random.random() < 0.5 else min(len(out), _HEAD_BYTES)))
    size = int(random.choice([1, 2, 4, 16, 64, 512]))
    match kind:
        case "flip":
            out[place] ^= 1 << int(random.integers(8))
        case "byte":
            out[place] = int(random.integers(256))
        case "zeros":
            out[place : place + size] = bytes(len(out[place : place + size]))
        case "cut":
            del out[place:]
        case "insert":
            out[place:place] = random.bytes(size)
        case "delete":
            del out[place : place + size]
        case "repeat":
            out[place:place] = out[place : place + size]
        case "digit":
            digits = [at for at in range(place, min(len(out), place + 400)) if chr(out[at]).isdecimal()]
            if digits:
                out[digits[0]] = ord("0") + int(random.integers(10))
    return bytes(out), size if kind in ("zeros", "insert", "delete", "repeat") else 1
