"""What a hospital writes about a heart: the ECG machine's statements, the echo report, the measurements."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from echoingecg.simulator.patient import Heart, Sex

# Grades of LVEF, %: Lang et al., J Am Soc Echocardiogr 2015;28:1 (ASE/EACVI), in round numbers for both sexes.
_LVEF_GRADES: Final = (
    (30, ("Severely depressed", "Severely reduced", "Severely impaired")),
    (40, ("Moderately depressed", "Moderately reduced", "Moderately impaired")),
    (50, ("Mildly depressed", "Mildly reduced", "Mildly impaired")),
    (55, ("Low normal", "Borderline normal")),
    (101, ("Normal", "Preserved")),
)
# Upper limits of a normal, mildly, moderately dilated end-diastolic diameter, mm: Lang et al., J Am Soc
# Echocardiogr 2005;18:1440 (ASE).
_DIAMETER_LIMITS: Final[dict[Sex, tuple[float, float, float]]] = {"F": (53, 57, 61), "M": (59, 63, 68)}
# Upper limits of a normal, mildly, moderately thick septum, mm; 15 mm and more is severe (SLVH).
_SEPTUM_LIMITS: Final = (11, 12.9, 14.9)
_MINOR: Final = ("Prolonged PR", "Low QRS", "Nonspecific", "Right axis")
_GRADES: Final = ("normal", "mildly", "moderately", "severely")


@dataclass(frozen=True)
class Measurement:
    """A row of the structured measurements: name, description, value, unit."""

    name: str
    description: str
    value: int
    unit: str


def measurements(heart: Heart) -> tuple[Measurement, ...]:
    """What the sonographer measured, in whole units."""
    return (
        Measurement("lvef", "Left ventricular ejection fraction", round(heart.lvef), "%"),
        Measurement(
            "lv_end_diastolic_diameter",
            "Left ventricular internal diameter at end diastole",
            round(heart.lv_end_diastolic_diameter),
            "mm",
        ),
        Measurement(
            "septal_wall_thickness",
            "Interventricular septal thickness at end diastole",
            round(heart.septal_wall_thickness),
            "mm",
        ),
        Measurement("heart_rate", "Heart rate", round(heart.heart_rate), "bpm"),
    )


def echo_report(heart: Heart, rng: np.random.Generator) -> str:
    """Findings of an echo study in clinical prose; the numbers are those of `measurements`."""
    sentences = [_quality(heart, rng), _systolic_function(heart, rng), _cavity(heart, rng), _wall(heart, rng)]
    if heart.atrial_fibrillation and rng.random() < 0.7:
        sentences.append("The rhythm was atrial fibrillation during the study.")
    if heart.left_bundle_branch_block and rng.random() < 0.6:
        sentences.append("Abnormal septal motion consistent with left bundle branch block.")
    return " ".join(sentence for sentence in sentences if sentence)


def ecg_statements(heart: Heart, rng: np.random.Generator) -> list[str]:
    """Statements of the ECG machine, in MIMIC-IV-ECG's style; the last one is the summary."""
    findings = list(_findings(heart, rng))
    rhythm = _rhythm(heart)
    quality = ["Poor data quality, interpretation may be adversely affected"] if heart.ecg_noise > 0.035 else []
    return [*quality, rhythm, *findings, _summary(rhythm, findings)]


def _summary(rhythm: str, findings: list[str]) -> str:
    if rhythm not in ("Sinus rhythm", "Sinus bradycardia"):
        return "Abnormal ECG"
    if not findings:
        return "Normal ECG"
    return "Borderline ECG" if all(one.startswith(_MINOR) for one in findings) else "Abnormal ECG"


def _rhythm(heart: Heart) -> str:
    if heart.atrial_fibrillation:
        fast = heart.heart_rate > 110
        return "Atrial fibrillation" + (" with rapid ventricular response" if fast else "")
    if heart.heart_rate < 60:
        return "Sinus bradycardia"
    return "Sinus tachycardia" if heart.heart_rate > 100 else "Sinus rhythm"


def _findings(heart: Heart, rng: np.random.Generator) -> Iterator[str]:
    if not heart.atrial_fibrillation and heart.pr_interval > 200:
        yield "Prolonged PR interval"
    if heart.qrs_axis < -30:
        yield "Left axis deviation"
    elif heart.qrs_axis > 90:
        yield "Right axis deviation"
    if heart.left_bundle_branch_block:
        yield "Left bundle branch block"
        return  # the machine reads neither voltage nor T waves in block
    if heart.qrs_duration > 110:
        yield "IV conduction defect"
    if heart.qrs_voltage + rng.normal(0, 0.1) > 1.75:
        yield "Left ventricular hypertrophy"
    elif heart.qrs_voltage < 0.7:
        yield "Low QRS voltages in limb leads"
    if heart.t_amplitude < -0.05:
        yield str(rng.choice(("Inferior/lateral T wave inversion", "Lateral T wave changes may be due to ischemia")))
    elif heart.t_amplitude < 0.08:
        yield str(rng.choice(("Nonspecific T wave abnormalities", "Lateral T wave changes are nonspecific")))
    if heart.qt_corrected > 470:
        yield "Prolonged QT interval"


def _quality(heart: Heart, rng: np.random.Generator) -> str:
    if heart.image_quality < 0.45:
        return str(rng.choice(("Suboptimal image quality.", "Technically difficult study, poor acoustic windows.")))
    return str(rng.choice(("", "Good image quality.")))


def _systolic_function(heart: Heart, rng: np.random.Generator) -> str:
    lvef = round(heart.lvef)
    grade = str(rng.choice(next(words for limit, words in _LVEF_GRADES if lvef < limit)))
    noun = str(rng.choice(("left ventricular systolic function", "global left ventricular systolic function")))
    value = str(rng.choice((f"LVEF is {lvef} %.", f"LVEF = {lvef} %.", f"The ejection fraction is {lvef} %.")))
    return f"{grade} {noun}. {value}"


def _cavity(heart: Heart, rng: np.random.Generator) -> str:
    diameter = round(heart.lv_end_diastolic_diameter)
    grade = _grade(diameter, _DIAMETER_LIMITS[heart.sex])
    if grade == "normal":
        phrases = ("The left ventricular cavity is normal in size.", "Normal left ventricular cavity size.")
    else:
        phrases = (f"The left ventricle is {grade} dilated.", f"{grade.capitalize()} dilated left ventricular cavity.")
    return f"{rng.choice(phrases)} LVEDD {diameter} mm."


def _wall(heart: Heart, rng: np.random.Generator) -> str:
    septum = round(heart.septal_wall_thickness)
    grade = _grade(septum, _SEPTUM_LIMITS)
    if grade == "normal":
        phrases = ("Normal left ventricular wall thickness.", "Left ventricular wall thickness is normal.")
    else:
        severity = grade.removesuffix("ly").capitalize()
        phrases = (
            f"{severity} left ventricular hypertrophy.",
            f"{severity} concentric hypertrophy of the left ventricle.",
        )
    return f"{rng.choice(phrases)} Septal wall {septum} mm."


def _grade(value: float, limits: tuple[float, float, float]) -> str:
    return _GRADES[sum(value > limit for limit in limits)]
