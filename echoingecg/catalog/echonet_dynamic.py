"""EchoNet-Dynamic as Stanford publishes it: apical four-chamber videos with volumes and LVEF, no ECG.

Ouyang et al., Nature 2020;580:252. Each video is of another patient, and no date is published: a patient's only event
is the first, at 0 h whatever its date, so that all carry one date of no meaning. `Split` is not read: the recipe's own
keyed split serves every layout.
"""

from typing import Final

import pandas as pd

from echoingecg.catalog.layouts.base import ExportTable, Tables
from echoingecg.catalog.listing import ECHO_COLUMNS, MEASUREMENT_COLUMNS, Files, Layout, Words, with_columns

_LIST: Final = "FileList.csv"
_VIDEOS: Final = "Videos"
_ENDING: Final = ".avi"
_UNDATED: Final = "1970-01-01 00:00:00"
_MEASURED: Final = (  # column, measurement, unit
    ("EF", "lvef", "%"),
    ("ESV", "lv_end_systolic_volume", "mL"),
    ("EDV", "lv_end_diastolic_volume", "mL"),
)


def _files(tables: Tables) -> Files:
    frame, malformed = _rows(tables[_LIST])
    frame["path"] = (_VIDEOS + "/" + frame["patient"] + _ENDING).where(frame["patient"] != "", "")
    return Files(
        echoes=with_columns(tables[_LIST].below(frame, "path"), ECHO_COLUMNS, study="patient"),
        malformed=tuple(malformed),
    )


def _words(tables: Tables) -> Words:
    """The measurements that are there. The list's malformed rows are known."""
    frame, _ = _rows(tables[_LIST])
    measured = [
        frame.assign(value=frame[column], measurement=name, unit=unit, row=frame["row"] + f" {column}")
        for column, name, unit in _MEASURED
    ]
    rows = pd.concat(measured, ignore_index=True)
    return Words(measurements=with_columns(rows[rows["value"] != ""], MEASUREMENT_COLUMNS, study="patient"))


def _rows(table: ExportTable) -> tuple[pd.DataFrame, list[str]]:
    """The list, with `patient` and `time`; file names stand there with or without their ending."""
    frame, malformed = table.read(("FileName",), tuple(column for column, _, _ in _MEASURED))
    return frame.assign(patient=frame["FileName"].str.removesuffix(_ENDING), time=_UNDATED), malformed


LAYOUT: Final = Layout("echonet-dynamic", 1, (_LIST,), (_LIST,), _files, _words)
