"""Names, units and numbers that every stage shares, each with its source.

Shape legend: record = one ECG, lead = 12, time = samples, frame = one echo image,
clip = one echo file, study = one echo examination, dim = shared embedding width.

The root of the errors a user can mend. The command line prints them as one line, exit code 2.
"""

from typing import Literal, get_args

Stage = Literal["catalog", "ecg", "teacher", "pairs", "student", "evaluation"]
STAGES: tuple[Stage, ...] = get_args(Stage)

UPSTREAM: dict[Stage, tuple[Stage, ...]] = {
    "catalog": (),
    "ecg": ("catalog",),
    "teacher": ("catalog",),
    "pairs": ("catalog", "ecg", "teacher"),
    "student": ("ecg", "teacher", "pairs"),
    "evaluation": ("ecg", "teacher", "pairs", "student"),
}

# The order of MIMIC-IV-ECG and of the released EchoingECG weights: aVF stands BEFORE aVL,
# unlike the clinical order. Always map by name.
LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")

SAMPLING_FREQUENCY = 100.0  # Hz (EchoingECG, section 3)
SAMPLES = 1000  # 10 s at 100 Hz
SIGNAL_UNIT = "mV"

# What is found wrong with a lead, and with a recording as a whole (docs/ecg_quality.md).
LeadFinding = Literal["flat", "clipped", "nan", "baseline", "amplitude", "disconnected", "mains"]
RecordFinding = Literal["short", "no_qrs", "limb_leads"]

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

Method = Literal["ECG", "ECHO"]
METHODS: tuple[Method, ...] = get_args(Method)


class UserError(ValueError):
    """A fault in input, recipe or environment: what, where, and what to do, on one line."""


class ContractError(UserError):
    """An artefact or a table does not keep its contract."""
