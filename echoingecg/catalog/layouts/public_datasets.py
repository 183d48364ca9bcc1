"""PTB-XL 1.0.3 as PhysioNet publishes it: ECGs with a report each, no echo (Wagner et al., Sci Data 2020).

Every ECG is there at 500 Hz and, resampled by the publisher, at 100 Hz: the 500 Hz records are read.
"""

from typing import Final

from echoingecg.catalog.layouts.base import Tables
from echoingecg.catalog.listing import (
    ECG_COLUMNS,
    REPORT_COLUMNS,
    SUBGROUP_COLUMNS,
    Files,
    Layout,
    Words,
    with_columns,
)

_DATABASE: Final = "ptbxl_database.csv"
_RATE_PATHS: Final = "filename_hr"
_SEXES: Final = {"0": "M", "1": "F"}  # Wagner et al., table 3


def _files(tables: Tables) -> Files:
    table = tables[_DATABASE]
    frame, malformed = table.read(("patient_id", "ecg_id", "recording_date", _RATE_PATHS))
    frame["patient_id"] = frame["patient_id"].str.removesuffix(".0")  # the publisher writes whole numbers as floats
    ecgs = with_columns(
        table.below(frame, _RATE_PATHS), ECG_COLUMNS, patient="patient_id", record="ecg_id", time="recording_date",
        path=_RATE_PATHS,
    )  # fmt: skip
    return Files(ecgs=ecgs, malformed=tuple(malformed))


def _words(tables: Tables) -> Words:
    """The reports as written, most in German; a row without one has none. The list's malformed rows are known."""
    frame, _ = tables[_DATABASE].read(
        ("patient_id", "ecg_id", "recording_date", "report"), ("sex", "age", "site", "device")
    )
    frame["patient_id"] = frame["patient_id"].str.removesuffix(".0")
    # The same row is an ECG and a report too.
    stated = frame.assign(row=frame["row"] + " subgroups", sex=frame["sex"].map(_SEXES).fillna(""))
    subgroups = with_columns(stated, SUBGROUP_COLUMNS, patient="patient_id", record="ecg_id")
    frame = frame[frame["report"] != ""].assign(method="ECG")
    frame["row"] += " report"
    reports = with_columns(
        frame, REPORT_COLUMNS, patient="patient_id", subject="ecg_id", report="ecg_id", time="recording_date",
        text="report",
    )  # fmt: skip
    return Words(reports=reports, subgroups=subgroups)


LAYOUT: Final = Layout("ptb-xl", 1, (_DATABASE,), (_DATABASE,), _files, _words)
