"""Layout `music`: MUSIC 1.0.1 (PhysioNet, doi 10.13026/fa8p-he52): 992 patients with chronic heart failure.

`subject-info.csv`, separated by semicolons, has a row for each patient: age, sex, LVEF and what became of the patient.

- Its ECGs, `Holter_ECG/P0001` (24 h, 200 Hz) and `High-resolution_ECG/P0001_H` (20 min, 1000 Hz), have two or three
  leads, mostly X, Y and Z. Twelve leads from them would be a guess: each is refused, and no file is opened.
- LVEF in %, the cause of death (0 none, 1 not cardiac, 3 sudden, 6 pump failure) and the NYHA class are measurements of
  the patient. They are labels for twelve-lead ECGs of the same patients in another export of the same run.
- No date is published: all rows get the same one. Patients are named by data set and number.
"""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from echoingecg.catalog.layouts import base
from echoingecg.catalog.layouts.tables import ExportTable, Tables

_SUBJECTS = "subject-info.csv"
_SITE = "MUSIC"
_NUMBER = "Patient ID"
_LVEF = "LVEF (%)"
_MEASUREMENTS = (  # column, measurement, unit
    (_LVEF, "lvef", "%"),
    ("Cause of death", "cause_of_death", ""),
    ("NYHA class", "nyha_class", ""),
)
_RECORDINGS = (  # column that is 1 where there is one, its file; the spelling is the publisher's
    ("Holter available", "Holter_ECG/{}"),
    ("Hig-resolution ECG available", "High-resolution_ECG/{}_H"),
)
_NOT_TWELVE = "MUSIC's recordings have two or three leads, X, Y and Z: twelve leads from them would be a guess"


def _file_tables(tables: Tables) -> base.FileTables:
    """Lists no file: the recordings are refused row by row."""
    frame, malformed = _read(tables[_SUBJECTS])
    refused = tuple(
        (f"{row} {file.format(number)}", "missing_leads", _NOT_TWELVE)
        for column, file in _RECORDINGS
        for row, number in frame.loc[frame[column] == "1", ["row", _NUMBER]].itertuples(index=False)
    )
    return base.FileTables(malformed=tuple(malformed), refused=refused)


def _clinical_tables(tables: Tables) -> base.ClinicalTables:
    return base.ClinicalTables(
        measurements=base.MeasurementSource(partial(_measurements, tables[_SUBJECTS]), with_gaps=True)
    )


def _measurements(table: ExportTable, malformed: list[str]) -> Iterator[base.MeasurementBatch]:
    """Yields the numbers of each patient. Malformed rows are reported with the list of files."""
    frame, _ = _read(table)
    for column, name, unit in _MEASUREMENTS:
        yield base.batch_of_frame(frame.assign(value=frame[column], measurement=name, unit=unit), table, f" {name}")


def _read(table: ExportTable) -> tuple[pd.DataFrame, list[str]]:
    """Returns the patients with `patient` and `time`, and malformed rows."""
    columns = [column for column, _, _ in _MEASUREMENTS] + [column for column, _ in _RECORDINGS]
    frame, malformed = table.read((_NUMBER,), columns)
    return frame.assign(patient=base.patients_of_site(_SITE, frame[_NUMBER]), time=base.NO_DATE), malformed


LAYOUT = base.Layout(
    "music", 1, (_SUBJECTS,), (_SUBJECTS,), _file_tables, _clinical_tables,
    separator=";", states_sites=lambda tables: True,
)  # fmt: skip
