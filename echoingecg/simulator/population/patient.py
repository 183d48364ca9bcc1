"""Draws the state of a patient's heart, which causes both the ECG and the echo.

Cardiology enters as correlations, each with independent scatter, so that an ECG predicts the echo only in
part. A failing left ventricle dilates and grows round; its conduction slows, often to a
left bundle branch block; its T waves flatten and invert; its rate rises; it fibrillates and beats early more
often. Hypertrophy raises QRS voltage, depresses the lateral ST segment and inverts T waves. A heavy body
dims the picture. docs/simulator.md lists every effect with its source and the prevalences that come out.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Sex = Literal["F", "M"]
Rhythm = Literal["sinus rhythm", "atrial fibrillation"]
Conduction = Literal["normal", "left bundle branch block", "right bundle branch block"]

# Share, mean and standard deviation of LVEF (%): preserved, mildly reduced, reduced.
_LVEF_SHARES = (0.65, 0.15, 0.20)
_LVEF_MEANS = (61.0, 46.0, 29.0)
_LVEF_SCATTER = (5.0, 4.5, 6.5)
_HYPERTROPHY_SHARE = 0.25
# Mean body height (cm), its standard deviation, and normal LV end-diastolic diameter (mm) at a mean body size.
_HEIGHT: dict[Sex, tuple[float, float]] = {"F": (162.0, 6.5), "M": (175.5, 7.0)}
_DIAMETER: dict[Sex, float] = {"F": 45.0, "M": 49.0}
_BODY_SURFACE: dict[Sex, float] = {"F": 1.80, "M": 2.04}  # m², about the mean that comes out
_WIDEST_DEPTH_SHARE = 0.625  # share of the long axis at which the ventricle is widest


@dataclass(frozen=True)
class Heart:
    """State of a patient's heart and body, and of the recording conditions.

    Attributes:
        age: years.
        sex: F or M.
        height: cm.
        weight: kg.
        lvef: left ventricular ejection fraction, %.
        lv_end_diastolic_diameter: mm.
        lv_length: long axis of the left ventricle at end diastole, apex to annulus, mm.
        septal_wall_thickness: at end diastole, mm.
        heart_rate: mean ventricular rate, 1/min.
        rhythm: sinus rhythm or atrial fibrillation.
        ectopic_share: share of beats that are ventricular ectopic.
        conduction: normal, or which bundle branch is blocked.
        pr_interval: onset of P to onset of QRS, ms; without meaning in atrial fibrillation.
        qrs_duration: ms.
        qt_corrected: Bazett's QT, ms.
        qrs_axis: frontal angle of the main QRS vector, degrees, 0 to the left, 90 downward.
        qrs_voltage: length of the main QRS vector, mV.
        t_amplitude: length of the T vector, mV; negative where T is inverted.
        st_depression: of the ST segment in lateral leads, mV.
        image_quality: of the acoustic window, 0 (poor) to 1 (excellent).
        ecg_noise: standard deviation of muscle noise, mV.
    """

    age: int
    sex: Sex
    height: float
    weight: float
    lvef: float
    lv_end_diastolic_diameter: float
    lv_length: float
    septal_wall_thickness: float
    heart_rate: float
    rhythm: Rhythm
    ectopic_share: float
    conduction: Conduction
    pr_interval: float
    qrs_duration: float
    qt_corrected: float
    qrs_axis: float
    qrs_voltage: float
    t_amplitude: float
    st_depression: float
    image_quality: float
    ecg_noise: float

    @property
    def body_surface_area(self) -> float:
        """Body surface, m² (Mosteller, N Engl J Med 1987;317:1098)."""
        return float(np.sqrt(self.height * self.weight / 3600))

    @property
    def lv_end_diastolic_volume(self) -> float:
        """Volume of the cavity in the echo, mL: an ellipsoid, widest at 5/8 of its long axis, cut at the annulus."""
        rest = (1 - _WIDEST_DEPTH_SHARE) ** 3 + _WIDEST_DEPTH_SHARE**3
        filled = 1 - rest / (3 * _WIDEST_DEPTH_SHARE**2)
        return float(np.pi / 4 * self.lv_end_diastolic_diameter**2 * self.lv_length * filled / 1000)

    @property
    def atrial_fibrillation(self) -> bool:
        return self.rhythm == "atrial fibrillation"

    @property
    def left_bundle_branch_block(self) -> bool:
        return self.conduction == "left bundle branch block"

    @property
    def right_bundle_branch_block(self) -> bool:
        return self.conduction == "right bundle branch block"

    @property
    def t_polarity(self) -> Literal["upright", "inverted"]:
        return "upright" if self.t_amplitude > 0 else "inverted"


def sample_heart(rng: np.random.Generator) -> Heart:
    """Draws one patient."""
    sex: Sex = "M" if rng.random() < 0.55 else "F"
    age = int(np.clip(rng.normal(66, 13), 20, 95))
    height = float(np.clip(rng.normal(*_HEIGHT[sex]), 140, 205))
    body_mass = float(np.clip(rng.lognormal(np.log(28), 0.19), 16, 55))  # kg/m²
    weight = body_mass * (height / 100) ** 2
    larger = float(np.sqrt(height * weight / 3600)) - _BODY_SURFACE[sex]  # m²

    kind = rng.choice(3, p=_LVEF_SHARES)
    lvef = float(np.clip(rng.normal(_LVEF_MEANS[kind], _LVEF_SCATTER[kind]), 12, 78))
    failure = max((58 - lvef) / 30, -0.2)  # 0 at a normal LVEF, 1 near 28 %
    hypertrophy = rng.gamma(3.0, 1.6) if rng.random() < _HYPERTROPHY_SHARE else 0.0  # mm of septum above normal

    fibrillates = rng.random() < _sigmoid(-2.2 + 0.04 * (age - 66) + 0.7 * failure)
    conduction = _conduction(rng, age, failure)
    left, right = conduction == "left bundle branch block", conduction == "right bundle branch block"
    ectopic = rng.uniform(0.03, 0.2) if rng.random() < _sigmoid(-2.7 + 0.9 * failure) else 0.0
    diameter = _DIAMETER[sex] + 7 * larger + 12 * failure - 0.25 * hypertrophy + rng.normal(0, 4.0)
    diameter = float(np.clip(diameter, 34, 85))
    septum = (9.4 if sex == "M" else 8.6) + hypertrophy - 0.4 * failure + rng.normal(0, 0.9)
    blocked = left or right
    duration = (146 if left else 136 if right else 91) + 9 * failure + rng.normal(0, 10 if blocked else 9)
    voltage = 1.15 + 0.07 * hypertrophy - 0.08 * failure - 0.004 * (body_mass - 28) + rng.normal(0, 0.30)
    return Heart(
        age=age,
        sex=sex,
        height=height,
        weight=weight,
        lvef=lvef,
        lv_end_diastolic_diameter=diameter,
        lv_length=float(50 + 0.72 * diameter + rng.normal(0, 3)),
        septal_wall_thickness=float(np.clip(septum, 6, 26)),
        heart_rate=float(np.clip(68 + 7 * failure + 10 * fibrillates + rng.normal(0, 11), 42, 150)),
        rhythm="atrial fibrillation" if fibrillates else "sinus rhythm",
        ectopic_share=float(ectopic),
        conduction=conduction,
        pr_interval=float(np.clip(rng.normal(160 + 10 * failure, 18), 110, 260)),
        qrs_duration=float(np.clip(duration, 122 if blocked else 72, 200 if blocked else 118)),
        qt_corrected=float(np.clip(rng.normal(418 + 14 * failure + 20 * blocked, 18), 360, 540)),
        qrs_axis=float(np.clip(rng.normal(42 - 22 * failure - 22 * left, 26), -85, 110)),
        qrs_voltage=float(np.clip(voltage, 0.45, 3.2)),
        t_amplitude=float(np.clip(0.33 - 0.22 * failure - 0.03 * hypertrophy + rng.normal(0, 0.18), -0.5, 0.75)),
        st_depression=float(np.clip(0.008 * hypertrophy + 0.015 * failure + rng.normal(0, 0.03), 0, 0.25)),
        image_quality=float(np.clip(rng.beta(4, 2) - 0.012 * (body_mass - 28), 0.05, 1)),
        ecg_noise=float(np.clip(rng.lognormal(np.log(0.012), 0.5), 0.003, 0.06)),
    )


def _conduction(rng: np.random.Generator, age: int, failure: float) -> Conduction:
    if rng.random() < _sigmoid(-4.0 + 2.3 * failure):
        return "left bundle branch block"
    if rng.random() < _sigmoid(-2.9 + 0.04 * (age - 66) + 0.3 * failure):
        return "right bundle branch block"
    return "normal"


def _sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))
