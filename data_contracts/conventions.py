"""Names, units and numbers that all stages share, each with its source, and the base class of all user errors.

Shape legend: record = one ECG, lead = 12, time = samples, frame = one echo image, clip = one echo file,
study = one echo examination, dim = shared embedding width.
"""

from collections.abc import Iterable
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

# Whose data something was made of. An export states it in ORIGIN_FILE; a teacher's weights may have one beside them.
NOT_STATED = "not stated"
ORIGINS: dict[str, str] = {
    "simulated": "simulated patients",
    "public": "patients of public data",
    "hospital": "patients of a hospital",
    NOT_STATED: "patients that are not stated",
}
ORIGIN_FILE = "data_origin.json"  # {"origin": one of ORIGINS}
_AND = " and "


def merged_origins(origins: Iterable[str]) -> str:
    """Names several origins, in the order of ORIGINS: `public and hospital`."""
    named = {part for origin in origins for part in origin.split(_AND)}
    return _AND.join(origin for origin in ORIGINS if origin in named)


def origin_in_words(origin: str) -> str:
    """Says whose data: `patients of public data and patients of a hospital`."""
    return _AND.join(ORIGINS.get(part, part) for part in origin.split(_AND))


# The order of MIMIC-IV-ECG and of the released EchoingECG weights: aVF comes BEFORE aVL, unlike in the clinical
# order. Always map leads by name.
LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")

# Sets of leads that a record may hold: six, three and two as in the PhysioNet/CinC Challenge 2021 (Reyna et al.), eight
# as electrocardiographs store them. III, aVR, aVL and aVF follow from I and II, so that two is read as six, and eight
# as twelve.
LeadSet = Literal["twelve", "eight", "six", "three", "two", "one"]
LEAD_SETS: dict[LeadSet, tuple[str, ...]] = {
    "twelve": LEADS,
    "eight": ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"),
    "six": LEADS[:6],
    "three": ("I", "II", "V2"),
    "two": ("I", "II"),
    "one": ("I",),
}

SAMPLING_FREQUENCY = 100.0  # Hz (EchoingECG, section 3)
SAMPLES = 1000  # 10 s at 100 Hz
SIGNAL_UNIT = "mV"

# Quality findings on one lead and on a whole recording (docs/ecg_quality.md).
LeadFinding = Literal[
    "flat",
    "clipped",
    "nan",
    "baseline",
    "amplitude",
    "disconnected",
    "mains",
    "flat_seconds",
    "gain",
    "absent",
]
RecordFinding = Literal[
    "short",
    "no_qrs",
    "limb_leads",
    "no_signal",
    "repeated_block",
    "calibration_pulse",
    "chest_leads",
    "limb_electrodes",
    "heart_rate",
]

# What a finding does to its ECG, the mildest first: nothing; not used for training; not used for training and referred
# to echo; refused (poor_quality in the quarantine).
FindingRule = Literal["keep", "leave_out", "refer", "refuse"]
FINDING_RULES: tuple[FindingRule, ...] = get_args(FindingRule)
USES = FINDING_RULES[:-1]  # of an ECG that is not refused

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

Method = Literal["ECG", "ECHO"]
METHODS: tuple[Method, ...] = get_args(Method)


class UserError(ValueError):
    """A fault in input, recipe or environment that the user can correct: what, where and what to do, on one line.

    The command line prints it and exits with code 2.
    """


class ContractError(UserError):
    """An artefact or a table breaks its contract."""
