"""ECG artefact: filtered 12-lead signals in a pool, and the index of the signals that belong to one version."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from data_contracts.conventions import LEADS, SAMPLES, SIGNAL_UNIT, USES, ContractError, LeadFinding, RecordFinding
from data_contracts.quarantine import QUARANTINE
from data_contracts.tables import ArrayContract, TableContract, column

# 1 had five findings of leads and none of whole recordings; 2 had one signal per recording; 3 had no column `use` and
# no bad seconds; 4 did not know the finding `limb_electrodes`; up to 5 findings had eight bits; up to 6 the table held
# a SHA-256 of each signal, by which who held an ECG could find its row.
CONTRACT_VERSION = 7
POOL_VERSION = 6  # the contract version that last changed an array of the pool

# One bit per finding, for leads and for whole recordings; 0 means no finding. The bits of a finding never change.
QUALITY_FLAGS: dict[LeadFinding, int] = {
    "flat": 1,
    "clipped": 2,
    "nan": 4,
    "baseline": 8,
    "amplitude": 16,
    "disconnected": 32,
    "mains": 64,
    "flat_seconds": 128,
    "gain": 256,
    "absent": 512,
}
RECORD_FLAGS: dict[RecordFinding, int] = {
    "short": 1,
    "no_qrs": 2,
    "limb_leads": 4,
    "no_signal": 8,
    "repeated_block": 16,
    "calibration_pulse": 32,
    "chest_leads": 64,
    "limb_electrodes": 128,
    "heart_rate": 256,
}

KEY = ArrayContract("key", ("record", "byte"), "uint8", "", "key of the signal, see window_key", (("byte", 32),))
SIGNAL = ArrayContract(
    "signal",
    ("record", "lead", "time"),
    "float32",
    SIGNAL_UNIT,
    f"filtered ECG, leads in the order {', '.join(LEADS)}, not standardised; 0 in a lead that is not there",
    (("lead", len(LEADS)), ("time", SAMPLES)),
)
QUALITY = ArrayContract(
    "quality",
    ("record", "lead"),
    "uint16",
    "",
    "bit mask of findings: " + ", ".join(f"{bit} {name}" for name, bit in QUALITY_FLAGS.items()),
    (("lead", len(LEADS)),),
)
FINDINGS = ArrayContract(
    "findings",
    ("record",),
    "uint16",
    "",
    "bit mask of findings on the recording: " + ", ".join(f"{bit} {name}" for name, bit in RECORD_FLAGS.items()),
)
BAD_SECONDS = ArrayContract(
    "bad_seconds",
    ("record", "lead"),
    "uint8",
    "s",
    "time for which the lead holds one value or is clipped, in whole seconds, rounded up",
    (("lead", len(LEADS)),),
)
DIGEST = ArrayContract(
    "sha256", ("record", "byte"), "uint8", "", "SHA-256 of the record's float32 signal bytes", (("byte", 32),)
)
ARRAYS = (KEY, SIGNAL, QUALITY, FINDINGS, BAD_SECONDS, DIGEST)
_NARROW_FINDINGS_VERSION = 5  # the last contract version whose findings have eight bits


def _checks(check: Any) -> Mapping[str, Any]:
    return {
        "content_hash": check.str_matches(r"^[0-9a-f]{64}$"),
        "flagged_leads": check.in_range(0, len(LEADS)),
    }


def _checks_with_findings(check: Any) -> Mapping[str, Any]:
    return {
        **_checks(check),
        "lead_findings": check.in_range(0, sum(QUALITY_FLAGS.values())),
        "record_findings": check.in_range(0, sum(RECORD_FLAGS.values())),
    }


def _checks_with_use(check: Any) -> Mapping[str, Any]:
    return {**_checks_with_findings(check), "use": check.isin(USES)}


_NAMES = (
    column("record_id", pa.string(), "pseudonym of the signal: the recording's, for a later window with its number"),
    column("patient_id", pa.string(), "keyed pseudonym of the patient"),
    column("content_hash", pa.string(), "key of the signal in the pool"),
)
_FLAGGED = column("flagged_leads", pa.int8(), "leads with at least one quality finding")
_UP_TO_6 = (
    *_NAMES,
    column("signal_sha256", pa.string(), "SHA-256 of the float32 signal's bytes: proves the content"),
    _FLAGGED,
)
_FINDINGS = (
    column("lead_findings", pa.int16(), "bit mask of QUALITY_FLAGS: what was found on any lead"),
    column("record_findings", pa.int16(), "bit mask of RECORD_FLAGS: what was found on the recording"),
)
_RECORDING = column("recording_id", pa.string(), "keyed pseudonym of the recording: the catalog's record_id")
_USE = column("use", pa.string(), "keep, leave_out or refer: the strictest rule of the findings, see FindingRule")
RECORDS = TableContract(
    "records",
    (*_NAMES, _FLAGGED, *_FINDINGS, _RECORDING, _USE),
    _checks_with_use,
    unique=("record_id",),
)
_WITH_USE = TableContract("records", (*_UP_TO_6, *_FINDINGS, _RECORDING, _USE), _checks_with_use, unique=("record_id",))
_BY_VERSION = {
    1: TableContract("records", _UP_TO_6, _checks, unique=("record_id",)),
    2: TableContract("records", (*_UP_TO_6, *_FINDINGS), _checks_with_findings, unique=("record_id",)),
    3: TableContract("records", (*_UP_TO_6, *_FINDINGS, _RECORDING), _checks_with_findings, unique=("record_id",)),
    4: _WITH_USE,
    5: _WITH_USE,
    6: _WITH_USE,
    CONTRACT_VERSION: RECORDS,
}

TABLES = (RECORDS, QUARANTINE)


def records_contract(contract_version: int) -> TableContract:
    """Returns the contract of the table `records` in one contract version. All have the names and `flagged_leads`.

    Raises:
        ContractError: this release does not know the version.
    """
    if contract_version not in _BY_VERSION:
        raise ContractError(f"ecg contract version {contract_version}: this release reads 1 to {CONTRACT_VERSION}")
    return _BY_VERSION[contract_version]


def findings_contracts(contract_version: int) -> tuple[ArrayContract, ArrayContract]:
    """Returns the contracts of the pool's arrays `quality` and `findings` in one contract version."""
    if contract_version > _NARROW_FINDINGS_VERSION:
        return QUALITY, FINDINGS
    return replace(QUALITY, dtype="uint8"), replace(FINDINGS, dtype="uint8")


def window_key(content_hash: str, window: int) -> str:
    """Returns the key of a recording's signal in the pool, 64 hexadecimal digits.

    Args:
        content_hash: hash of the file; it is the key of the first window.
        window: number of the window among the usable windows of the recording, from 0.
    """
    return hashlib.sha256(f"{content_hash}/{window}".encode()).hexdigest() if window else content_hash


def window_name(recording_id: str, window: int) -> str:
    """Returns the `record_id` of a recording's signal in one window, from 0."""
    return f"{recording_id}-{window + 1}" if window else recording_id
