"""Catalog, ecg and teacher tables from short rows."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from data_contracts import catalog, ecg, teacher
from echoingecg.pairs.match import build
from echoingecg.recipe.stages import PairsSettings

Ecg = tuple[str, str, float]  # record, patient, hours
Clip = tuple[str, str, float]  # study, patient, hours
Report = tuple[str, str, str, str]  # patient, method, subject, text
Measurement = tuple[str, float, str | None, str, float | str, str]  # patient, hours, study, measurement, value, unit


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def ecg_table(rows: Iterable[Ecg]) -> pa.Table:
    return catalog.ECGS.build(
        [
            {
                "record_id": record,
                "patient_id": patient,
                "hours": hours,
                "content_hash": _hash(record),
                "source_id": record,
                "stated_unit": None,
                "stated_sampling_frequency": None,
                "stated_leads": None,
            }
            for record, patient, hours in rows
        ]
    )


def record_table(rows: Iterable[Ecg], uses: Mapping[str, str] | None = None) -> pa.Table:
    """RECORDS of these ECGs; `uses` by record, `keep` for the others."""
    return ecg.RECORDS.build(
        [
            {
                "record_id": record,
                "patient_id": patient,
                "content_hash": _hash(record),
                "flagged_leads": 0,
                "lead_findings": 0,
                "record_findings": 0,
                "recording_id": record,
                "use": (uses or {}).get(record, "keep"),
            }
            for record, patient, _ in rows
        ]
    )


def clip_table(rows: Iterable[Clip]) -> pa.Table:
    return catalog.ECHOES.build(
        [
            {
                "clip_id": f"{study}-{at}",
                "study_id": study,
                "patient_id": patient,
                "hours": hours,
                "content_hash": _hash(f"{study}-{at}"),
                "source_id": f"{study}-{at}",
            }
            for at, (study, patient, hours) in enumerate(rows)
        ]
    )


def study_table(rows: Iterable[Clip]) -> pa.Table:
    owners = {study: patient for study, patient, _ in rows}
    return teacher.STUDIES.build(
        [{"study_id": one, "patient_id": owners[one], "clips": 1, "frames": 2} for one in sorted(owners)]
    )


def report_table(rows: Iterable[Report]) -> pa.Table:
    return catalog.REPORTS.build(
        [
            {
                "report_id": f"t{at}",
                "patient_id": patient,
                "hours": 0.0,
                "method": method,
                "subject_id": subject,
                "text": text,
            }
            for at, (patient, method, subject, text) in enumerate(rows)
        ]
    )


def measurement_table(rows: Iterable[Measurement | dict[str, Any]]) -> pa.Table:
    """MEASUREMENTS of short rows, in which a value may be words, or of rows that name what the short form lacks."""
    nothing = dict.fromkeys(catalog.MEASUREMENTS.schema.names)
    return catalog.MEASUREMENTS.build([nothing | _measurement(row) for row in rows])


def _measurement(row: Measurement | dict[str, Any]) -> dict[str, Any]:
    if isinstance(row, dict):
        return row
    patient, hours, study, measurement, value, unit = row
    result = {"words" if isinstance(value, str) else "value": value}
    return {"patient_id": patient, "hours": hours, "study_id": study, "measurement": measurement, "unit": unit} | result


def pairs_of(
    ecgs: list[Ecg],
    clips: list[Clip],
    reports: list[Report] | None = None,
    measurements: Sequence[Measurement | dict[str, Any]] | None = None,
    unusable: set[str] | None = None,
    without_target: set[str] | None = None,
    settings: PairsSettings | None = None,
    uses: Mapping[str, str] | None = None,
) -> dict[str, pa.Table]:
    """`build` on short rows; `unusable` ECGs and studies `without_target` are listed in the catalog alone.

    `uses` gives the `use` of ECGs, `keep` for the others.
    """
    return build(
        ecgs=ecg_table(ecgs),
        echoes=clip_table(clips),
        reports=report_table(reports or []),
        measurements=measurement_table(measurements or []),
        records=record_table([one for one in ecgs if one[0] not in (unusable or set())], uses),
        studies=study_table([one for one in clips if one[0] not in (without_target or set())]),
        settings=settings or PairsSettings(),
    )
