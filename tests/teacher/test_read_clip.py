"""Made echo files: which frames and region are read, and what is refused for which reason."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, XRayAngiographicImageStorage

from echoingecg.common import Refusal
from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.frames import read_clip
from helpers.echo.ultrasound_files import WriteClip, jpeg, region
from helpers.paths import Recording

SETTINGS = TeacherSettings(mask=False)


def refusal(path: Path, **fields: int) -> str:
    with pytest.raises(Refusal) as caught:
        read_clip(path, TeacherSettings(**fields, stale_region="rescale"), 32)
    assert path.name not in caught.value.detail
    return caught.value.reason


def test_area_resize_of_a_whole_ratio_is_the_mean_of_blocks(write_clip: WriteClip, moving: np.ndarray) -> None:
    square = moving[:, :, :48]
    frames = read_clip(write_clip(square), SETTINGS, 16)
    blocks = square.reshape(6, 16, 3, 16, 3, 3).mean(axis=(2, 4))
    assert np.abs(frames - blocks).max() <= 0.51


def test_sampling_takes_the_frames_asked_for(write_clip: WriteClip, moving: np.ndarray) -> None:
    path = write_clip(moving[:, :, :48])
    taken = read_clip(path, TeacherSettings(frame_stride=2, max_frames=2), 48)
    np.testing.assert_array_equal(taken, moving[[0, 4], :, :48])


def test_frames_are_taken_by_the_second(write_clip: WriteClip, moving: np.ndarray) -> None:
    path = write_clip(moving[:, :, :48])
    settings = TeacherSettings(frames_per_second=15)
    with pytest.raises(Refusal, match="frames a second are not stated") as caught:
        read_clip(path, settings, 48)
    assert caught.value.reason == "no_frame_rate"
    dataset = pydicom.dcmread(path)
    dataset.FrameTime = "20"  # ms
    dataset.save_as(path)
    np.testing.assert_array_equal(read_clip(path, settings, 48), moving[[0, 3], :, :48])  # at 0 and at 67 ms
    limited = settings.model_copy(update={"max_frames": 1, "frames_from": "start"})
    np.testing.assert_array_equal(read_clip(path, limited, 48), moving[:1, :, :48])
    fast = TeacherSettings(frames_per_second=500)
    np.testing.assert_array_equal(read_clip(path, fast, 48), moving[:, :, :48])


def test_strides_and_frames_by_the_second_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="frame_stride: is 1 where frames_per_second is given"):
        TeacherSettings(frames_per_second=15, frame_stride=2)


def test_files_that_are_no_dicom_are_refused(tmp_path: Path, recording: Recording) -> None:
    path = tmp_path / "clip.dcm"
    path.write_bytes(b"")
    assert refusal(path) == "unreadable"
    path.write_bytes(b"\x00" * 5000)
    assert refusal(path) == "unknown_format"
    path.write_bytes(b"\x00" * 128 + b"DICM" + b"\xff" * 5000)
    assert refusal(path) == "unreadable"
    assert refusal(recording("ecg_dicom/pydicom/waveform_ecg.dcm")) == "no_pixel_data"


def test_a_header_without_a_needed_attribute_is_refused(write_clip: WriteClip, moving: np.ndarray) -> None:
    path = write_clip(moving)
    dataset = pydicom.dcmread(path)
    del dataset.Rows
    dataset.save_as(path)
    assert refusal(path) == "unreadable"


def test_a_file_that_is_absent_is_a_fault_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_clip(tmp_path / "none.dcm", SETTINGS, 32)


def test_empty_or_absent_pixels_are_refused(write_clip: WriteClip, moving: np.ndarray) -> None:
    assert refusal(write_clip(moving, PixelData=b"")) == "no_pixel_data"
    path = write_clip(moving)
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    assert refusal(path) == "no_pixel_data"


@pytest.mark.parametrize("share", [0.3, 0.7, 0.999])
def test_truncated_files_are_refused(shipped_clip: Path, tmp_path: Path, share: float) -> None:
    content = shipped_clip.read_bytes()
    path = tmp_path / "clip.dcm"
    path.write_bytes(content[: int(len(content) * share)])
    assert refusal(path, max_frames=2) == "truncated"


def test_truncated_uncompressed_pixels_are_refused(write_clip: WriteClip, moving: np.ndarray) -> None:
    path = write_clip(moving)
    path.write_bytes(path.read_bytes()[:-500])
    assert refusal(path, max_frames=2) == "truncated"


def test_a_jpeg_frame_cut_within_its_fragment_is_refused(write_clip: WriteClip, moving: np.ndarray) -> None:
    whole = jpeg(moving[0])
    assert refusal(write_clip([whole, whole, whole[:-200]], Rows=48, Columns=64)) == "truncated"


@pytest.mark.parametrize(
    ("stated", "reason"), [(31, "truncated"), (9000, "truncated"), (29, "unreadable"), (10**9, "unreadable")]
)
def test_a_lying_number_of_frames_is_refused(shipped_clip: Path, tmp_path: Path, stated: int, reason: str) -> None:
    dataset = pydicom.dcmread(shipped_clip)
    dataset.NumberOfFrames = stated
    dataset.save_as(tmp_path / "clip.dcm")
    assert refusal(tmp_path / "clip.dcm", max_frames=2) == reason


def test_stills_and_short_clips_are_no_cine(write_clip: WriteClip, moving: np.ndarray) -> None:
    assert refusal(write_clip(moving[:1])) == "not_a_cine"
    assert refusal(write_clip(moving[:1], NumberOfFrames=None)) == "not_a_cine"
    assert refusal(write_clip(moving), min_frames=7) == "not_a_cine"
    assert read_clip(write_clip(moving), TeacherSettings(min_frames=6), 32).shape[0] == 6


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Rows": 60000, "Columns": 60000}, "unsupported_pixels"),
        ({"Rows": 0, "SequenceOfUltrasoundRegions": []}, "unsupported_pixels"),
        ({"BitsAllocated": 16}, "unsupported_pixels"),
        ({"PhotometricInterpretation": "HSV"}, "unsupported_pixels"),
        ({"PixelRepresentation": 1}, "unsupported_pixels"),
        ({"SamplesPerPixel": 1}, "unsupported_pixels"),
        ({"Rows": 4000, "Columns": 4000}, "truncated"),
        ({"SequenceOfUltrasoundRegions": [], "SOPClassUID": XRayAngiographicImageStorage}, "no_region"),
        ({"SequenceOfUltrasoundRegions": [region(4, 0, 0, 63, 47)]}, "no_region"),
        ({"SequenceOfUltrasoundRegions": [region(1, 70, 0, 8000, 47)]}, "stale_region"),
        ({"SequenceOfUltrasoundRegions": [region(1, 63, 47, 0, 0)]}, "no_region"),
        ({"SequenceOfUltrasoundRegions": [region(2, 0, 0, 63, 47), region(3, 0, 0, 63, 47)]}, "not_a_cine"),
    ],
)
def test_headers_that_cannot_be_served_are_refused(
    write_clip: WriteClip, moving: np.ndarray, attributes: dict[str, object], reason: str
) -> None:
    if "SequenceOfUltrasoundRegions" in attributes:
        regions = pydicom.Sequence(attributes["SequenceOfUltrasoundRegions"])
        attributes = attributes | {"SequenceOfUltrasoundRegions": regions}
    assert refusal(write_clip(moving, **attributes)) == reason


def test_a_jpeg_larger_than_the_header_states_is_refused_unread(write_clip: WriteClip) -> None:
    bomb = jpeg(np.zeros((4000, 4000, 3), np.uint8))
    assert refusal(write_clip([bomb] * 2, Rows=48, Columns=64)) == "unreadable"


def test_encodings_without_a_decoder_are_refused(write_clip: WriteClip, moving: np.ndarray) -> None:
    path = write_clip([b"\xff\xd8\xff\xd9"] * 2, Rows=48, Columns=64)
    for syntax in ("1.2.840.10008.1.2.4.100", "1.2.3.4"):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        dataset.save_as(path, implicit_vr=False, little_endian=True)
        assert refusal(path) == "unsupported_pixels"
    dataset = pydicom.dcmread(write_clip(moving))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    assert refusal(path) == "unsupported_pixels"
