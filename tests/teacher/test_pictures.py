"""Contact sheets: what a person sees of one file, and what may be published."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from echoingecg.common import Refusal
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher.frames import frame_indices, read_clip
from echoingecg.teacher.pictures import contact_sheet, draw_embedding_map, masked_contact_sheet, without_print
from helpers.echo.screens import printed_on, simulated
from helpers.echo.ultrasound_files import PACKAGED, WriteClip
from helpers.privacy.personal_export import PRINTED, write_on_heart
from helpers.privacy.searching import NEEDS_OCR, is_legible


def pixels(png: bytes | None) -> np.ndarray:
    assert png is not None
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


@pytest.fixture
def clip(write_clip: WriteClip) -> Path:
    frames, true = simulated("apical", 8)
    far = cv2.distanceTransform((~true).astype(np.uint8), cv2.DIST_L2, 5) > 12
    return write_clip(printed_on(frames, far, 1))


def test_a_published_sheet_is_the_masked_clip_and_an_outline(clip: Path) -> None:
    sheet = pixels(
        masked_contact_sheet([clip, clip.with_name("gone.dcm"), clip], TeacherSettings(frame_stride=2), False)
    )
    assert sheet.shape == (2 * 128, 4 * 128, 3)
    seen = read_clip(clip, TeacherSettings(), 120)
    taken = frame_indices(len(seen), 1, 4)
    shown = np.stack([sheet[4:124, 128 * at + 4 : 128 * at + 124] for at in range(4)])
    outline = (shown == (255, 210, 0)).all(axis=-1)
    assert 0.01 < outline.mean() < 0.05
    np.testing.assert_array_equal(shown[~outline], without_print(seen, False)[taken][~outline])
    np.testing.assert_array_equal(sheet[:128], sheet[128:])
    assert masked_contact_sheet([], TeacherSettings(), False) is None


def test_without_a_mask_nothing_may_be_published(clip: Path) -> None:
    with pytest.raises(AssertionError):
        masked_contact_sheet([clip], TeacherSettings(mask=False), True)


def test_the_sheet_of_a_file_shows_what_is_printed_above_and_the_teachers_frames_below(clip: Path) -> None:
    before, after = np.split(pixels(contact_sheet(clip, TeacherSettings()).png), 2)
    seen = read_clip(clip, TeacherSettings(max_frames=4), 224)
    for at in range(4):
        np.testing.assert_array_equal(after[4:228, 232 * at + 4 : 232 * at + 228], seen[at])
    black = ~after.any(axis=-1)
    assert (before[black].max(axis=-1) > 100).mean() > 0.02, "text and traces"


def test_the_map_of_studies() -> None:
    rng = np.random.default_rng(1)
    mean, values = rng.standard_normal((9, 5)).astype(np.float32), np.linspace(20, 70, 9)
    drawn = draw_embedding_map(mean, values, "lvef", "%")
    assert drawn == draw_embedding_map(mean, values, "lvef", "%")
    assert drawn != draw_embedding_map(mean, values[::-1], "lvef", "%")
    assert pixels(draw_embedding_map(mean, np.full(9, np.nan), "no measurement", "")).size
    assert draw_embedding_map(mean[:2], values[:2], "lvef", "%") is None


def test_a_refused_file_is_drawn_with_the_reason_and_what_may_be_set(shipped_clip: Path) -> None:
    sheet = contact_sheet(shipped_clip, TeacherSettings())
    assert sheet.remarks[0].startswith("refused, stale_region: a region (84, 31)-(595, 414)")
    assert "teacher.stale_region=rescale" in sheet.remarks[1]
    shown = pixels(sheet.png)
    assert shown.shape[0] > 232
    assert shown[:232].max() > 150, "frames as decoded"
    assert shown[232:].max() > 200, "lines of text"
    assert contact_sheet(shipped_clip, TeacherSettings(stale_region="rescale")).remarks == ()
    with pytest.raises(Refusal, match="no_pixel_data"):
        contact_sheet(PACKAGED / "waveform_ecg.dcm", TeacherSettings())


def test_little_of_a_real_heart_is_taken_for_print() -> None:
    seen = read_clip(PACKAGED / "examples_ybr_color.dcm", TeacherSettings(max_frames=16, stale_region="rescale"), 120)
    body = seen.any(axis=(0, 3))
    changed = (without_print(seen, False) != seen).any(axis=(0, 3))
    assert (changed & body).sum() < 0.05 * body.sum()


@NEEDS_OCR
@pytest.mark.parametrize("seed", [16, 17, 18])
def test_a_program_that_reads_print_finds_none(seed: int) -> None:
    frames, _ = simulated("apical", seed)
    named = np.stack([cv2.resize(frame, (120, 120), interpolation=cv2.INTER_AREA) for frame in frames])
    for frame in named:
        write_on_heart(frame)
    assert is_legible(PRINTED, named.min(axis=0).min(axis=-1))
    for coarse in (False, True):
        kept = without_print(named.copy(), coarse)
        assert not is_legible(PRINTED, kept.min(axis=0).min(axis=-1))
        assert not is_legible(PRINTED, kept[0].max(axis=-1))


@pytest.mark.parametrize("name", ["MRS DOE", "12/03/1961"])
def test_a_name_on_the_heart_is_not_legible(name: str) -> None:
    """Correlation of each sheet with the letters, against the frames with the name on them."""
    frames, _ = simulated("apical", 16)
    plain = np.stack([cv2.resize(frame, (120, 120), interpolation=cv2.INTER_AREA) for frame in frames])
    letters = np.zeros((120, 120), np.uint8)
    cv2.putText(letters, name, (25, 70), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 255, 1, cv2.LINE_AA)
    named = np.maximum(plain, letters[None, ..., None])
    legible = lambda sheet: float(np.corrcoef(sheet.mean(axis=(0, 3)).ravel(), letters.ravel())[0, 1])  # noqa: E731
    assert legible(named) > 0.5
    for coarse in (False, True):
        assert abs(legible(without_print(named, coarse))) < 0.12
