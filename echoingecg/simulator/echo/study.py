"""Renders the clips of an echo study and writes them as DICOM files of a de-identified archive (JPEG, no name).

Every study has four-chamber views; some have parasternal or colour Doppler clips too. Attributes: DICOM PS3.3,
Ultrasound (Multi-frame) Image; regions: C.8.5.5.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from echoingecg.recipe.execution import SimulatorSettings
from echoingecg.simulator.echo import beating_heart, colour_doppler
from echoingecg.simulator.echo.apical import render_clip
from echoingecg.simulator.echo.parasternal import place_parasternal, render_parasternal
from echoingecg.simulator.echo.view import View, place
from echoingecg.simulator.population import tables
from echoingecg.simulator.population.patient import Heart
from echoingecg.simulator.population.tables import Rows, echo_path, mimic_time

_SECOND_CLIP_SHARE = 0.5
_STILL_SHARE = 0.05
_JPEG_QUALITY = 90
_ENCODING = [
    cv2.IMWRITE_JPEG_QUALITY,
    _JPEG_QUALITY,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
]
_IMPLEMENTATION = uid.generate_uid(entropy_srcs=["echoingecg simulator"])
_CENTIMETRES = 3  # Physical Units, C.8.5.5.1.15
_TWO_DIMENSIONAL = 1  # Region Spatial Format
_TISSUE = 1  # Region Data Type, C.8.5.5.1.2
_COLOUR_FLOW = 2
_HIGH_PRIORITY = 1  # Region Flags: its pixels cover those of other regions
_FRAME_TIME = 0x00181063


@dataclass(frozen=True)
class Acquisition:
    """Identifiers and scales of one file.

    Attributes:
        seed: of the export; another seed gives other UIDs to equal identifiers.
        subject_id, study_id, instance: the hospital's numbers.
        acquired: date and time, shifted as the archive shifts them.
        region: left, top, right, bottom of the sector's box, px, all of them belonging to it.
        spacing: mm a pixel.
        frame_rate: 1/s.
        heart_rate: 1/min.
        colour_box: left, top, right, bottom of the colour Doppler box, px; None where there is none.
    """

    seed: int
    subject_id: int
    study_id: int
    instance: int
    acquired: datetime
    region: tuple[int, int, int, int]
    spacing: float
    frame_rate: float
    heart_rate: int
    colour_box: tuple[int, int, int, int] | None = None


def write_dicom(path: Path, frames: np.ndarray, acquisition: Acquisition) -> None:
    """Writes a clip, or a still when there is one frame.

    Args:
        path: file to write; its folder exists.
        frames: uint8 (frame, height, width, 3), RGB.
        acquisition: ids, time and scale.
    """
    cine = len(frames) > 1
    dataset = _identity(acquisition, uid.UltrasoundMultiFrameImageStorage if cine else uid.UltrasoundImageStorage)
    regions = [_region(acquisition.region, acquisition.spacing)]
    if acquisition.colour_box:
        regions.append(_region(acquisition.colour_box, acquisition.spacing))
        regions[-1].RegionDataType, regions[-1].RegionFlags = _COLOUR_FLOW, _HIGH_PRIORITY
    dataset.SequenceOfUltrasoundRegions = regions
    _, height, width, samples = frames.shape
    dataset.SamplesPerPixel = samples
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = height, width
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    if cine:
        dataset.NumberOfFrames = len(frames)
        dataset.FrameIncrementPointer = _FRAME_TIME
        dataset.FrameTime = f"{1000 / acquisition.frame_rate:.6g}"
        dataset.CineRate = round(acquisition.frame_rate)
    encoded = [_jpeg(frame) for frame in frames]
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = f"{frames.nbytes / sum(map(len, encoded)):.4g}"
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    dataset.PixelData = encapsulate(encoded)
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path, enforce_file_format=True)


def _identity(acquisition: Acquisition, sop_class: str) -> Dataset:
    study = [str(acquisition.seed), str(acquisition.subject_id), str(acquisition.study_id)]
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = uid.generate_uid(entropy_srcs=[*study, str(acquisition.instance)])
    dataset.StudyInstanceUID = uid.generate_uid(entropy_srcs=study)
    dataset.SeriesInstanceUID = uid.generate_uid(entropy_srcs=[*study, "series"])
    dataset.Modality = "US"
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.Manufacturer = "echoingecg simulator"
    dataset.StudyDate = dataset.ContentDate = acquisition.acquired.strftime("%Y%m%d")
    dataset.StudyTime = dataset.ContentTime = acquisition.acquired.strftime("%H%M%S")
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.PatientName = dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.PatientID = str(acquisition.subject_id)
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "simulated, no patient"
    dataset.StudyID = str(acquisition.study_id)
    dataset.SeriesNumber, dataset.InstanceNumber = 1, acquisition.instance
    dataset.PatientOrientation = ""
    dataset.HeartRate = acquisition.heart_rate
    # pydicom would state its own release here: the bytes would follow the installed version.
    meta = dataset.file_meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    meta.ImplementationClassUID = _IMPLEMENTATION
    meta.ImplementationVersionName = "ECHOINGECG_SIM"
    return dataset


def _region(box: tuple[int, int, int, int], spacing: float) -> Dataset:
    left, top, right, bottom = box
    region = Dataset()
    region.RegionSpatialFormat = _TWO_DIMENSIONAL
    region.RegionDataType = _TISSUE
    region.RegionFlags = 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = left, top
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = right, bottom
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = _CENTIMETRES
    region.PhysicalDeltaX = region.PhysicalDeltaY = spacing / 10
    return region


def _jpeg(frame: np.ndarray) -> bytes:
    encoded, content = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), _ENCODING)
    assert encoded
    return content.tobytes()


@dataclass(frozen=True)
class Visit:
    """One echo study to write: the hospital's numbers, its time, and the heart."""

    subject: int
    study: int
    start: datetime
    heart: Heart


@dataclass(frozen=True)
class EchoStreams:
    """Random streams, one for each kind of clip, so that no kind changes the bytes of another."""

    apical: np.random.Generator
    parasternal: np.random.Generator
    colour: np.random.Generator


@dataclass(frozen=True)
class _Clip:
    frames: np.ndarray
    view: View
    colour_box: tuple[int, int, int, int] | None = None


def write_clips(visit: Visit, settings: SimulatorSettings, folder: Path, rows: Rows, streams: EchoStreams) -> None:
    """Writes the DICOM files of a study below `folder` and adds a row for each. Raises OSError."""
    anatomy = beating_heart.anatomy_of(visit.heart, streams.apical)
    clips = _apical(visit.heart, anatomy, settings, streams.apical)
    if streams.parasternal.random() < settings.parasternal_share:
        clips.append(_parasternal(visit.heart, anatomy, settings, streams.parasternal))
    if streams.colour.random() < settings.colour_share:
        clips.append(_colour(visit.heart, anatomy, settings, streams.colour))
    for instance, clip in enumerate(clips, start=1):
        acquired = visit.start + timedelta(seconds=90 * instance)
        path = echo_path(visit.subject, visit.study, instance)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        acquisition = Acquisition(
            seed=settings.seed,
            subject_id=visit.subject,
            study_id=visit.study,
            instance=instance,
            acquired=acquired,
            region=clip.view.region,
            spacing=clip.view.spacing,
            frame_rate=settings.frame_rate,
            heart_rate=round(visit.heart.heart_rate),
            colour_box=clip.colour_box,
        )
        write_dicom(folder / path, clip.frames, acquisition)
        rows.add(tables.CLIPS, subject_id=visit.subject, study_id=visit.study,
                      acquisition_datetime=mimic_time(acquired), dicom_filepath=path)  # fmt: skip


def _apical(
    heart: Heart, anatomy: beating_heart.Anatomy, settings: SimulatorSettings, rng: np.random.Generator
) -> list[_Clip]:
    """Renders one or two clips of the four-chamber view, and for few studies a still."""
    cines = 2 if rng.random() < _SECOND_CLIP_SHARE else 1
    still = rng.random() < _STILL_SHARE
    clips = []
    for number in range(cines + still):
        view = place(anatomy, settings.frame_height, settings.frame_width, rng)
        frames = render_clip(heart, anatomy, view, beating_heart.course_of(heart, settings, rng), rng)
        clips.append(_Clip(frames if number < cines else frames[:1], view))
    return clips


def _parasternal(
    heart: Heart, anatomy: beating_heart.Anatomy, settings: SimulatorSettings, rng: np.random.Generator
) -> _Clip:
    view = place_parasternal(anatomy, settings.frame_height, settings.frame_width, rng)
    return _Clip(render_parasternal(heart, anatomy, view, beating_heart.course_of(heart, settings, rng), rng), view)


def _colour(
    heart: Heart, anatomy: beating_heart.Anatomy, settings: SimulatorSettings, rng: np.random.Generator
) -> _Clip:
    view = place(anatomy, settings.frame_height, settings.frame_width, rng)
    frames, box = colour_doppler.render_colour(heart, anatomy, view, beating_heart.course_of(heart, settings, rng), rng)
    return _Clip(frames, view, box)
