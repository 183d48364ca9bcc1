"""The mechanical cycle that follows each R peak: how far the ventricle has contracted, how far the valves are open."""

from typing import Final

import numpy as np

from echoingecg.simulator.patient import Heart

_DELAY: Final = 0.05  # s, R peak to the onset of ejection
_BLOCKED_DELAY: Final = 0.09  # s, the same in left bundle branch block
_SYSTOLE: Final = 0.36  # s, R peak to end systole at 60/min; scales with the square root of RR
_EARLY_SHARE: Final = 0.72  # of the filling volume, before atrial contraction


def contraction_at(heart: Heart, beats: np.ndarray, time: np.ndarray) -> np.ndarray:
    """0 at end diastole, 1 at end systole: float64 (time,).

    Args:
        heart: rhythm and conduction are read.
        beats: (beat,) R peaks, s, from before the first time to after the last.
        time: (time,) s.
    """
    since, systole, filling = _phases(beats, time)
    delay = _BLOCKED_DELAY if heart.left_bundle_branch_block else _DELAY
    ejected = _ramp((since - delay) / (systole - delay))
    late_start = 0.3 if heart.atrial_fibrillation else 0.66  # without atrial contraction, filling is passive
    late = _ramp((filling - late_start) / (1 - late_start))
    return ejected * (1 - _EARLY_SHARE * _ramp(filling / 0.4) - (1 - _EARLY_SHARE) * late)


def opening_at(heart: Heart, beats: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Opening of the mitral and tricuspid valves, 0 (closed) to 1: an early and, in sinus rhythm, an atrial wave."""
    _, _, filling = _phases(beats, time)
    early = np.exp(-0.5 * ((filling - 0.24) / 0.10) ** 2)
    atrial = 0.0 if heart.atrial_fibrillation else 0.7 * np.exp(-0.5 * ((filling - 0.82) / 0.08) ** 2)
    flow = np.clip((heart.lvef + 20) / 75, 0.5, 1)  # little stroke volume opens the mitral valve little
    return np.where(filling > 0, np.clip((early + atrial) * flow + 0.12 * _ramp(filling / 0.1), 0, 1), 0)


def _phases(beats: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time since R (s), length of systole (s), and share of diastole that has passed (negative in systole)."""
    last = np.searchsorted(beats, time, side="right") - 1
    interval = np.diff(beats)[last]
    since = time - beats[last]
    systole = _SYSTOLE * np.sqrt(np.minimum(interval, 1.2))
    return since, systole, (since - systole) / (interval - systole)


def _ramp(share: np.ndarray) -> np.ndarray:
    """Smooth step: 0 up to 0, 1 from 1 on."""
    inside = np.clip(share, 0, 1)
    return inside * inside * (3 - 2 * inside)
