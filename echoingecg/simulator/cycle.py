"""The mechanical cycle that follows each R peak: how far the ventricle has contracted, how far the valves are open."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from echoingecg.recipe.stages import SimulatorSettings
from echoingecg.simulator.population.patient import Heart
from echoingecg.simulator.rhythm import beat_times

_DELAY: Final = 0.05  # s, R peak to the onset of ejection
_BLOCKED_DELAY: Final = 0.09  # s, the same in left bundle branch block
_SYSTOLE: Final = 0.36  # s, R peak to end systole at 60/min; scales with the square root of RR
_RELAXATION: Final = 0.07  # s, isovolumic, at 60/min; scales likewise, and outlasts a frame at 30/s
_EARLY_SHARE: Final = 0.72  # of the filling volume, before atrial contraction
_SWAY: Final = 1.5  # mm, respiration and the sonographer's hand


@dataclass(frozen=True)
class Course:
    """What moves through one clip, triggered by the R peak at 0 s.

    Attributes:
        frame_rate: 1/s.
        beats: float64 (beat,) R peaks, s, from before the clip to after it.
        time: float64 (frame,) s.
        contraction: float64 (frame,) 0 at end diastole, 1 at end systole.
        opening: float64 (frame,) of the mitral and tricuspid valves, 0 closed to 1.
        ejection: float64 (frame,) flow through the aortic valve, 0 to 1.
        sway: float64 (frame,) mm by which the heart stands lower.
    """

    frame_rate: float
    beats: np.ndarray
    time: np.ndarray
    contraction: np.ndarray
    opening: np.ndarray
    ejection: np.ndarray
    sway: np.ndarray

    @property
    def duration(self) -> float:
        """s."""
        return len(self.time) / self.frame_rate


def course_of(heart: Heart, settings: SimulatorSettings, rng: np.random.Generator) -> Course:
    """A clip of `clip_beats` beats, none of them ectopic, since sonographers store regular ones.

    End diastole is the first frame. End systole lasts for longer than a frame at 25/s and above.
    """
    regular = replace(heart, ectopic_share=0.0)
    beats = beat_times(regular, (settings.clip_beats + 4) * 60 / heart.heart_rate, rng)
    beats = beats - beats[beats >= 0][0]
    following = beats[beats >= 0]
    end = np.interp(settings.clip_beats, np.arange(len(following)), following)
    time = np.arange(max(int(np.ceil(end * settings.frame_rate)), 2)) / settings.frame_rate
    return Course(
        frame_rate=settings.frame_rate,
        beats=beats,
        time=time,
        contraction=contraction_at(heart, beats, time),
        opening=opening_at(heart, beats, time),
        ejection=ejection_at(heart, beats, time),
        sway=_SWAY * np.sin(2 * np.pi * (0.25 * time + rng.random())),
    )


def contraction_at(heart: Heart, beats: np.ndarray, time: np.ndarray) -> np.ndarray:
    """0 at end diastole, 1 at end systole: float64 (time,).

    Args:
        heart: rhythm and conduction are read.
        beats: (beat,) R peaks, s, from before the first time to after the last.
        time: (time,) s.
    """
    ejected, filling = _phases(heart, beats, time)
    late_start = 0.3 if heart.atrial_fibrillation else 0.66  # without atrial contraction, filling is passive
    late = _ramp((filling - late_start) / (1 - late_start))
    return _ramp(ejected) * (1 - _EARLY_SHARE * _ramp(filling / 0.4) - (1 - _EARLY_SHARE) * late)


def opening_at(heart: Heart, beats: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Opening of the mitral and tricuspid valves, 0 (closed) to 1: an early and, in sinus rhythm, an atrial wave."""
    _, filling = _phases(heart, beats, time)
    early = np.exp(-0.5 * ((filling - 0.24) / 0.10) ** 2)
    atrial = 0.0 if heart.atrial_fibrillation else 0.7 * np.exp(-0.5 * ((filling - 0.82) / 0.08) ** 2)
    flow = np.clip((heart.lvef + 20) / 75, 0.5, 1)  # little stroke volume opens the mitral valve little
    return np.where(filling > 0, np.clip((early + atrial) * flow + 0.12 * _ramp(filling / 0.1), 0, 1), 0)


def ejection_at(heart: Heart, beats: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Flow through the aortic valve, 0 to 1: the slope of the contraction."""
    ejected, _ = _phases(heart, beats, time)
    share = np.clip(ejected, 0, 1)
    return 4 * share * (1 - share)


def _phases(heart: Heart, beats: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of ejection and of filling that have passed: negative before, above 1 after."""
    last = np.searchsorted(beats, time, side="right") - 1
    interval = np.diff(beats)[last]
    since = time - beats[last]
    onset = _BLOCKED_DELAY if heart.left_bundle_branch_block else _DELAY
    pace = np.sqrt(np.minimum(interval, 1.2))
    systole, relaxed = _SYSTOLE * pace, (_SYSTOLE + _RELAXATION) * pace
    return (since - onset) / (systole - onset), (since - relaxed) / (interval - relaxed)


def _ramp(share: np.ndarray) -> np.ndarray:
    """Smooth step: 0 up to 0, 1 from 1 on."""
    inside = np.clip(share, 0, 1)
    return inside * inside * (3 - 2 * inside)
