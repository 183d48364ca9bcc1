"""Layouts of single public data sets: `ptb-xl`, `echonext` (recognised, but refused) and `echonet-dynamic`.

PTB-XL 1.0.3 (PhysioNet; Wagner et al., Sci Data 2020): ECGs with one report each, no echo. Every ECG exists at 500 Hz
and, resampled by the publisher, at 100 Hz. The 500 Hz records are read.

EchoNext 1.1 (PhysioNet): its `.npy` arrays (N, 1, 2500, 12) hold waveforms that the publisher has median-filtered,
clipped and standardised, so millivolts cannot be recovered. Its table gives the year of an ECG but no time, and no file
states the order of the leads.

EchoNet-Dynamic (Stanford; Ouyang et al., Nature 2020;580:252): apical four-chamber videos with volumes and LVEF, no
ECG. Each video is of another patient, and no date is published. A patient's only event is at 0 h whatever its date, so
all rows get the same meaningless date. The published `Split` is not read: the recipe's keyed split serves every layout.
"""

from collections.abc import Iterator
from functools import partial
from typing import NoReturn

import pandas as pd

from echoingecg.catalog.layouts import base
from echoingecg.catalog.layouts.tables import ExportTable, Tables
from echoingecg.common import ExportError

_DATABASE = "ptbxl_database.csv"
_PATHS_500_HZ = "filename_hr"
_SEXES = {"0": "M", "1": "F"}  # Wagner et al., table 3


def _ptb_xl_file_tables(tables: Tables) -> base.FileTables:
    table = tables[_DATABASE]
    frame, malformed = table.read(("patient_id", "ecg_id", "recording_date", _PATHS_500_HZ))
    frame["patient_id"] = frame["patient_id"].str.removesuffix(".0")  # the publisher writes whole numbers as floats
    ecgs = base.with_columns(
        table.paths_from_export(frame, _PATHS_500_HZ), base.ECG_COLUMNS,
        patient="patient_id", record="ecg_id", time="recording_date", path=_PATHS_500_HZ,
    )  # fmt: skip
    return base.FileTables(ecgs=ecgs, malformed=tuple(malformed))


def _ptb_xl_clinical_tables(tables: Tables) -> base.ClinicalTables:
    """Reads reports, most of them in German, and subgroups. Malformed rows are reported by _ptb_xl_file_tables."""
    frame, _ = tables[_DATABASE].read(
        ("patient_id", "ecg_id", "recording_date", "report"), ("sex", "age", "site", "device")
    )
    frame["patient_id"] = frame["patient_id"].str.removesuffix(".0")
    # The same row also lists an ECG and a report: quarantine needs three names.
    stated = frame.assign(row=frame["row"] + " subgroups", sex=frame["sex"].map(_SEXES).fillna(""))
    subgroups = base.with_columns(stated, base.SUBGROUP_COLUMNS, patient="patient_id", record="ecg_id")
    frame = frame[frame["report"] != ""].assign(method="ECG")
    frame["row"] += " report"
    reports = base.with_columns(
        frame, base.REPORT_COLUMNS, patient="patient_id", subject="ecg_id", report="ecg_id", time="recording_date",
        text="report",
    )  # fmt: skip
    return base.ClinicalTables(reports=reports, subgroups=subgroups)


PTB_XL = base.Layout("ptb-xl", 1, (_DATABASE,), (_DATABASE,), _ptb_xl_file_tables, _ptb_xl_clinical_tables)


_ECHONEXT_TABLES = ("echonext_metadata_100k.csv", "EchoNext_metadata_100k.csv")


def _refuse_echonext(tables: Tables) -> NoReturn:
    raise ExportError(
        "EchoNext cannot be read: its waveforms are standardised and have no amplitude unit, "
        "its ECGs have a year but no time"
    )


ECHONEXT = base.Layout("echonext", 1, _ECHONEXT_TABLES, _ECHONEXT_TABLES, _refuse_echonext, _refuse_echonext)


_FILE_LIST = "FileList.csv"
_VIDEOS = "Videos"
_ENDING = ".avi"
_ANY_TIME = "1970-01-01 00:00:00"
_MEASUREMENTS = (  # column, measurement, unit
    ("EF", "lvef", "%"),
    ("ESV", "lv_end_systolic_volume", "mL"),
    ("EDV", "lv_end_diastolic_volume", "mL"),
)


def _echonet_file_tables(tables: Tables) -> base.FileTables:
    frame, malformed = _read_list(tables[_FILE_LIST])
    frame["path"] = (_VIDEOS + "/" + frame["patient"] + _ENDING).where(frame["patient"] != "", "")
    return base.FileTables(
        echoes=base.with_columns(
            tables[_FILE_LIST].paths_from_export(frame, "path"), base.ECHO_COLUMNS, study="patient"
        ),
        malformed=tuple(malformed),
    )


def _echonet_clinical_tables(tables: Tables) -> base.ClinicalTables:
    """Reads the measurements that are stated. Malformed rows are reported by _echonet_file_tables."""
    return base.ClinicalTables(measurements=base.MeasurementSource(partial(_echonet_measurements, tables[_FILE_LIST])))


def _echonet_measurements(table: ExportTable, malformed: list[str]) -> Iterator[base.MeasurementBatch]:
    frame, _ = _read_list(table)
    for column, name, unit in _MEASUREMENTS:
        stated = frame[frame[column] != ""]
        rows = stated.assign(value=stated[column], measurement=name, unit=unit, study=stated["patient"])
        yield base.batch_of_frame(rows, table, f" {column}")


def _read_list(table: ExportTable) -> tuple[pd.DataFrame, list[str]]:
    """Returns the list of videos with `patient` and `time`, and malformed rows. File names may lack their ending."""
    frame, malformed = table.read(("FileName",), tuple(column for column, _, _ in _MEASUREMENTS))
    return frame.assign(patient=frame["FileName"].str.removesuffix(_ENDING), time=_ANY_TIME), malformed


ECHONET_DYNAMIC = base.Layout(
    "echonet-dynamic", 1, (_FILE_LIST,), (_FILE_LIST,), _echonet_file_tables, _echonet_clinical_tables
)
