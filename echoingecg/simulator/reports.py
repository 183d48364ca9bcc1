"""The texts of an export: echo reports and measurements, and the statements of ECG machines as in MIMIC-IV-ECG."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from echoingecg.simulator.ecg.electrodes import Fault
from echoingecg.simulator.population.patient import Heart, Sex

# Grades of LVEF, %: Lang et al., J Am Soc Echocardiogr 2015;28:1 (ASE/EACVI), in round numbers for both sexes.
_LVEF_GRADES = (
    (30, ("Severely depressed", "Severely reduced", "Severely impaired", "Severely decreased")),
    (40, ("Moderately depressed", "Moderately reduced", "Moderately impaired", "Moderately decreased")),
    (50, ("Mildly depressed", "Mildly reduced", "Mildly impaired", "Mildly decreased")),
    (55, ("Low normal", "Borderline normal")),
    (101, ("Normal", "Preserved")),
)
_FUNCTION = (
    "left ventricular systolic function",
    "global left ventricular systolic function",
    "LV systolic function",
    "overall left ventricular contraction",
)
# "LV ejection fraction is" is the prompt of ECHO-CLIP (Christensen et al., Nat Med 2024;30:1481).
_LVEF_NUMBERS = (
    "LVEF is {} %.",
    "LVEF = {} %.",
    "The ejection fraction is {} %.",
    "LV ejection fraction is {} %.",
    "Estimated LVEF {} %.",
    "The left ventricular ejection fraction is estimated at {} %.",
)
# Upper limits of a normal, mildly, moderately dilated end-diastolic diameter, mm: Lang et al., J Am Soc
# Echocardiogr 2005;18:1440 (ASE).
_DIAMETER_LIMITS: dict[Sex, tuple[float, float, float]] = {"F": (53, 57, 61), "M": (59, 63, 68)}
# Upper limits of a normal, mildly, moderately thick septum, mm; 15 mm and more is severe (SLVH).
_SEPTUM_LIMITS = (11, 12.9, 14.9)
_GRADES = ("normal", "mildly", "moderately", "severely")
# Placeholders: the grade as in "mildly", the grade as in "Mildly".
_NORMAL_CAVITY = (
    "The left ventricular cavity is normal in size.",
    "Normal left ventricular cavity size.",
    "The left ventricle is of normal size.",
    "The left ventricle is not dilated.",
)
_DILATED_CAVITY = (
    "The left ventricle is {0} dilated.",
    "{1} dilated left ventricular cavity.",
    "The left ventricular cavity is {0} enlarged.",
    "{1} dilated left ventricle.",
)
_DIAMETER_NUMBERS = ("LVEDD {} mm.", "LVIDd {} mm.", "End-diastolic diameter {} mm.")
# Placeholders: the grade as in "Mild", the grade as in "Mildly".
_NORMAL_WALL = (
    "Normal left ventricular wall thickness.",
    "Left ventricular wall thickness is normal.",
    "No left ventricular wall thickening.",
)
_THICK_WALL = (
    "{0} left ventricular hypertrophy.",
    "{0} concentric hypertrophy of the left ventricle.",
    "{1} increased left ventricular wall thickness.",
)
_SEPTUM_NUMBERS = ("Septal wall {} mm.", "Interventricular septum {} mm.", "IVSd {} mm.")
_FIBRILLATION = (
    "The rhythm was atrial fibrillation during the study.",
    "The patient was in atrial fibrillation.",
)
_SEPTAL_MOTION = (
    "Abnormal septal motion consistent with left bundle branch block.",
    "Dyssynchronous septal motion, as in left bundle branch block.",
)
_POOR_IMAGES = (
    "Suboptimal image quality.",
    "Technically difficult study, poor acoustic windows.",
    "Poor image quality.",
)
_FAIR_IMAGES = ("", "Adequate image quality.", "Fair image quality.")
_GOOD_IMAGES = ("", "Good image quality.", "Good acoustic windows.")


@dataclass(frozen=True)
class Measurement:
    """A row of the structured measurements: name, description, value, unit."""

    name: str
    description: str
    value: int
    unit: str


def measurements(heart: Heart) -> tuple[Measurement, ...]:
    """Lists what the sonographer measured, in whole units."""
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
        Measurement(
            "lv_end_diastolic_volume",
            "Left ventricular volume at end diastole",
            round(heart.lv_end_diastolic_volume),
            "mL",
        ),
        Measurement("heart_rate", "Heart rate", round(heart.heart_rate), "bpm"),
    )


def echo_report(heart: Heart, rng: np.random.Generator) -> str:
    """Writes the findings of an echo study in clinical prose; the numbers are those of `measurements`."""
    sentences = [_quality(heart, rng), _systolic_function(heart, rng), _cavity(heart, rng), _wall(heart, rng)]
    if heart.atrial_fibrillation and rng.random() < 0.7:
        sentences.append(str(rng.choice(_FIBRILLATION)))
    if heart.left_bundle_branch_block and rng.random() < 0.6:
        sentences.append(str(rng.choice(_SEPTAL_MOTION)))
    return " ".join(sentence for sentence in sentences if sentence)


def _quality(heart: Heart, rng: np.random.Generator) -> str:
    if heart.image_quality < 0.45:
        return str(rng.choice(_POOR_IMAGES))
    return str(rng.choice(_GOOD_IMAGES if heart.image_quality > 0.7 else _FAIR_IMAGES))


def _systolic_function(heart: Heart, rng: np.random.Generator) -> str:
    lvef = round(heart.lvef)
    grade = str(rng.choice(next(grades for limit, grades in _LVEF_GRADES if lvef < limit)))
    value = str(rng.choice(_LVEF_NUMBERS)).format(lvef)
    return f"{grade} {rng.choice(_FUNCTION)}. {value}"


def _cavity(heart: Heart, rng: np.random.Generator) -> str:
    diameter = round(heart.lv_end_diastolic_diameter)
    grade = _grade(diameter, _DIAMETER_LIMITS[heart.sex])
    phrases = _NORMAL_CAVITY if grade == "normal" else _DILATED_CAVITY
    sentence = str(rng.choice(phrases)).format(grade, grade.capitalize())
    number = str(rng.choice(_DIAMETER_NUMBERS)).format(diameter)
    volume = f" LV end-diastolic volume {round(heart.lv_end_diastolic_volume)} mL." if rng.random() < 0.4 else ""
    return f"{sentence} {number}{volume}"


def _wall(heart: Heart, rng: np.random.Generator) -> str:
    septum = round(heart.septal_wall_thickness)
    grade = _grade(septum, _SEPTUM_LIMITS)
    phrases = _NORMAL_WALL if grade == "normal" else _THICK_WALL
    sentence = str(rng.choice(phrases)).format(grade.removesuffix("ly").capitalize(), grade.capitalize())
    return f"{sentence} {str(rng.choice(_SEPTUM_NUMBERS)).format(septum)}"


def _grade(value: float, limits: tuple[float, float, float]) -> str:
    return _GRADES[sum(value > limit for limit in limits)]


_NORMAL_RHYTHMS = ("Sinus rhythm", "Sinus bradycardia")
_MINOR_FINDINGS = ("prolonged pr", "low qrs", "nonspecific", "right axis")
_POOR_QUALITY = "Poor quality data, interpretation may be affected"
_ARMS_REVERSED = "--- Possible arm lead reversal - hence only aVF, V1-V6 analyzed ---"
_NOISY_MV = 0.035  # mV
_LIMB_LEADS = {"RA": "I, II", "LA": "I, III", "LL": "II, III"}
_ISCHEMIA = (
    "Lateral ST-T changes may be due to myocardial ischemia",
    "Inferior/lateral ST-T changes may be due to myocardial ischemia",
    "Inferior/lateral ST-T changes are nonspecific",
)


def ecg_statements(
    heart: Heart, rng: np.random.Generator, ectopic_beats: int = 0, fault: Fault | None = None
) -> list[str]:
    """Writes the machine's statements on one recording; the last one is the summary.

    Args:
        heart: as the recording shows it.
        rng: chooses synonyms, and decides how voltage and ST are read near their limits.
        ectopic_beats: number in the recording.
        fault: of the recording.
    """
    reversal = _arms_look_reversed(heart, fault)
    rhythm = _rhythm(heart, ectopic_beats)
    findings = list(_findings(heart, rng, axis_is_read=not reversal))
    return [*_quality_statement(heart, fault, reversal), rhythm, *findings, _summary(rhythm, findings)]


def _quality_statement(heart: Heart, fault: Fault | None, reversal: bool) -> list[str]:
    if reversal:
        return [_ARMS_REVERSED]
    if fault is not None and fault.kind in ("electrode off", "saturated lead"):
        return [f"Lead(s) unsuitable for analysis: {_LIMB_LEADS.get(fault.place, fault.place)}"]
    noisy = heart.ecg_noise > _NOISY_MV or (fault is not None and fault.kind == "motion artefact")
    return [_POOR_QUALITY] if noisy else []


def _arms_look_reversed(heart: Heart, fault: Fault | None) -> bool:
    """Says whether the machine notices swapped arms: by an inverted P wave in I, which fibrillation lacks."""
    return fault is not None and fault.kind == "arm electrodes swapped" and not heart.atrial_fibrillation


def _summary(rhythm: str, findings: list[str]) -> str:
    if rhythm not in _NORMAL_RHYTHMS:
        return "Abnormal ECG"
    if not findings:
        return "Normal ECG"
    minor = all(any(text in finding.lower() for text in _MINOR_FINDINGS) for finding in findings)
    return "Borderline ECG" if minor else "Abnormal ECG"


def _rhythm(heart: Heart, ectopic_beats: int) -> str:
    ectopy = " with PVC(s)" if ectopic_beats else ""
    if heart.atrial_fibrillation:
        fast = heart.heart_rate > 110
        return "Atrial fibrillation" + (" with rapid ventricular response" if fast else "") + ectopy
    if heart.heart_rate < 60:
        return "Sinus bradycardia" + ectopy
    return ("Sinus tachycardia" if heart.heart_rate > 100 else "Sinus rhythm") + ectopy


def _findings(heart: Heart, rng: np.random.Generator, axis_is_read: bool) -> Iterator[str]:
    fascicular = heart.right_bundle_branch_block and -90 <= heart.qrs_axis < -45
    if not heart.atrial_fibrillation and heart.pr_interval > 200:
        yield "Prolonged PR interval"
    if axis_is_read and not fascicular:
        yield from _axis(heart.qrs_axis)
    if heart.left_bundle_branch_block:
        yield "Left bundle branch block"
        return  # the machine reads neither voltage nor ST and T in block
    if heart.right_bundle_branch_block:
        yield "RBBB with left anterior fascicular block" if fascicular else "Right bundle branch block"
    elif heart.qrs_duration > 110:
        yield "IV conduction defect"
    hypertrophy = heart.qrs_voltage + rng.normal(0, 0.1) > 1.75
    if hypertrophy:
        yield "Left ventricular hypertrophy"
    elif heart.qrs_voltage < 0.7:
        yield "Generalized low QRS voltages" if heart.qrs_voltage < 0.55 else "Low QRS voltages in limb leads"
    yield from _repolarisation(heart, hypertrophy, rng)
    if heart.qt_corrected > 470:
        yield "Prolonged QT interval"


def _axis(angle: float) -> Iterator[str]:
    if -90 <= angle < -30:
        yield "Left axis deviation"
    elif not -90 <= angle <= 90:
        yield "Right axis deviation"


def _repolarisation(heart: Heart, hypertrophy: bool, rng: np.random.Generator) -> Iterator[str]:
    if heart.st_depression + rng.normal(0, 0.01) > 0.075:
        if hypertrophy:
            yield "Lateral ST-T changes may be due to hypertrophy and/or ischemia"
        else:
            yield str(rng.choice(_ISCHEMIA))
    elif heart.t_amplitude < -0.05:
        yield str(rng.choice(("Inferior/lateral T wave inversion", "Lateral T wave changes may be due to ischemia")))
    elif heart.t_amplitude < 0.08:
        yield str(rng.choice(("Nonspecific T wave abnormalities", "Lateral T wave changes are nonspecific")))
