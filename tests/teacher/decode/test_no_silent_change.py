"""Clips of every encoding, damaged at random: no crash, no hang, little memory, and no change without a reason.

What a damaged file still gives is the clip as it was, or differs in what the damage touches: values of plain pixels,
the frame whose stream holds the byte (and in MPEG-4 those that are built on it), or a fact that stands once in the
file, such as a palette, a region or the number of frames in a video's index. No format has a checksum for these.
"""

import itertools
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import pytest

from echoingecg.common import Refusal, result_or_refusal
from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.decode import decode_frames, dicom, pixels, read_header
from echoingecg.teacher.frames import read_clip
from helpers.cases.damage import damaged_once
from helpers.echo.encoded_clips import FORMS
from helpers.echo.ultrasound_files import WriteClip
from helpers.paths import DATA

PLAIN, BUILT_ON_OTHERS = ("uncompressed", "palette"), ("mp4", "h264")
SECONDS, MEMORY = 20.0, 64 << 20  # for files of 2 to 220 kB, whose frames take up to 7 MB


class Read(NamedTuple):
    """Facts of the header, and every frame: uint8 (frame, height, width, 3)."""

    facts: tuple[Any, ...]
    frames: np.ndarray


def read(path: Path) -> Read:
    clip = read_header(path)
    frames = np.stack(list(decode_frames(clip, range(clip.frames))))
    return Read((clip.frames, clip.height, clip.width, clip.regions, clip.frame_rate), frames)


@pytest.fixture
def clips(write_clip: WriteClip, tmp_path: Path, shipped_clip: Path) -> dict[str, Path]:
    """A small file of every encoding, a real one, and one of H.264; by form."""
    coarse = np.random.default_rng(7).integers(0, 256, (6, 12, 16, 3), dtype=np.uint8)
    frames = np.stack([cv2.resize(frame, (64, 48)) for frame in coarse])
    files = {"real": shipped_clip.read_bytes(), "h264": (DATA / "h264_b_frames.mp4").read_bytes()}
    endings = {"real": ".dcm", "h264": ".mp4"}
    for form, write in FORMS.items():
        path = write(write_clip, tmp_path, frames)
        files[form], endings[form] = path.read_bytes(), path.suffix
    paths = {form: tmp_path / f"{form}{endings[form]}" for form in files}
    for form, path in paths.items():
        path.write_bytes(files[form])
    return paths


def stored(path: Path) -> list[tuple[int, int]]:
    """First and last byte of each frame as it is stored; of a video in the order of the file."""
    if path.suffix == ".dcm":
        clip = read_header(path)
        assert isinstance(clip, dicom.DicomClip)
        if clip.pixels_length is not None:
            size = clip.pixels_length // clip.frames
            return [(clip.pixels_offset + at * size, clip.pixels_offset + (at + 1) * size) for at in range(clip.frames)]
        with dicom.WholeFile(path) as file:
            return [(parts[0][0], sum(parts[-1])) for parts in pixels._locate_frames(file, clip)]
    with av.open(str(path)) as video:
        return [(p.pos, p.pos + p.size) for p in video.demux(video.streams.video[0]) if p.pos is not None and p.size]


def reason_of(form: str, whole: Read, seen: Read, places: list[tuple[int, int]], damage: tuple[int, int]) -> str:
    """Why the clip changed; empty where nothing explains it.

    Args:
        places: of the frames in the file.
        damage: the first byte that differs, and how many are touched.
    """
    first, touched = damage
    hit = [at for at, (start, end) in enumerate(places) if first < end and first + touched > start]
    if not hit:
        return "a fact that stands once"
    if seen.facts != whole.facts:
        return ""
    differs = seen.frames != whole.frames
    changed = np.flatnonzero(differs.reshape(len(differs), -1).any(axis=1)).tolist()
    if form in PLAIN:
        return "values of pixels" if np.count_nonzero(differs) <= 3 * touched else ""
    if form in BUILT_ON_OTHERS:
        return "a frame and those built on it"
    return "the frame that is hit" if set(changed) <= set(hit) else ""


def outcomes(clips: dict[str, Path], count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Damages each form in turn; yields the form, and refused, as it was, or why it changed."""
    wholes = {form: (path.read_bytes(), read(path), stored(path)) for form, path in clips.items()}
    for number, (form, path) in zip(range(count), itertools.cycle(clips.items()), strict=False):
        content, whole, places = wholes[form]
        damaged, touched = damaged_once(content, np.random.default_rng((seed, number)))
        path.write_bytes(damaged)
        start = monotonic()
        tracemalloc.start()
        seen = result_or_refusal(lambda path=path: read(path))
        result_or_refusal(lambda path=path: read_clip(path, TeacherSettings(max_frames=2), 32))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert monotonic() - start < SECONDS, (form, seed, number)
        assert peak < MEMORY, (form, seed, number)
        if isinstance(seen, Refusal):
            assert str(path.parent) not in str(seen)
            yield form, "refused"
        elif seen.facts == whole.facts and np.array_equal(seen.frames, whole.frames):
            yield form, "as it was"
        else:
            first = next((at for at, (a, b) in enumerate(zip(content, damaged, strict=False)) if a != b), len(damaged))
            reason = reason_of(form, whole, seen, places, (first, touched))
            assert reason, (form, seed, number)
            yield form, reason


@pytest.mark.parametrize(("count", "seed"), [(220, 1), pytest.param(2750, 10, marks=pytest.mark.slow)])
def test_a_damaged_clip_is_refused_or_its_change_explained(
    clips: dict[str, Path], count: int, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = Counter(outcomes(clips, count, seed))
    assert {form for form, outcome in counts if outcome == "refused"} == set(clips)
    if count > 1000:
        with capsys.disabled():
            for (form, outcome), files in sorted(counts.items()):
                print(f"\n{form:13} {outcome:30} {files}", end="")  # noqa: T201 - a run of minutes
