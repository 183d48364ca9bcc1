"""The sector found in a clip: where it is, and that nothing printed beside it reaches an embedding."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from echoingecg.common import Refusal
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher.decode.dicom import read_dicom_header
from echoingecg.teacher.decode.pixels import decode_dicom_frames
from echoingecg.teacher.embed import Teacher
from echoingecg.teacher.frames import frame_indices, read_clip, read_unmasked, two_dimensional_region
from echoingecg.teacher.networks.load import load_teacher
from echoingecg.teacher.sector_mask import COMPARED_FRAMES, find_sector, resized_sector
from helpers.echo.screens import KINDS, Kind, printed_on, simulated
from helpers.echo.ultrasound_files import WriteClip
from helpers.paths import Recording

SIZE = 112
UNMASKED = TeacherSettings(mask=False)
REAL = ["pydicom/color3d_jpeg_baseline.dcm", *(f"go-dicom/I_0000{number}.dcm" for number in ("03", "07", "09", "27"))]
AWAY = 18  # px from the sector: a JPEG block and the rim of a chroma sample


@pytest.fixture(scope="module")
def demo() -> Teacher:
    return load_teacher(TeacherSettings(), "cpu")


def region_of(path: Path) -> np.ndarray:
    """The frames compared of a file's two-dimensional region, uint8 (frame, height, width, 3)."""
    clip = read_dicom_header(path)
    box = two_dimensional_region(clip)
    return np.stack([frame[box] for frame in decode_dicom_frames(clip, frame_indices(clip.frames, 1, COMPARED_FRAMES))])


def sector_of(frames: np.ndarray) -> np.ndarray:
    looks = frame_indices(len(frames), 1, COMPARED_FRAMES)
    return find_sector([cv2.cvtColor(frames[at], cv2.COLOR_RGB2GRAY) for at in looks])


def away_from(sector: np.ndarray, distance: int) -> np.ndarray:
    return cv2.distanceTransform((~sector).astype(np.uint8), cv2.DIST_L2, 5) > distance


def as_jpeg(frames: np.ndarray) -> np.ndarray:
    return np.stack([cv2.imdecode(cv2.imencode(".jpg", one, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], 1) for one in frames])


@pytest.mark.parametrize("coded", [False, True], ids=["plain", "jpeg"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_sector_is_the_simulators_own(kind: Kind, coded: bool) -> None:
    for seed, image_quality in ((1, None), (2, 0.05), (3, 0.95)):
        frames, true = simulated(kind, seed, image_quality)
        found = sector_of(as_jpeg(frames) if coded else frames)
        assert np.count_nonzero(found & true) / np.count_nonzero(found | true) > 0.95
        assert np.count_nonzero(found & ~true) < 0.005 * np.count_nonzero(true)


def check_embeddings(write_clip: WriteClip, demo: Teacher, frames: np.ndarray, free: np.ndarray) -> None:
    """Three other screens about the same sector lead to the same frames and embeddings, bit for bit."""
    blank = np.where(free[..., None], np.uint8(0), frames)
    screens = [read_clip(write_clip(one), TeacherSettings(), SIZE) for one in (frames, blank)]
    screens += [read_clip(write_clip(printed_on(frames, free, at)), TeacherSettings(), SIZE) for at in range(2)]
    unmasked = read_clip(write_clip(printed_on(frames, free, 0)), UNMASKED, SIZE)
    embeddings = [demo.embed(one[::8]) for one in (*screens, unmasked)]
    for other, embedding in zip(screens[1:], embeddings[1:-1], strict=True):
        np.testing.assert_array_equal(other, screens[0])
        np.testing.assert_array_equal(embedding, embeddings[0])
    assert np.abs(embeddings[-1].astype(float) - embeddings[0]).max() > 0.01, "unmasked, the screen shows"


@pytest.mark.parametrize("kind", KINDS)
def test_text_and_traces_beside_a_simulated_sector_do_not_change_embeddings(
    write_clip: WriteClip, demo: Teacher, kind: Kind
) -> None:
    frames, true = simulated(kind, 4)
    check_embeddings(write_clip, demo, frames[:COMPARED_FRAMES], away_from(true, 9))


def test_text_coded_as_jpeg_with_the_clip_stays_within_its_blocks() -> None:
    """At a distance of two blocks of 8 with halved colour, and the rim that colour is interpolated over."""
    frames, true = simulated("apical", 4)
    coded = as_jpeg(frames)
    printed = as_jpeg(printed_on(frames, away_from(true, 34), 1))
    assert (printed != coded).any()
    sector = sector_of(coded)
    np.testing.assert_array_equal(sector_of(printed), sector)
    np.testing.assert_array_equal(printed[:, sector], coded[:, sector])


@pytest.mark.parametrize("name", REAL)
def test_text_and_traces_beside_a_real_sector_do_not_change_embeddings(
    recording: Recording, write_clip: WriteClip, demo: Teacher, name: str
) -> None:
    frames = region_of(recording(f"echo_dicom/{name}"))
    check_embeddings(write_clip, demo, frames, away_from(sector_of(frames), AWAY))


def test_still_text_may_stand_right_beside_the_sector() -> None:
    frames, true = simulated("apical", 5)
    beside = away_from(true, 1)
    printed = frames.copy()
    printed[:, beside] = printed_on(frames[:1], beside, 1)[0][beside]
    np.testing.assert_array_equal(sector_of(printed), sector_of(frames))


def test_traces_that_roll_into_the_sector_are_refused_not_shown() -> None:
    frames, true = simulated("parasternal", 5)
    for seed in range(3):
        with pytest.raises(Refusal, match="of its outline"):
            sector_of(as_jpeg(printed_on(frames, away_from(true, 1), seed)))


@pytest.mark.parametrize("name", REAL)
def test_pixels_within_are_those_of_the_unmasked_clip_and_black_outside(recording: Recording, name: str) -> None:
    path, masking = recording(f"echo_dicom/{name}"), TeacherSettings(max_frames=4)
    masked, (whole, inside) = read_clip(path, masking, SIZE), read_unmasked(path, masking, SIZE)
    np.testing.assert_array_equal(whole, read_clip(path, TeacherSettings(mask=False, max_frames=4), SIZE))
    np.testing.assert_array_equal(masked[:, inside], whole[:, inside])
    assert not masked[:, ~inside].any()
    assert 0.5 < inside.mean() < 0.95


def test_the_real_apical_clip_loses_marks_and_keeps_the_heart(recording: Recording) -> None:
    frames = region_of(recording("echo_dicom/pydicom/color3d_jpeg_baseline.dcm"))
    sector = sector_of(frames)
    bright = frames.max(axis=(0, 3)) > 60
    marks = {"dot": np.s_[0:18, 288:304], "tick": np.s_[8:14, 500:512], "depth": np.s_[365:384, 488:510]}
    for name, at in marks.items():
        assert bright[at].any(), name
        assert not sector[at].any(), name
    kept = bright.copy()
    for at in marks.values():
        kept[at] = False
    assert np.count_nonzero(kept & sector) / np.count_nonzero(kept) > 0.998


def test_frames_do_not_depend_on_which_others_are_asked_for(write_clip: WriteClip) -> None:
    path = write_clip(simulated("apical", 6)[0])
    whole = read_clip(path, TeacherSettings(), SIZE)
    np.testing.assert_array_equal(read_clip(path, TeacherSettings(max_frames=1), SIZE), whole[:1])
    np.testing.assert_array_equal(read_clip(path, TeacherSettings(frame_stride=3), SIZE), whole[::3])


def test_a_clip_in_which_no_sector_moves_is_refused(write_clip: WriteClip, moving: np.ndarray) -> None:
    black = np.zeros((20, 120, 160, 3), np.uint8)
    still = np.repeat(simulated("apical", 7)[0][:1], 20, axis=0)
    for frames in (black, still, printed_on(black, np.ones((120, 160), bool), 1)):
        with pytest.raises(Refusal) as caught:
            read_unmasked(write_clip(frames), TeacherSettings(), SIZE)
        assert caught.value.reason == "no_sector"
    frames, inside = read_unmasked(write_clip(still), UNMASKED, SIZE)
    assert frames.any()
    assert inside.all()


def flicker(mask: np.ndarray, levels: int = 100, changes: int = COMPARED_FRAMES) -> list[np.ndarray]:
    """Frames in which the masked pixels change by `levels` from frame to frame, for the first `changes` pairs."""
    on = [min(index, changes) % 2 for index in range(COMPARED_FRAMES)]
    return [(mask * levels * bright).astype(np.uint8) for bright in on]


def band(columns: int, notch: int = 0, width: int = 160) -> np.ndarray:
    """A band over the full height of 120 rows, with a notch of 20 rows in its right edge."""
    mask = np.zeros((120, width), bool)
    mask[:, :columns] = True
    mask[50:70, columns - notch : columns] = False
    return mask


def accepted(frames: list[np.ndarray]) -> bool:
    try:
        return bool(find_sector(frames).any())
    except Refusal:
        return False


def test_a_sector_fills_a_fifth_of_the_region_or_more() -> None:
    assert accepted(flicker(band(200, width=1000)))
    assert not accepted(flicker(band(199, width=1000)))


def test_a_sector_fills_its_outline_to_93_percent_or_more() -> None:
    """A notch of 20 x 33 of the band's 120 x 80 px leaves 93.1 %, one column more 92.9 %."""
    assert accepted(flicker(band(80, notch=33)))
    assert not accepted(flicker(band(80, notch=34)))


def test_a_pixel_belongs_to_the_sector_if_it_changes_by_two_levels_in_a_third_of_the_pairs() -> None:
    assert accepted(flicker(band(80), levels=2))
    assert not accepted(flicker(band(80), levels=1))
    assert accepted(flicker(band(80), changes=5))  # of 15 pairs
    assert not accepted(flicker(band(80), changes=4))


def test_a_rim_that_changes_less_than_two_fifths_as_much_is_the_halo_of_jpeg() -> None:
    rim = band(88) & ~band(80)
    for share, kept in ((39, 80), (41, 88)):  # columns kept, but for the outermost pixel
        frames = [core + edge for core, edge in zip(flicker(band(80)), flicker(rim, share), strict=True)]
        assert np.count_nonzero(find_sector(frames)[60]) == pytest.approx(kept, abs=2)


@settings(max_examples=60, deadline=None)
@given(st.integers(16, 90), st.integers(16, 90), st.integers(8, 100), st.data())
def test_nothing_outside_the_sector_enters_a_kept_pixel(
    height: int, width: int, size: int, data: st.DataObject
) -> None:
    corners = data.draw(arrays(np.int32, (3, 1, 2), elements=st.integers(0, 90)))
    sector = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), cv2.convexHull(corners), 1) > 0
    rng = np.random.default_rng(height)
    one, other = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    other[sector] = one[sector]
    kept = resized_sector(sector, size)
    small, changed = (cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) for image in (one, other))
    np.testing.assert_array_equal(small[kept], changed[kept])
    assert resized_sector(np.ones((height, width), bool), size).all()
