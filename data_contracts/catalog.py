"""Catalog artefact: the ECGs, echo clips, reports and measurements that an export holds.

Nothing in it names a person or a file of the hospital: identifiers are keyed pseudonyms, dates are hours since the
patient's first event, and paths stay in the workspace's private index.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.conventions import METHODS, ContractError
from data_contracts.quarantine import QUARANTINE
from data_contracts.tables import TableContract, column

# 1 could not state the leads of an array; 2 had no table of subgroups; 3 had no exams, ranges or results in words
CONTRACT_VERSION = 4

SEXES = ("F", "M", "X")
MAX_WORDS_CHARACTERS = 80  # of a result in words; a longer text is a note, and could name a person
MAX_AGE_YEARS = 90.0  # a higher age could name a person (HIPAA, 45 CFR 164.514(b)(2)(i)(C))

_PATIENT = column("patient_id", pa.string(), "keyed pseudonym of the patient")
_HOURS = column("hours", pa.float64(), "time since the patient's first event, in steps of `interval_hours`", "h")
_HASH = column("content_hash", pa.string(), "HMAC-SHA256, under the pseudonym key, of the SHA-256 of the file's bytes")
_ECG_HASH = column(
    "content_hash",
    pa.string(),
    "HMAC-SHA256, under the pseudonym key, of the SHA-256 of the file's bytes (WFDB: header, then signal files; of an "
    "ECG in a file of many: its values), and of what the export states about it, where it states anything",
)


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
        _ECG_HASH,
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


class MeasurementContract(TableContract):
    """Contract of a table of measurements with words and ranges: a row has a number or words, a range both its ends."""

    def check(self, table: pa.Table) -> pa.Table:
        """Checks the table as TableContract does, and each row's result.

        Raises:
            ContractError: also if a row has a number and words, or neither, or an upper end below its value.
        """
        table = super().check(table)
        both_or_none = pc.equal(pc.is_valid(table["value"]), pc.is_valid(table["words"]))
        if pc.any(both_or_none).as_py():
            raise ContractError(f"table '{self.name}': a row has not exactly one of value and words")
        if pc.any(pc.and_kleene(pc.is_valid(table["upper"]), pc.is_null(table["value"]))).as_py():
            raise ContractError(f"table '{self.name}': a row has an upper end without a value")
        if pc.any(pc.less(table["upper"], table["value"])).as_py():
            raise ContractError(f"table '{self.name}': a row has an upper end below its value")
        return table


_STUDY = column("study_id", pa.string(), "echo study, where the export links it", optional=True)
_MEASUREMENT = column("measurement", pa.string(), "name as the export gives it, for example lvef")
_UNIT = column("unit", pa.string(), "unit as the export gives it")


def _measurement_checks(check: Any) -> Mapping[str, Any]:
    return {"hours": check.ge(0), "words": check.str_length(1, MAX_WORDS_CHARACTERS)}


MEASUREMENTS = MeasurementContract(
    "measurements",
    (
        _PATIENT,
        _HOURS,
        _STUDY,
        column("record_id", pa.string(), "ECG recording that the result is stated for, if for one", optional=True),
        column("exam_id", pa.string(), "keyed pseudonym of the exam, where the export names it", optional=True),
        column("exam_type", pa.string(), "as the export names it, in lower case: tte, tee, stress", optional=True),
        _MEASUREMENT,
        column("value", pa.float64(), "measured value in `unit`; null where the result is words", optional=True),
        column("upper", pa.float64(), "upper end in `unit`, where the result is a range from `value`", optional=True),
        column("words", pa.string(), "result as the export words it, where it is no number", optional=True),
        _UNIT,
    ),
    _measurement_checks,
)
_NUMBERS_ALONE = TableContract(
    "measurements",
    (_PATIENT, _HOURS, _STUDY, _MEASUREMENT, column("value", pa.float64(), "measured value in `unit`"), _UNIT),
)
_MEASUREMENTS_BY_VERSION = {1: _NUMBERS_ALONE, 2: _NUMBERS_ALONE, 3: _NUMBERS_ALONE, CONTRACT_VERSION: MEASUREMENTS}


def measurements_contract(contract_version: int) -> TableContract:
    """Returns the contract of the table `measurements` in one contract version. Versions 1 to 3 hold numbers alone.

    Raises:
        ContractError: this release does not know the version.
    """
    if contract_version not in _MEASUREMENTS_BY_VERSION:
        raise ContractError(f"catalog contract version {contract_version}: this release reads 1 to {CONTRACT_VERSION}")
    return _MEASUREMENTS_BY_VERSION[contract_version]


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
