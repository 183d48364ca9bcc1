"""Small ultrasound files, written by pydicom, and the clip that pydicom ships."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, UltrasoundMultiFrameImageStorage, generate_uid

from helpers.echo.ultrasound_files import WriteClip, region
from helpers.paths import ROOT, Recording


@pytest.fixture(scope="session")
def case() -> Recording:
    """Finds a file among the small inputs that went wrong; skips where they are absent."""

    def find(name: str) -> Path:
        path = ROOT.parent / "shared/cases" / name
        if not path.is_file():
            pytest.skip("needs shared/cases beside the checkout")
        return path

    return find


@pytest.fixture(scope="session")
def shipped_clip() -> Path:
    """Apical four-chamber view, 30 frames of 240 x 320, JPEG baseline; part of the pydicom package."""
    path = get_testdata_file("examples_ybr_color.dcm")
    assert isinstance(path, str)
    return Path(path)


@pytest.fixture
def write_clip(tmp_path: Path) -> WriteClip:
    """Writes pixels (frame, height, width[, 3]) or JPEG streams as a DICOM file; other attributes replace defaults."""

    def write(pixels: np.ndarray | list[bytes], syntax: UID | None = None, **attributes: Any) -> Path:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UltrasoundMultiFrameImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
        dataset.NumberOfFrames = len(pixels)
        if isinstance(pixels, np.ndarray):
            dataset.file_meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
            dataset.Rows, dataset.Columns = pixels.shape[1:3]
            dataset.SamplesPerPixel = 3 if pixels.ndim == 4 else 1
            dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 4 else "MONOCHROME2"
            dataset.PixelData = pixels.tobytes()
        else:
            dataset.file_meta.TransferSyntaxUID = syntax or JPEGBaseline8Bit
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "YBR_FULL_422"
            dataset.PixelData = encapsulate(pixels)
        if dataset.SamplesPerPixel == 3:
            dataset.PlanarConfiguration = 0
        for name, value in attributes.items():
            setattr(dataset, name, value)
        if "SequenceOfUltrasoundRegions" not in dataset:
            whole = region(1, 0, 0, dataset.Columns - 1, dataset.Rows - 1)
            dataset.SequenceOfUltrasoundRegions = pydicom.Sequence([whole])
        path = tmp_path / "clip.dcm"
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.fixture(scope="session")
def heart(shipped_clip: Path) -> np.ndarray:
    """Six frames of the shipped clip about its valve: uint8 (frame, 96, 128, 3), RGB."""
    frames = [pixel_array(shipped_clip, index=index, raw=False) for index in range(0, 30, 5)]
    return np.stack(frames)[:, 80:176, 100:228]


@pytest.fixture
def moving() -> np.ndarray:
    """Six colour frames of 48 x 64, no two alike: uint8 (frame, height, width, 3)."""
    return np.random.default_rng(7).integers(0, 256, (6, 48, 64, 3), dtype=np.uint8)
