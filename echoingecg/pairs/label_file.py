"""Labels of a cohort's own table: one row for each ECG, one column for each label."""

import csv
import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_contracts.catalog import MAX_WORDS_CHARACTERS, MEASUREMENTS
from echoingecg.catalog.layouts.base import patient_of_site
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.common import UserError

_KEYS = ("patient_id", "ecg_id")
_SITE = "site"  # named where the export states sites
_COLUMN = re.compile(r"(?P<name>.+?)\s*(?:\[(?P<unit>[^\]]*)\])?")


def read_label_file(path: Path, key: bytes) -> pa.Table:
    """Reads a CSV table of labels as measurements that are stated for single ECGs.

    The columns `patient_id` and `ecg_id` name the ECG as the export does, with `site` where the export states sites.
    Every other column is a label: its header is the measurement's name, with a unit in brackets where it has one, for
    example `lvef [%]` or `moderate_mr`. A cell is a number, a short finding in words, or empty.

    Args:
        path: UTF-8, with a header line.
        key: of the workspace's pseudonyms.

    Returns:
        MEASUREMENTS, with `record_id`.

    Raises:
        UserError: the table cannot be read, lacks a column, names an ECG twice, or holds a longer text.
    """
    pseudonyms, rows, seen = Pseudonyms(key), [], set()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            header = table.fieldnames or []
            if missing := [name for name in _KEYS if name not in header]:
                raise UserError(f"{path}: no column {' and '.join(missing)}: each row names its ECG as the export does")
            labels = {column: _name_and_unit(column) for column in header if column not in (*_KEYS, _SITE)}
            for row in table:
                patient, ecg = (str(row[name] or "").strip() for name in _KEYS)
                if None in row or not patient or not ecg:
                    raise UserError(f"{path}, line {table.line_num}: does not fit the header, or names no ECG")
                if _SITE in header:
                    site = str(row[_SITE] or "").strip()
                    if not site:
                        raise UserError(
                            f"{path}, line {table.line_num}: names no site, which the table has a column of"
                        )
                    patient = patient_of_site(site, patient)
                if (patient, ecg) in seen:
                    raise UserError(f"{path}, line {table.line_num}: names an ECG for the second time")
                seen.add((patient, ecg))
                stated = {"patient_id": pseudonyms.patient(patient), "record_id": pseudonyms.record(patient, ecg)}
                for column, (name, unit) in labels.items():
                    if text := str(row[column] or "").strip():
                        result = _result(text, f"{path}, line {table.line_num}, '{column}'")
                        rows.append(stated | {"measurement": name, "unit": unit, "hours": 0.0} | result)
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise UserError(f"{path}: not a CSV table in UTF-8: {fault}") from fault
    nothing = dict.fromkeys(MEASUREMENTS.schema.names)
    return MEASUREMENTS.build([nothing | row for row in rows])


def _name_and_unit(column: str) -> tuple[str, str]:
    match = _COLUMN.fullmatch(column.strip())
    assert match is not None
    return match["name"], match["unit"] or ""


def _result(text: str, where: str) -> dict[str, Any]:
    try:
        return {"value": float(text)}
    except ValueError:
        if len(text) > MAX_WORDS_CHARACTERS:
            raise UserError(f"{where}: over {MAX_WORDS_CHARACTERS} characters, which is no label") from None
        return {"words": text}
