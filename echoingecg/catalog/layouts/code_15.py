"""Layout `code-15`: CODE-15 (Zenodo 4916206) and SaMi-Trop (Zenodo 4905618), which share names, columns and HDF5 files.

CODE-15 (Ribeiro et al., Nat Commun 2020;11:1760): `exams.csv` names for each exam the file that holds it, such as
`exams_part13.hdf5`, and six findings of cardiologists. SaMi-Trop (Cardoso et al., BMJ Open 2016;6:e011181; one exam a
patient): `exams.csv` without that column, and `exams.hdf5`, whose tracings stand in the order of the table.

- The publisher gives the rate and the order of the leads: 400 Hz; DI, DII, DIII, AVR, AVL, AVF, V1 to V6. See
  `echoingecg/ecg/decode/arrays/hdf5.py` for the padding.
- The unit is written as "1e-4 V". The same sentence goes on that a signal in V is to be multiplied by 1000, which
  would be mV. The layout reads 1e-4 V, and the recipe's `catalog.array_unit` replaces it: see
  `docs/howto/public_cohorts.md`. Stage ecg stops where a cohort's amplitudes cannot be those of the unit.
- A finding is a statement about an ECG, 1 or 0. Death and follow-up are left out.
- No date is published. A patient's only events are at 0 h whatever their date, so all rows get the same one.
- The patients are numbered anew: each is named by data set and number, so that equal numbers elsewhere are others.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from echoingecg.catalog.layouts import base
from echoingecg.catalog.layouts.tables import ExportTable, Tables

_EXAMS = "exams.csv"
_ONE_FILE = "exams.hdf5"
_PART = "trace_file"
_STATEMENTS = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "normal_ecg")
_HERTZ = "400"
_UNIT = "0.1 mV"
_FLAGS = {"true": "1", "false": "0", "1": "1", "0": "0", "1.0": "1", "0.0": "0", "": ""}
_SEXES = {"1": "M", "0": "F", "": ""}
_NO_FLAG = "neither true nor false"
_HEADER_RECORDS = 2  # the header is record 1, the first exam record 2


def _file_tables(tables: Tables) -> base.FileTables:
    table = tables[_EXAMS]
    frame, malformed = _read(table)
    if table.has_column(_PART):
        places = {name: _place(table.path.parent, name) for name in frame[_PART].unique()}
        paths = frame[_PART].map(places).astype("str") + "#" + frame["record"]
    else:
        index = (frame["row"].str.split("#").str[-1].astype("int64") - _HEADER_RECORDS).astype("str")
        paths = f"{_ONE_FILE}#" + index + f"of{len(frame) + len(malformed)}"
    frame = frame.assign(path=paths, unit=_UNIT, sampling_frequency=_HERTZ, leads=base.CLINICAL_LEADS)
    ecgs = base.with_columns(table.paths_from_export(frame, "path"), base.ECG_COLUMNS)
    return base.FileTables(ecgs=ecgs, malformed=tuple(malformed))


def _place(folder: Path, name: str) -> str:
    """Returns where a part lies, relative to the table: beside it, or in the folder of its unpacked archive."""
    unpacked = f"{Path(name).stem}/{name}"
    is_plain = bool(name) and "/" not in name and "\0" not in name
    return unpacked if is_plain and not (folder / name).is_file() and (folder / unpacked).is_file() else name


def _clinical_tables(tables: Tables) -> base.ClinicalTables:
    """Reads sex, age and statements. Malformed rows are reported with the list of files."""
    table = tables[_EXAMS]
    frame, _ = _read(table)
    sex = _flags(frame["is_male"]).map(lambda flag: _SEXES.get(flag, flag)).astype("str")
    # The same row also lists an ECG and statements: quarantine needs a name for each.
    stated = frame.assign(row=frame["row"] + " subgroups", sex=sex)
    subgroups = base.with_columns(stated, base.SUBGROUP_COLUMNS)
    measurements = base.MeasurementSource(partial(_statements, table), with_gaps=True)
    return base.ClinicalTables(measurements=measurements, subgroups=subgroups)


def _statements(table: ExportTable, malformed: list[str]) -> Iterator[base.MeasurementBatch]:
    frame, _ = _read(table)
    for name in filter(table.has_column, _STATEMENTS):
        rows = frame.assign(ecg=frame["record"], measurement=name, value=_flags(frame[name]))
        yield base.batch_of_frame(rows, table, f" {name}")


def _read(table: ExportTable) -> tuple[pd.DataFrame, list[str]]:
    """Returns the exams with `record`, `patient` and `time`, and malformed rows."""
    of_parts = table.has_column(_PART)
    needed = ("exam_id", "age", "is_male", *(("patient_id", _PART) if of_parts else ()))
    frame, malformed = table.read(needed, _STATEMENTS)
    number = frame["patient_id"] if of_parts else frame["exam_id"]
    patient = base.patients_of_site("CODE-15" if of_parts else "SaMi-Trop", number)
    return frame.assign(record=frame["exam_id"], patient=patient, time=base.NO_DATE), malformed


def _flags(texts: pd.Series) -> pd.Series:
    """Returns `1`, `0` or nothing; a text that is no flag becomes words, which are refused."""
    return texts.str.lower().map(lambda text: _FLAGS.get(text, _NO_FLAG)).astype("str")


LAYOUT = base.Layout("code-15", 1, (_EXAMS,), (_EXAMS,), _file_tables, _clinical_tables, is_unit_open=True)
