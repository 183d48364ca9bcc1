"""The clips of one echo study: four-chamber views, and for some studies views beside them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from echoingecg.recipe.stages import SimulatorSettings
from echoingecg.simulator.cycle import course_of
from echoingecg.simulator.echo.apical import render_clip
from echoingecg.simulator.echo.beating_heart import Anatomy, anatomy_of
from echoingecg.simulator.echo.colour_doppler import render_colour
from echoingecg.simulator.echo.parasternal import place_parasternal, render_parasternal
from echoingecg.simulator.echo.study import Acquisition, write_dicom
from echoingecg.simulator.echo.view import View, place
from echoingecg.simulator.identifiers import echo_path, stamp
from echoingecg.simulator.population import tables
from echoingecg.simulator.population.patient import Heart
from echoingecg.simulator.population.tables import Rows

_SECOND_CLIP: Final = 0.5
_STILL: Final = 0.05


@dataclass(frozen=True)
class Visit:
    """One echo study to write: the hospital's numbers, its time, and the heart."""

    subject: int
    study: int
    start: datetime
    heart: Heart


@dataclass(frozen=True)
class EchoStreams:
    """Random numbers of each kind of clip: none changes the others' bytes."""

    apical: np.random.Generator
    parasternal: np.random.Generator
    colour: np.random.Generator


@dataclass(frozen=True)
class _Clip:
    frames: np.ndarray
    view: View
    colour_box: tuple[int, int, int, int] | None = None


def write_clips(visit: Visit, settings: SimulatorSettings, folder: Path, collected: Rows, streams: EchoStreams) -> None:
    """Writes the DICOM files of a study below `folder` and adds a row for each. Raises OSError."""
    anatomy = anatomy_of(visit.heart, streams.apical)
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
        collected.add(tables.CLIPS, subject_id=visit.subject, study_id=visit.study,
                      acquisition_datetime=stamp(acquired), dicom_filepath=path)  # fmt: skip


def _apical(heart: Heart, anatomy: Anatomy, settings: SimulatorSettings, rng: np.random.Generator) -> list[_Clip]:
    """One or two clips of the four-chamber view, for few studies a still as well."""
    cines = 2 if rng.random() < _SECOND_CLIP else 1
    still = rng.random() < _STILL
    clips = []
    for number in range(cines + still):
        view = place(anatomy, settings.frame_height, settings.frame_width, rng)
        frames = render_clip(heart, anatomy, view, course_of(heart, settings, rng), rng)
        clips.append(_Clip(frames if number < cines else frames[:1], view))
    return clips


def _parasternal(heart: Heart, anatomy: Anatomy, settings: SimulatorSettings, rng: np.random.Generator) -> _Clip:
    view = place_parasternal(anatomy, settings.frame_height, settings.frame_width, rng)
    return _Clip(render_parasternal(heart, anatomy, view, course_of(heart, settings, rng), rng), view)


def _colour(heart: Heart, anatomy: Anatomy, settings: SimulatorSettings, rng: np.random.Generator) -> _Clip:
    view = place(anatomy, settings.frame_height, settings.frame_width, rng)
    frames, box = render_colour(heart, anatomy, view, course_of(heart, settings, rng), rng)
    return _Clip(frames, view, box)
