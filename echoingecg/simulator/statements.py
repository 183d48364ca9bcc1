"""What an ECG machine states of a recording, in the words that MIMIC-IV-ECG's machines use."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from echoingecg.simulator.ecg.faults import Fault
from echoingecg.simulator.population.patient import Heart

_NORMAL: Final = ("Sinus rhythm", "Sinus bradycardia")
_MINOR: Final = ("prolonged pr", "low qrs", "nonspecific", "right axis")
_UNSURE: Final = "Poor quality data, interpretation may be affected"
_REVERSED: Final = "--- Possible arm lead reversal - hence only aVF, V1-V6 analyzed ---"
_NOISY: Final = 0.035  # mV
_LIMB_LEADS: Final = {"RA": "I, II", "LA": "I, III", "LL": "II, III"}
_ISCHEMIA: Final = (
    "Lateral ST-T changes may be due to myocardial ischemia",
    "Inferior/lateral ST-T changes may be due to myocardial ischemia",
    "Inferior/lateral ST-T changes are nonspecific",
)


def ecg_statements(
    heart: Heart, rng: np.random.Generator, ectopic_beats: int = 0, fault: Fault | None = None
) -> list[str]:
    """Statements on one recording; the last one is the summary.

    Args:
        heart: as the recording shows it.
        rng: chooses among synonyms, and how voltage and ST are read near their limits.
        ectopic_beats: in the recording.
        fault: of the recording.
    """
    reversal = _says_reversed(heart, fault)
    rhythm = _rhythm(heart, ectopic_beats)
    findings = list(_findings(heart, rng, axis_is_read=not reversal))
    return [*_quality(heart, fault, reversal), rhythm, *findings, _summary(rhythm, findings)]


def _quality(heart: Heart, fault: Fault | None, reversal: bool) -> list[str]:
    if reversal:
        return [_REVERSED]
    if fault is not None and fault.kind in ("electrode off", "saturated lead"):
        return [f"Lead(s) unsuitable for analysis: {_LIMB_LEADS.get(fault.place, fault.place)}"]
    noisy = heart.ecg_noise > _NOISY or (fault is not None and fault.kind == "motion artefact")
    return [_UNSURE] if noisy else []


def _says_reversed(heart: Heart, fault: Fault | None) -> bool:
    """The machine knows swapped arms by an inverted P wave in I: it must find one."""
    return fault is not None and fault.kind == "arm electrodes swapped" and not heart.atrial_fibrillation


def _summary(rhythm: str, findings: list[str]) -> str:
    if rhythm not in _NORMAL:
        return "Abnormal ECG"
    if not findings:
        return "Normal ECG"
    minor = all(any(word in one.lower() for word in _MINOR) for one in findings)
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
