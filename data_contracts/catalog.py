"""Catalog artefact: the ECGs, echo clips, reports and measurements that an export holds.

Nothing in it names a person or a file of the hospital: identifiers are keyed pseudonyms, dates are hours since the
patient's first event, and paths stay in the workspace's private index.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from data_contracts.conventions import METHODS
from data_contracts.quarantine import QUARANTINE
from data_contracts.tables import TableContract, column

CONTRACT_VERSION = 3  # 1 could not state the leads of an array; 2 had no table of subgroups

SEXES = ("F", "M", "X")
MAX_AGE_YEARS = 90.0  # a higher age could name a person (HIPAA, 45 CFR 164.514(b)(2)(i)(C))

_PATIENT = column("patient_id", pa.string(), "keyed pseudonym of the patient")
_HOURS = column("hours", pa.float64(), "time since the patient's first event in the export", "h")
_HASH = column("content_hash", pa.string(), "SHA-256 of the file's bytes (WFDB: header, then signal files)")


def _hash_checks(check: Any) -> Mapping[str, Any]:
    return {
        "content_hash": check.str_matches(r"^[0-9a-f]{64}$"),
        "hours": check.ge(0),
    }


def _report_checks(check: Any) -> Mapping[str, Any]:
    return {
        "method": check.isin(METHODS),
        "text": check.str_length(min_value=1),
        "hours": check.ge(0),
    }


ECGS = TableContract(
    "ecgs",
    (
        column("record_id", pa.string(), "keyed pseudonym of the ECG recording"),
        _PATIENT,
        _HOURS,
        _HASH,
        column("source_id", pa.string(), "pseudonym of the file's path; the private index resolves it"),
        column(
            "stated_unit",
            pa.string(),
            "amplitude unit stated by the export, for a file that has none",
            optional=True,
        ),
        column(
            "stated_sampling_frequency",
            pa.float64(),
            "sampling frequency stated by the export, for a file that has none",
            "Hz",
            optional=True,
        ),
        column(
            "stated_leads",
            pa.string(),
            "leads in stored order, separated by semicolons, stated by the export for a file that names none",
            optional=True,
        ),
    ),
    _hash_checks,
    unique=("record_id",),
)

ECHOES = TableContract(
    "echoes",
    (
        column("clip_id", pa.string(), "keyed pseudonym of the echo file"),
        column("study_id", pa.string(), "keyed pseudonym of the echo study"),
        _PATIENT,
        _HOURS,
        _HASH,
        column("source_id", pa.string(), "pseudonym of the file's path; the private index resolves it"),
    ),
    _hash_checks,
    unique=("clip_id",),
)

REPORTS = TableContract(
    "reports",
    (
        column("report_id", pa.string(), "keyed pseudonym of the report"),
        _PATIENT,
        _HOURS,
        column("method", pa.string(), "ECG or ECHO: what the report is about"),
        column("subject_id", pa.string(), "record_id for an ECG report, study_id for an ECHO report"),
        column("text", pa.string(), "report text, de-identified by the hospital before export"),
    ),
    _report_checks,
    unique=("report_id",),
)

MEASUREMENTS = TableContract(
    "measurements",
    (
        _PATIENT,
        _HOURS,
        column("study_id", pa.string(), "echo study, where the export links it", optional=True),
        column("measurement", pa.string(), "name as the export gives it, for example lvef"),
        column("value", pa.float64(), "measured value in `unit`"),
        column("unit", pa.string(), "unit as the export gives it"),
    ),
)


def _subgroup_checks(check: Any) -> Mapping[str, Any]:
    return {"sex": check.isin(SEXES), "age": check.in_range(0, MAX_AGE_YEARS)}


SUBGROUPS = TableContract(
    "subgroups",
    (
        column("record_id", pa.string(), "keyed pseudonym of the ECG recording"),
        column("sex", pa.string(), "F, M or X (neither), where the export states it", optional=True),
        column("age", pa.float64(), "at the ECG, where the export states it; 90 stands for 90 and over", "a", True),
        column("site", pa.string(), "keyed pseudonym of where it was recorded, where stated", optional=True),
        column("device", pa.string(), "keyed pseudonym of the ECG device, where stated", optional=True),
        column("rhythm", pa.string(), "as the export names it, where it does", optional=True),
    ),
    _subgroup_checks,
    unique=("record_id",),
)

TABLES = (ECGS, ECHOES, REPORTS, MEASUREMENTS, SUBGROUPS, QUARANTINE)
