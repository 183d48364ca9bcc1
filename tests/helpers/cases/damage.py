"""Damage that a reader of files must survive: bytes changed, absurd numbers put in or over, the end cut off."""

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
