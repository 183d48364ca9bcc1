"""Real and made echo files: what is read, with which colours, and what is refused for which reason."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.pixels import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless, RLELossless
from ultrasound_files import WriteClip, region

from echoingecg.errors import Refusal
from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.decode.dicom_clip import read_dicom_clip
from echoingecg.teacher.decode.pixels import rgb_frames
from echoingecg.teacher.frames import read_clip

SETTINGS = TeacherSettings(mask=False)
# Frames and region (top, bottom, left, right), read off the files with a viewer of DICOM attributes.
REAL = {
    "pydicom/examples_ybr_color.dcm": (30, (31, 240, 84, 320)),
    "pydicom/color3d_jpeg_baseline.dcm": (120, (31, 415, 84, 596)),
    "go-dicom/I_000003.dcm": (17, (4, 354, 42, 439)),
    "go-dicom/I_000007.dcm": (10, (0, 288, 0, 384)),
    "go-dicom/I_000009.dcm": (10, (0, 288, 0, 384)),
    "go-dicom/I_000027.dcm": (10, (0, 288, 0, 384)),
}


def refusal(path: Path, **fields: int) -> str:
    with pytest.raises(Refusal) as caught:
        read_clip(path, TeacherSettings(**fields), 32)
    assert path.name not in caught.value.detail
    return caught.value.reason


def jpeg(frame: np.ndarray, **options: object) -> bytes:
    file = BytesIO()
    Image.fromarray(frame).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("name", REAL)
def test_real_clips_are_cropped_and_resized_as_the_slow_route_does(recordings: Path, name: str) -> None:
    path = recordings / "echo_dicom" / name
    count, (top, bottom, left, right) = REAL[name]
    frames = read_clip(path, SETTINGS, 224)
    assert (frames.shape, frames.dtype) == ((count, 224, 224, 3), np.uint8)
    for index in (0, count // 2, count - 1):
        whole = pixel_array(path, index=index, raw=False)  # pydicom: Pillow's decoder, then RGB
        expected = cv2.resize(whole[top:bottom, left:right], (224, 224), interpolation=cv2.INTER_AREA)
        assert np.abs(frames[index].astype(int) - expected).max() <= 1


def test_every_real_echo_file_is_either_known_or_refused(recordings: Path) -> None:
    folder = recordings / "echo_dicom"
    others = {str(path.relative_to(folder)) for path in folder.rglob("*.dcm")} - REAL.keys()
    assert others == {"go-dicom/I_000034.dcm"}
    assert refusal(folder / "go-dicom/I_000034.dcm") == "not_a_cine"  # the M-mode still


def test_colours_are_those_of_pydicom(shipped_clip: Path) -> None:
    frames = np.stack(list(rgb_frames(read_dicom_clip(shipped_clip), range(30))))
    expected = pydicom.pixels.convert_color_space(pixel_array(shipped_clip, raw=True), "YBR_FULL_422", "RGB")
    assert np.abs(frames.astype(int) - expected).max() <= 3
    assert frames[..., 0].mean() != pytest.approx(frames[..., 2].mean(), abs=0.1)  # red and blue can be told apart


def test_area_resize_of_a_whole_ratio_is_the_mean_of_blocks(write_clip: WriteClip, moving: np.ndarray) -> None:
    square = moving[:, :, :48]
    frames = read_clip(write_clip(square), SETTINGS, 16)
    blocks = square.reshape(6, 16, 3, 16, 3, 3).mean(axis=(2, 4))
    assert np.abs(frames - blocks).max() <= 0.51


def test_uncompressed_rgb_and_grey_are_exact(write_clip: WriteClip, moving: np.ndarray) -> None:
    square = moving[:, :, :48]
    np.testing.assert_array_equal(read_clip(write_clip(square), SETTINGS, 48), square)
    grey = read_clip(write_clip(square[..., 0]), SETTINGS, 48)
    np.testing.assert_array_equal(grey, np.stack([square[..., 0]] * 3, axis=-1))


def test_uncompressed_ybr_full_becomes_rgb(write_clip: WriteClip, moving: np.ndarray) -> None:
    ybr = pydicom.pixels.convert_color_space(moving[:, :, :48], "RGB", "YBR_FULL")
    frames = read_clip(write_clip(ybr, PhotometricInterpretation="YBR_FULL"), SETTINGS, 48)
    assert np.abs(frames.astype(int) - moving[:, :, :48]).max() <= 3


def test_other_encodings_go_through_pydicom(write_clip: WriteClip, moving: np.ndarray) -> None:
    path = write_clip(moving[:, :, :48])
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    np.testing.assert_array_equal(read_clip(path, SETTINGS, 48), moving[:, :, :48])


def test_sampling_takes_the_frames_asked_for(write_clip: WriteClip, moving: np.ndarray) -> None:
    path = write_clip(moving[:, :, :48])
    taken = read_clip(path, TeacherSettings(frame_stride=2, max_frames=2), 48)
    np.testing.assert_array_equal(taken, moving[[0, 4], :, :48])


@pytest.mark.parametrize("markers", [{"keep_rgb": True}, {}], ids=["rgb", "ycc"])
@pytest.mark.parametrize("stated", ["RGB", "YBR_FULL_422"])
def test_a_jpeg_stream_that_contradicts_the_header_is_refused(
    write_clip: WriteClip, shipped_clip: Path, markers: dict[str, bool], stated: str
) -> None:
    frame = pixel_array(shipped_clip, index=0, raw=False)
    path = write_clip([jpeg(frame, **markers)] * 3, Rows=240, Columns=320, PhotometricInterpretation=stated)
    if (stated == "RGB") != bool(markers):
        assert refusal(path) == "unsupported_pixels"
    else:
        box = read_clip(path, SETTINGS, 240)
        assert np.abs(box[0].astype(int) - cv2.resize(frame, (240, 240), interpolation=cv2.INTER_AREA)).mean() < 2


def test_a_stream_without_markers_is_read_as_ycbcr(write_clip: WriteClip, shipped_clip: Path) -> None:
    frame = pixel_array(shipped_clip, index=0, raw=False)
    stream = jpeg(frame)
    length = int.from_bytes(stream[4:6], "big")
    bare = stream[:2] + stream[4 + length :]
    assert stream[2:4] == b"\xff\xe0"  # the JFIF segment
    with_marker = read_clip(write_clip([stream] * 3, Rows=240, Columns=320), SETTINGS, 112)
    np.testing.assert_array_equal(read_clip(write_clip([bare] * 3, Rows=240, Columns=320), SETTINGS, 112), with_marker)


def test_the_exif_orientation_of_a_stream_is_not_obeyed(write_clip: WriteClip, moving: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:24] = 255
    path = write_clip([jpeg(frame, exif=exif, quality=95)] * 2, Rows=48, Columns=64)
    assert read_clip(path, SETTINGS, 48)[0, 0].mean() > 250


def test_files_that_are_no_dicom_are_refused(tmp_path: Path, recordings: Path) -> None:
    path = tmp_path / "clip.dcm"
    path.write_bytes(b"")
    assert refusal(path) == "unreadable"
    path.write_bytes(b"\x00" * 5000)
    assert refusal(path) == "unknown_format"
    path.write_bytes(b"\x00" * 128 + b"DICM" + b"\xff" * 5000)
    assert refusal(path) == "no_pixel_data"
    assert refusal(recordings / "ecg_dicom/pydicom/waveform_ecg.dcm") == "no_pixel_data"


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
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "unsupported_pixels"),
        ({"SamplesPerPixel": 1}, "unsupported_pixels"),
        ({"Rows": 4000, "Columns": 4000}, "truncated"),
        ({"SequenceOfUltrasoundRegions": []}, "no_region"),
        ({"SequenceOfUltrasoundRegions": [region(4, 0, 0, 63, 47)]}, "no_region"),
        ({"SequenceOfUltrasoundRegions": [region(1, 70, 0, 90, 47)]}, "no_region"),
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
    for syntax in (JPEGLSLossless, "1.2.840.10008.1.2.4.100", "1.2.3.4"):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        dataset.save_as(path, implicit_vr=False, little_endian=True)
        assert refusal(path) == "unsupported_pixels"
    dataset = pydicom.dcmread(write_clip(moving))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    assert refusal(path) == "unsupported_pixels"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(132, 3500), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_headers_are_read_or_refused(shipped_clip: Path, tmp_path: Path, damage: list[tuple[int, int]]) -> None:
    content = bytearray(shipped_clip.read_bytes())
    for offset, value in damage:
        content[offset] = value
    path = tmp_path / "clip.dcm"
    path.write_bytes(content)
    try:
        frames = read_clip(path, TeacherSettings(max_frames=2), 16)
    except Refusal:
        return
    assert frames.shape[1:] == (16, 16, 3)
