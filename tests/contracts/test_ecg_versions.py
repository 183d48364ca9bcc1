"""Tables of earlier contract versions stay readable; those of another release are refused in one line."""

from pathlib import Path
from typing import get_args

import pytest

from data_contracts.conventions import USES, ContractError, LeadFinding, RecordFinding
from data_contracts.ecg import CONTRACT_VERSION, QUALITY_FLAGS, RECORD_FLAGS, RECORDS, records_contract

OLD = {"record_id": "e-1", "patient_id": "p-1", "content_hash": "0" * 64, "signal_sha256": "1" * 64, "flagged_leads": 2}


@pytest.mark.parametrize(
    ("version", "row", "lacks"),
    [
        (1, OLD, "lead_findings"),
        (2, OLD | {"lead_findings": 3, "record_findings": 1}, "recording_id"),
        (3, OLD | {"lead_findings": 3, "record_findings": 1, "recording_id": "e-1"}, "use"),
        (6, OLD | {"lead_findings": 3, "record_findings": 1, "recording_id": "e-1", "use": "keep"}, ""),
    ],
)
def test_earlier_versions_are_read(tmp_path: Path, version: int, row: dict[str, object], lacks: str) -> None:
    records_contract(version).write(records_contract(version).build([row]), tmp_path)
    assert records_contract(version).read(tmp_path).to_pylist() == [row]
    unlike = f"lacks the column '{lacks}'" if lacks else "has an unknown column 'signal_sha256'"
    with pytest.raises(ContractError, match=unlike):
        RECORDS.read(tmp_path)


def test_another_release_is_refused() -> None:
    assert records_contract(CONTRACT_VERSION) is RECORDS
    with pytest.raises(ContractError, match="version 9: this release reads 1 to 7"):
        records_contract(9)


def test_bits_are_single_and_apart() -> None:
    for flags in (QUALITY_FLAGS, RECORD_FLAGS):
        assert sorted(flags.values()) == [1 << bit for bit in range(len(flags))]
        assert sum(flags.values()) < 1 << 15, "the tables hold int16"
    assert list(QUALITY_FLAGS) == list(get_args(LeadFinding))
    assert list(RECORD_FLAGS) == list(get_args(RecordFinding))


@pytest.mark.parametrize(("use", "is_allowed"), [*((use, True) for use in USES), ("refuse", False), ("", False)])
def test_a_record_is_kept_left_out_or_referred(use: str, is_allowed: bool) -> None:
    row = {name: value for name, value in OLD.items() if name != "signal_sha256"}
    row |= {"lead_findings": 3, "record_findings": 1, "recording_id": "e-1", "use": use}
    if is_allowed:
        assert RECORDS.build([row])["use"].to_pylist() == [use]
    else:
        with pytest.raises(ContractError, match="use"):
            RECORDS.build([row])
