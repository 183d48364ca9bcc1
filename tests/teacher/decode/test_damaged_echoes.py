"""Damage of every kind to every encoding: frames or a Refusal, soon, in little memory."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoingecg.common import Refusal
from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.decode import decode_frames, read_header
from echoingecg.teacher.frames import read_clip
from helpers.cases.damage import FLIPS, INSERTS, KEPT, damaged
from helpers.echo.encoded_clips import FORMS, SIZE
from helpers.echo.ultrasound_files import WriteClip, jpeg

FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SECONDS = 20.0  # a file of some frames is read in a few hundredths; a busy machine needs room
TWO = TeacherSettings(max_frames=2)


def try_to_read(path: Path) -> str:
    """`read` or the reason; nothing else may happen."""
    start = monotonic()
    said = outcome(path)
    assert monotonic() - start < SECONDS
    assert str(path.parent) not in said
    return said.partition(":")[0]


def outcome(path: Path) -> str:
    try:
        frames = read_clip(path, TWO, 32)
    except Refusal as refusal:
        return str(refusal)
    assert frames.shape[1:] == (32, 32, 3)
    return "read"


@pytest.mark.parametrize("form", FORMS)
def test_damage_is_read_or_refused(write_clip: WriteClip, tmp_path: Path, moving: np.ndarray, form: str) -> None:
    path = FORMS[form](write_clip, tmp_path, moving)
    assert try_to_read(path) == "read"
    content = path.read_bytes()
    outcomes = set()

    @given(flips=FLIPS, inserts=INSERTS, kept=KEPT)
    @FUZZ
    def check(flips: list[tuple[float, int]], inserts: list, kept: float) -> None:
        path.write_bytes(damaged(content, flips, inserts, kept))
        outcomes.add(try_to_read(path))

    check()
    assert len(outcomes) > 1


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(132, 3500), st.integers(0, 255)), min_size=1, max_size=6))
def test_damage_to_a_real_header(shipped_clip: Path, tmp_path: Path, damage: list[tuple[int, int]]) -> None:
    content = bytearray(shipped_clip.read_bytes())
    for offset, value in damage:
        content[offset] = value
    path = tmp_path / "clip.dcm"
    path.write_bytes(content)
    try_to_read(path)


def _patched(content: bytes, marker: bytes, at: int, value: bytes) -> bytes:
    """Every place where the marker stands has the value put over `at` bytes after it."""
    out, place = bytearray(content), -1
    while (place := out.find(marker, place + 1)) >= 0:
        out[place + at : place + at + len(value)] = value
    assert bytes(out) != content
    return bytes(out)


LARGE = (16_000).to_bytes(2, "big") * 2
# Form, marker, offset after it, what is put there: sizes of frames, of elements and of items.
HUGE = {
    "rows and columns": ("uncompressed", b"\x28\0\x10\0US\2\0", 8, b"\xff\xff"),
    "number of frames": ("uncompressed", b"\x28\0\x08\0IS\2\0", 8, b"99"),
    "length of a needed element": ("uncompressed", b"\x18\0\x65\x10DS", 6, b"\xfe\xff"),
    "length of the regions": ("uncompressed", b"\x18\0\x11\x60SQ\0\0", 8, b"\xf0\xff\xff\xff"),
    "length of the pixels": ("uncompressed", b"\xe0\x7f\x10\0OB\0\0", 8, b"\xf0\xff\xff\x7f"),
    "length of a fragment": ("jpeg", b"\xfe\xff\0\xe0", 4, b"\xf0\xff\xff\x7f"),
    "size in jpeg": ("jpeg", b"\xff\xc0\0\x11\x08", 5, LARGE),
    "size in jpeg-ls": ("jpeg-ls", b"\xff\xf7\0\x11\x08", 5, LARGE),
    "size in jpeg 2000": ("jpeg 2000", b"\xff\x4f\xff\x51", 8, (16_000).to_bytes(4, "big") * 2),
    "offset of an rle segment": ("rle", (3).to_bytes(4, "little") + (64).to_bytes(4, "little"), 8, b"\xf0\xff\xff\x7f"),
    "size of avi": ("avi", b"avih", 40, (16_000).to_bytes(4, "little") * 2),
    "size of its streams": ("avi", b"strf", 12, (16_000).to_bytes(4, "little") * 2),
    "size in motion jpeg": ("avi", b"\xff\xc0\0\x11\x08", 5, LARGE),
    "size of mp4": ("mp4", b"mp4v\0\0\0\0\0\0\0\1", 32, LARGE),
    "samples of mp4": ("mp4", b"stsz\0\0\0\0", 8, b"\xff\xff\xff\x7f"),
}
_MEASURE = """
import json, sys
from pathlib import Path
from echoingecg.common.errors import Refusal
from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.frames import read_clip

def peak():
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])

found = {}
for path in sys.argv[1:]:
    before = peak()
    try:
        read_clip(Path(path), TeacherSettings(max_frames=2), 32)
        reason = "read"
    except Refusal as refusal:
        reason = refusal.reason
    found[Path(path).stem] = (reason, peak() - before)
print(json.dumps(found))
"""


def test_absurd_sizes_take_no_memory(write_clip: WriteClip, tmp_path: Path, moving: np.ndarray) -> None:
    """In a process of its own, as peak memory never falls; sound files first, so that all libraries are there."""
    sound = {form: write(write_clip, tmp_path, moving).read_bytes() for form, write in FORMS.items()}
    lying = {name: _patched(sound[form], *patch) for name, (form, *patch) in HUGE.items()}
    files = {name: tmp_path / f"{name}.bin" for name in (*sound, *lying)}
    for name, content in (sound | lying).items():
        files[name].write_bytes(content)
    call = [sys.executable, "-c", _MEASURE, *map(str, files.values())]
    found = json.loads(subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True).stdout)
    assert {found[form][0] for form in FORMS} == {"read"}
    for name in HUGE:
        reason, grown = found[name]
        assert (reason == "read") == (name in ("size of avi", "size of mp4")), "sizes in the streams count"
        assert grown < 16 << 10, f"{name}: {grown} kB"


def test_a_bomb_of_items_is_refused(write_clip: WriteClip, moving: np.ndarray) -> None:
    """Fragments of no length, eight bytes each."""
    items = b"\xfe\xff\0\xe0\0\0\0\0" * 200_000 + b"\xfe\xff\xdd\xe0\0\0\0\0"
    path = write_clip([jpeg(moving[0])] * 2, **SIZE, PixelData=items)
    tracemalloc.start()
    try:
        assert try_to_read(path) == "unreadable"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * len(items)


def test_a_long_clip_is_decoded_in_flat_memory(write_clip: WriteClip) -> None:
    frames = np.random.default_rng(3).integers(0, 256, (100, 120, 160, 3), dtype=np.uint8)
    path = write_clip(frames)
    frame, whole = frames[0].nbytes, frames.nbytes
    del frames
    tracemalloc.start()
    try:
        clip = read_header(path)
        assert sum(1 for _ in decode_frames(clip, range(clip.frames))) == 100
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * frame < whole / 8
