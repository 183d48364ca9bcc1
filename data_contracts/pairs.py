"""Pairs artefact: the echo study, the reports and the measured values of each ECG, and the split of patients."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.conventions import METHODS, SPLITS, ContractError
from data_contracts.tables import TableContract, column

CONTRACT_VERSION = 2  # 1 had labels of studies

_RECORD = column("record_id", pa.string(), "keyed pseudonym of the ECG recording")
_STUDY = column("study_id", pa.string(), "keyed pseudonym of the echo study")
_PATIENT = column("patient_id", pa.string(), "keyed pseudonym of the patient")
_SPLIT = column("split", pa.string(), "train, validation or test; by a keyed hash of the patient, or as published")


def _checks(check: Any) -> Mapping[str, Any]:
    return {
        "split": check.isin(SPLITS),
        "method": check.isin(METHODS),
        "text": check.str_length(min_value=1),
        "kept": check.ge(0),
    }


PATIENTS = TableContract(
    "patients",
    (
        _PATIENT,
        _SPLIT,
    ),
    _checks,
    unique=("patient_id",),
)

ECG_ECHO = TableContract(
    "ecg_echo",
    (
        _RECORD,
        _STUDY,
        _PATIENT,
        _SPLIT,
        column(
            "gap_hours", pa.float64(), "ECG minus echo time, negative where the ECG is first; middle of its step", "h"
        ),
    ),
    _checks,
    unique=("record_id", "study_id"),
)

ECG_TEXT = TableContract(
    "ecg_text",
    (
        _RECORD,
        column("report_id", pa.string(), "keyed pseudonym of the report"),
        _PATIENT,
        _SPLIT,
        column("method", pa.string(), "ECG or ECHO: what the report is about"),
        column("text", pa.string(), "report text, not yet wrapped in the prompt"),
    ),
    _checks,
    unique=("record_id", "report_id"),
)

LABELS = TableContract(
    "labels",
    (
        _RECORD,
        _PATIENT,
        _SPLIT,
        column("study_id", pa.string(), "echo study of the exam; null for an exam without clips", optional=True),
        column("measurement", pa.string(), "name as the export gives it"),
        column("value", pa.float64(), "measured value in `unit`; null for a finding in words", optional=True),
        column("upper", pa.float64(), "upper end where the export gives a range from `value`", optional=True),
        column("words", pa.string(), "finding in words; null for a number", optional=True),
        column("unit", pa.string(), "unit as the export gives it"),
        column(
            "gap_hours",
            pa.float64(),
            "ECG time minus exam time, negative when the ECG came first, the middle of its step; null for a value "
            "stated for the ECG",
            "h",
            optional=True,
        ),
    ),
    _checks,
    unique=("record_id", "measurement"),
)

FILTERS = TableContract(
    "filters",
    (
        column("pair", pa.string(), "split, ecg_echo, ecg_text or labels"),
        column("step", pa.string(), "the condition applied, in the order applied"),
        column("kept", pa.int64(), "rows left after it"),
    ),
    _checks,
    unique=("pair", "step"),
)

TABLES = (PATIENTS, ECG_ECHO, ECG_TEXT, LABELS, FILTERS)


def check_no_leakage(patients: pa.Table, *pairs: pa.Table) -> None:
    """Checks the leakage rule: in every table, a patient is on one side of the split.

    Args:
        patients: PATIENTS table.
        pairs: tables with `patient_id` and `split` columns.

    Raises:
        ContractError: a patient is unknown or on two sides of the split; the message names the first.
    """
    split_of = dict(zip(patients["patient_id"].to_pylist(), patients["split"].to_pylist(), strict=True))
    if len(split_of) != patients.num_rows:
        raise ContractError("leakage: a patient is listed twice in 'patients'")
    for table in pairs:
        sides = table.select(["patient_id", "split"]).group_by(["patient_id", "split"]).aggregate([])
        for patient, split in zip(sides["patient_id"].to_pylist(), sides["split"].to_pylist(), strict=True):
            if split_of.get(patient) != split:
                raise ContractError(f"leakage: patient {patient} stands in '{split}' and in '{split_of.get(patient)}'")
    if not pc.all(pc.is_in(patients["split"], value_set=pa.array(SPLITS))).as_py() and patients.num_rows:
        raise ContractError("leakage: 'patients' holds an unknown split")
