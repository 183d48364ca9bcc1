"""PTB-XL 1.0.3 as PhysioNet publishes it: ECGs with a report each, no echo (Wagner et al., Sci Data 2020).

Every ECG is there at 500 Hz and, resampled by the publisher, at 100 Hz: the 500 Hz records are read.

EchoNext (PhysioNet 1.1), told apart in order to be refused with the reasons.

Its `.npy` arrays (N, 1, 2500, 12) hold waveforms that the publisher has median-filtered, clipped and standardised:
no unit leads back to millivolts. Its table gives the year of an ECG, no time, and the lead order stands in no file.

EchoNet-Dynamic as Stanford publishes it: apical four-chamber videos with volumes and LVEF, no ECG.

Ouyang et al., Nature 2020;580:252. Each video is of another patient, and no date is published: a patient's only event
is the first, at 0 h whatever its date, so that all carry one date of no meaning. `Split` is not read: the recipe's own
keyed split serves every layout.
"""

from typing import NoReturn

import pandas as pd

from echoingecg.catalog.layouts import base
from echoingecg.common import ExportError

_DATABASE = "ptbxl_database.csv"
_RATE_PATHS = "filename_hr"
_SEXES = {"0": "M", "1": "F"}  # Wagner et al., table 3


def _ptb_xl_files(tables: base.Tables) -> base.Files:
    table = tables[_DATABASE]
    frame, malformed = table.read(("patient_id", "ecg_id", "recording_date", _RATE_PATHS))
    frame["patient_id"] = frame["patient_id"].str.removesuffix(".0")  # the publisher writes whole numbers as floats
    ecgs = base.with_columns(
        table.below(frame, _RATE_PATHS), base.ECG_COLUMNS, patient="patient_id", record="ecg_id", time="recording_date",
        path=_RATE_PATHS,
    )  # fmt: skip
    return base.Files(ecgs=ecgs, malformed=tuple(malformed))


def _ptb_xl_words(tables: base.Tables) -> base.Words:
    """The reports as written, most in German; a row without one has none. The list's malformed rows are known."""
    frame, _ = tables[_DATABASE].read(
        ("patient_id", "ecg_id", "recording_date", "report"), ("sex", "age", "site", "device")
    )
    frame["patient_id"] = frame["patient_id"].str.removesuffix(".0")
    # The same row is an ECG and a report too.
    stated = frame.assign(row=frame["row"] + " subgroups", sex=frame["sex"].map(_SEXES).fillna(""))
    subgroups = base.with_columns(stated, base.SUBGROUP_COLUMNS, patient="patient_id", record="ecg_id")
    frame = frame[frame["report"] != ""].assign(method="ECG")
    frame["row"] += " report"
    reports = base.with_columns(
        frame, base.REPORT_COLUMNS, patient="patient_id", subject="ecg_id", report="ecg_id", time="recording_date",
        text="report",
    )  # fmt: skip
    return base.Words(reports=reports, subgroups=subgroups)


PTB_XL = base.Layout("ptb-xl", 1, (_DATABASE,), (_DATABASE,), _ptb_xl_files, _ptb_xl_words)


_METADATA = ("echonext_metadata_100k.csv", "EchoNext_metadata_100k.csv")


def _refuse(tables: base.Tables) -> NoReturn:
    raise ExportError(
        "EchoNext cannot be read: its waveforms are standardised and have no amplitude unit, "
        "its ECGs have a year but no time"
    )


ECHONEXT = base.Layout("echonext", 1, _METADATA, _METADATA, _refuse, _refuse)


_LIST = "FileList.csv"
_VIDEOS = "Videos"
_ENDING = ".avi"
_UNDATED = "1970-01-01 00:00:00"
_MEASURED = (  # column, measurement, unit
    ("EF", "lvef", "%"),
    ("ESV", "lv_end_systolic_volume", "mL"),
    ("EDV", "lv_end_diastolic_volume", "mL"),
)


def _echonet_files(tables: base.Tables) -> base.Files:
    frame, malformed = _rows(tables[_LIST])
    frame["path"] = (_VIDEOS + "/" + frame["patient"] + _ENDING).where(frame["patient"] != "", "")
    return base.Files(
        echoes=base.with_columns(tables[_LIST].below(frame, "path"), base.ECHO_COLUMNS, study="patient"),
        malformed=tuple(malformed),
    )


def _echonet_words(tables: base.Tables) -> base.Words:
    """The measurements that are there. The list's malformed rows are known."""
    frame, _ = _rows(tables[_LIST])
    measured = [
        frame.assign(value=frame[column], measurement=name, unit=unit, row=frame["row"] + f" {column}")
        for column, name, unit in _MEASURED
    ]
    rows = pd.concat(measured, ignore_index=True)
    return base.Words(
        measurements=base.with_columns(rows[rows["value"] != ""], base.MEASUREMENT_COLUMNS, study="patient")
    )


def _rows(table: base.ExportTable) -> tuple[pd.DataFrame, list[str]]:
    """The list, with `patient` and `time`; file names stand there with or without their ending."""
    frame, malformed = table.read(("FileName",), tuple(column for column, _, _ in _MEASURED))
    return frame.assign(patient=frame["FileName"].str.removesuffix(_ENDING), time=_UNDATED), malformed


ECHONET_DYNAMIC = base.Layout("echonet-dynamic", 1, (_LIST,), (_LIST,), _echonet_files, _echonet_words)
