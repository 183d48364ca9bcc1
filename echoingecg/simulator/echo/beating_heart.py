"""Geometry and motion of the heart in an apical four-chamber view, in millimetres.

Coordinates of the ventricle: `depth` runs along its long axis from the apex (0) to the mitral annulus
(`length`) and on through the atria; `side` runs across, negative to the septum and the right heart.
Tissue is described once, at end diastole. A contraction between 0 (end diastole) and 1 (end systole)
moves the coordinates: `material` says which end-diastolic point is now at a place.

Sizes at end diastole and wall thickening follow Lang et al., J Am Soc Echocardiogr 2015;28:1 (ASE/EACVI). The second
half is the mechanical cycle after each R peak: contraction of the ventricle, opening of the valves.
"""

from dataclasses import dataclass, replace

import numpy as np

from echoingecg.recipe.execution import SimulatorSettings
from echoingecg.simulator.ecg.heart_vector import draw_beats
from echoingecg.simulator.population.patient import Heart

_LONG_TO_CROSS = 0.42  # share of the radial fractional shortening by which the long axis shortens
_THICKENING = 0.55  # share of the endocardial excursion that the epicardium does not follow
_MOTION_REACH_MM = 40.0  # over which motion dies out beyond the heart
_STILL_DISTANCE_MM = 110.0  # to either side of the long axis, where nothing follows the annulus
_ATRIAL_SEPTUM_MM = 4.0
_RIGHT_WALL_MM = 4.0
_ONSET_SECONDS = 0.05  # R peak to the onset of ejection
_BLOCKED_ONSET_SECONDS = 0.09  # R peak to the onset of ejection in left bundle branch block
_SYSTOLE_SECONDS = 0.36  # R peak to end systole at 60/min; scales with the square root of RR
_RELAXATION_SECONDS = 0.07  # isovolumic, at 60/min; scales likewise, and outlasts a frame at 30/s
_EARLY_SHARE = 0.72  # of the filling volume, before atrial contraction
_SWAY_MM = 1.5  # respiration and the sonographer's hand

Field = np.ndarray  # float32 (height, width)


@dataclass(frozen=True)
class Anatomy:
    """Sizes at end diastole, mm; `radial` and `longitudinal` are fractional shortenings at end systole."""

    length: float
    radius: float
    septum: float
    lateral_wall: float
    left_atrium: float  # half width
    right_atrium: float  # half width
    atrial_depth: float
    right_ventricle: float  # width at the base
    radial: float
    longitudinal: float

    @property
    def total_depth(self) -> float:
        return self.length + self.atrial_depth


def anatomy_of(heart: Heart, rng: np.random.Generator) -> Anatomy:
    """Chambers of a patient; a failing or fibrillating heart has larger atria."""
    diameter = heart.lv_end_diastolic_diameter
    strain = max(50 - heart.lvef, 0) / 30
    radial, longitudinal = shortening_of(heart.lvef)
    mean_atrium = 9 + 0.2 * diameter + 2.5 * strain + 4 * heart.atrial_fibrillation
    left_atrium = float(np.clip(mean_atrium + rng.normal(0, 1.6), 14, 30))
    right_atrium = float(np.clip(0.9 * left_atrium + rng.normal(0, 1.5), 13, 28))
    return Anatomy(
        length=heart.lv_length,
        radius=diameter / 2,
        septum=heart.septal_wall_thickness,
        lateral_wall=0.45 * heart.septal_wall_thickness + 5 + rng.normal(0, 0.5),
        left_atrium=left_atrium,
        right_atrium=right_atrium,
        atrial_depth=float(np.clip(2.3 * left_atrium + rng.normal(0, 2), 34, 62)),
        right_ventricle=1.85 * right_atrium - 0.4 * heart.septal_wall_thickness + rng.normal(0, 1.5),
        radial=radial,
        longitudinal=longitudinal,
    )


def shortening_of(lvef: float) -> tuple[float, float]:
    """Radial and longitudinal fractional shortening whose disks (Simpson) give the ejection fraction.

    Args:
        lvef: %. The volume left is (1 - radial)^2 (1 - longitudinal).
    """
    left = 1 - lvef / 100
    ratio = _LONG_TO_CROSS
    roots = np.roots([-ratio, 1 + 2 * ratio, -(2 + ratio), 1 - left])  # (1 - e)^2 (1 - ratio e) - left
    radial = min(float(root.real) for root in roots if abs(root.imag) < 1e-9 and 0 <= root.real <= 1)
    return radial, ratio * radial


def half_width(anatomy: Anatomy, depth: Field) -> Field:
    """Half width of the cavity: an ellipsoid cut at the annulus, held there beyond it, 0 outside the apex."""
    half_axis = anatomy.length / 1.6  # the widest place lies at 5/8 of the long axis
    inside = 1 - ((np.minimum(depth, anatomy.length) - half_axis) / half_axis) ** 2
    return anatomy.radius * np.sqrt(np.maximum(inside, 0))


def material(anatomy: Anatomy, depth: Field, side: Field) -> tuple[Field, Field]:
    """End-diastolic depth and side of the tissue that stands at (depth, side) at end systole.

    In between, the displacement grows in proportion to the contraction. The apex stays; the annulus
    descends by `longitudinal * length` and the atria fill; the cavity's walls move in by `radial`, and
    thicken since the epicardium follows only in part.
    """
    annulus = anatomy.length * (1 - anatomy.longitudinal)
    old_depth = np.interp(depth, (0, annulus, anatomy.total_depth), (0, anatomy.length, anatomy.total_depth))
    descent = np.where((depth < 0) | (depth > anatomy.total_depth), 0, old_depth - depth)
    old_depth = depth + descent * np.clip((_STILL_DISTANCE_MM - np.abs(side)) / _MOTION_REACH_MM, 0, 1)

    inner = half_width(anatomy, old_depth)
    wall = np.where(side < 0, anatomy.septum, anatomy.lateral_wall)
    fade = np.clip(1 - (old_depth - anatomy.length) / (0.5 * anatomy.atrial_depth), 0, 1)  # atria are not squeezed
    excursion = anatomy.radial * inner * fade
    distance = np.abs(side)
    new_inner = inner - excursion
    new_outer = inner + wall - (1 - _THICKENING) * excursion
    across_wall = inner + (distance - new_inner) * wall / (new_outer - new_inner)
    outside = inner + wall + (distance - new_outer) * _MOTION_REACH_MM / (_MOTION_REACH_MM + inner + wall - new_outer)
    old_distance = np.select(
        [distance < new_inner, distance < new_outer, distance < inner + wall + _MOTION_REACH_MM],
        [distance * inner / np.maximum(new_inner, 1e-6), across_wall, outside],
        distance,
    )
    return old_depth, np.copysign(old_distance, side)


def left_ventricle(anatomy: Anatomy, depth: Field, side: Field) -> np.ndarray:
    """bool (height, width): the cavity at end diastole."""
    return (depth > 0) & (depth < anatomy.length) & (np.abs(side) < half_width(anatomy, depth))


def cavities(anatomy: Anatomy, depth: Field, side: Field) -> np.ndarray:
    """bool: all four chambers at end diastole."""
    return (
        left_ventricle(anatomy, depth, side)
        | (np.abs(_in_right_ventricle(anatomy, depth, side) - 0.5) < 0.5)
        | (_in_atrium(anatomy, depth, side, *_left_atrium(anatomy)) < 1)
        | (_in_atrium(anatomy, depth, side, *_right_atrium(anatomy)) < 1)
    )


def heart_wall(anatomy: Anatomy, depth: Field, side: Field) -> np.ndarray:
    """bool: everything within the heart's outer surface, cavities included, at end diastole."""
    wall = np.where(side < 0, anatomy.septum, anatomy.lateral_wall)
    cap = anatomy.lateral_wall
    outer = half_width(anatomy, np.maximum(depth + 0.6 * cap, 0) * anatomy.length / (anatomy.length + 0.6 * cap)) + wall
    ventricle = (depth > -cap) & (depth < anatomy.length + 2) & (np.abs(side) < outer)
    grown = 1 + _RIGHT_WALL_MM / anatomy.left_atrium
    return (
        ventricle
        | (np.abs(_in_right_ventricle(anatomy, depth, side, _RIGHT_WALL_MM) - 0.5) < 0.5)
        | (_in_atrium(anatomy, depth, side, *_left_atrium(anatomy)) < grown)
        | (_in_atrium(anatomy, depth, side, *_right_atrium(anatomy)) < grown)
    )


def _left_atrium(anatomy: Anatomy) -> tuple[float, float]:
    """Centre and half width of the left atrium."""
    return _crux(anatomy) + _ATRIAL_SEPTUM_MM / 2 + anatomy.left_atrium, anatomy.left_atrium


def _right_atrium(anatomy: Anatomy) -> tuple[float, float]:
    """Centre and half width of the right atrium."""
    return _crux(anatomy) - _ATRIAL_SEPTUM_MM / 2 - anatomy.right_atrium, anatomy.right_atrium


def _crux(anatomy: Anatomy) -> float:
    """Side of the heart's crux, where the septa of ventricles and atria meet."""
    return -float(half_width(anatomy, np.array(anatomy.length))) - anatomy.septum / 2


def _in_atrium(anatomy: Anatomy, depth: Field, side: Field, centre: float, half: float) -> Field:
    """Below 1 inside a rounded chamber between the annulus and the atrial roof; far above 1 beyond the annulus."""
    along = (depth - anatomy.length) / np.float32(anatomy.atrial_depth)  # 0 at the annulus, 1 at the roof
    shape = np.sqrt(np.abs((side - centre) / half) ** 2.6 + np.abs(2 * along - 0.86) ** 2.6 / 1.14**2.6)
    return np.where(along > 0, shape, np.inf)


def _in_right_ventricle(anatomy: Anatomy, depth: Field, side: Field, grow: float = 0.0) -> Field:
    """0 at the septum, 1 at the free wall, of a wedge that opens from a third of the long axis to the base."""
    opening = np.clip((depth + grow - 0.22 * anatomy.length) / (0.78 * anatomy.length), 0, 1) ** 0.7
    width = np.where(depth < anatomy.length, anatomy.right_ventricle * opening, 0) + grow * (opening > 0)
    septum = half_width(anatomy, depth) + anatomy.septum
    return np.where(width > 0, (-side - septum) / np.maximum(width, 1e-6), np.inf)


@dataclass(frozen=True)
class Course:
    """Contraction, valves and flow over one clip; an R peak is at 0 s.

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
    beats = draw_beats(regular, (settings.clip_beats + 4) * 60 / heart.heart_rate, rng).times
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
        sway=_SWAY_MM * np.sin(2 * np.pi * (0.25 * time + rng.random())),
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
    onset = _BLOCKED_ONSET_SECONDS if heart.left_bundle_branch_block else _ONSET_SECONDS
    pace = np.sqrt(np.minimum(interval, 1.2))
    systole, relaxed = _SYSTOLE_SECONDS * pace, (_SYSTOLE_SECONDS + _RELAXATION_SECONDS) * pace
    return (since - onset) / (systole - onset), (since - relaxed) / (interval - relaxed)


def _ramp(share: np.ndarray) -> np.ndarray:
    """Smooth step: 0 up to 0, 1 from 1 on."""
    inside = np.clip(share, 0, 1)
    return inside * inside * (3 - 2 * inside)
