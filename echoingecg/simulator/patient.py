"""A patient's heart, drawn at random: the one cause behind both the ECG and the echo.

Cardiology enters as correlations. A failing left ventricle dilates; its conduction slows, often to a
left bundle branch block; its T waves flatten and invert; its rate rises; it fibrillates more often.
Hypertrophy raises QRS voltage and inverts T waves. Every effect has independent scatter beside it, so
that an ECG tells something of the echo, but not all.

Directions follow Surawicz and Knilans, Chou's Electrocardiography in Clinical Practice (6th ed., 2008);
the sizes of the effects are tuned so that ECG features reach an AUROC near 0.90 for LVEF < 40 %.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

Sex = Literal["F", "M"]
Rhythm = Literal["sinus rhythm", "atrial fibrillation"]

# Share, mean and standard deviation of LVEF (%): preserved, mildly reduced, reduced.
_LVEF_SHARES: Final = (0.62, 0.15, 0.23)
_LVEF_MEANS: Final = (61.0, 46.0, 29.0)
_LVEF_SCATTER: Final = (5.0, 4.5, 6.5)
_HYPERTROPHY_SHARE: Final = 0.25


@dataclass(frozen=True)
class Heart:
    """State of a patient and of what records it.

    Attributes:
        age: years.
        sex: F or M.
        lvef: left ventricular ejection fraction, %.
        lv_end_diastolic_diameter: mm.
        septal_wall_thickness: at end diastole, mm.
        heart_rate: mean ventricular rate, 1/min.
        rhythm: sinus rhythm or atrial fibrillation.
        left_bundle_branch_block: conduction to the left ventricle is blocked.
        pr_interval: onset of P to onset of QRS, ms; without meaning in atrial fibrillation.
        qrs_duration: ms.
        qt_corrected: Bazett's QT, ms.
        qrs_axis: frontal angle of the main QRS vector, degrees, 0 to the left, 90 downward.
        qrs_voltage: length of the main QRS vector, mV.
        t_amplitude: length of the T vector, mV; negative where T is inverted.
        image_quality: of the acoustic window, 0 (poor) to 1 (excellent).
        ecg_noise: standard deviation of muscle noise, mV.
    """

    age: int
    sex: Sex
    lvef: float
    lv_end_diastolic_diameter: float
    septal_wall_thickness: float
    heart_rate: float
    rhythm: Rhythm
    left_bundle_branch_block: bool
    pr_interval: float
    qrs_duration: float
    qt_corrected: float
    qrs_axis: float
    qrs_voltage: float
    t_amplitude: float
    image_quality: float
    ecg_noise: float

    @property
    def atrial_fibrillation(self) -> bool:
        return self.rhythm == "atrial fibrillation"

    @property
    def t_polarity(self) -> Literal["upright", "inverted"]:
        return "upright" if self.t_amplitude > 0 else "inverted"


def sample_heart(rng: np.random.Generator) -> Heart:
    """Draws one patient."""
    sex: Sex = "M" if rng.random() < 0.55 else "F"
    age = int(np.clip(rng.normal(66, 13), 20, 95))
    kind = rng.choice(3, p=_LVEF_SHARES)
    lvef = float(np.clip(rng.normal(_LVEF_MEANS[kind], _LVEF_SCATTER[kind]), 12, 78))
    failure = max((58 - lvef) / 30, -0.2)  # 0 at a normal LVEF, 1 near 28 %
    hypertrophy = rng.gamma(3.0, 1.6) if rng.random() < _HYPERTROPHY_SHARE else 0.0  # mm of septum above normal

    fibrillates = rng.random() < _sigmoid(-2.9 + 0.035 * (age - 66) + 0.9 * failure)
    blocked = bool(rng.random() < _sigmoid(-4.0 + 2.3 * failure))
    diameter = (48.5 if sex == "M" else 44.5) + 12.0 * failure - 0.25 * hypertrophy + rng.normal(0, 4.5)
    septum = (9.6 if sex == "M" else 8.8) + hypertrophy - 0.4 * failure + rng.normal(0, 0.9)
    duration = 146 + 8 * failure + rng.normal(0, 9) if blocked else 91 + 9 * failure + rng.normal(0, 8)
    return Heart(
        age=age,
        sex=sex,
        lvef=lvef,
        lv_end_diastolic_diameter=float(np.clip(diameter, 34, 85)),
        septal_wall_thickness=float(np.clip(septum, 6, 26)),
        heart_rate=float(np.clip(68 + 7 * failure + 10 * fibrillates + rng.normal(0, 11), 42, 150)),
        rhythm="atrial fibrillation" if fibrillates else "sinus rhythm",
        left_bundle_branch_block=blocked,
        pr_interval=float(np.clip(rng.normal(160 + 10 * failure, 18), 110, 260)),
        qrs_duration=float(np.clip(duration, 128 if blocked else 72, 200 if blocked else 126)),
        qt_corrected=float(np.clip(rng.normal(418 + 14 * failure + 20 * blocked, 18), 360, 540)),
        qrs_axis=float(np.clip(rng.normal(42 - 22 * failure - 22 * blocked, 26), -85, 110)),
        qrs_voltage=float(np.clip(1.15 + 0.07 * hypertrophy - 0.08 * failure + rng.normal(0, 0.26), 0.45, 3.2)),
        t_amplitude=float(np.clip(0.33 - 0.22 * failure - 0.03 * hypertrophy + rng.normal(0, 0.16), -0.5, 0.75)),
        image_quality=float(rng.beta(4, 2)),
        ecg_noise=float(np.clip(rng.lognormal(np.log(0.012), 0.5), 0.003, 0.06)),
    )


def _sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))
