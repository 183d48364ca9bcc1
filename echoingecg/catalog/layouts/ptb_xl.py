"""Layout `ptb-xl`: PTB-XL 1.0.3 (PhysioNet; Wagner et al., Sci Data 2020;7:154): ECGs, reports, SCP-ECG statements.

- Every ECG exists at 500 Hz (`records500`) and, resampled by the publisher, at 100 Hz (`records100`). Those at 500 Hz
  are read if their folder is there, otherwise those at 100 Hz.
- `scp_codes` is a dictionary of SCP-ECG statements with likelihoods in per cent; a likelihood of 0 means that it is
  not known, and not that the statement is false (Wagner et al., table 5). So a statement is a flag: `scp:LVH` is 1
  where the code is stated with any likelihood, as in the publisher's benchmark (Strodthoff et al., IEEE JBHI
  2021;25:1519), and 0 where the ECG states other codes. Codes that no ECG of the table states have no rows. A known
  likelihood is a row of its own, `scp_likelihood:LVH`.
- `scp_class:HYP` and its like are the five diagnostic superclasses of `scp_statements.csv`: 1 where a diagnostic code
  of the class is stated, 0 where the ECG has diagnostic codes of other classes alone, no row where it has none.
- `strat_fold`, 1 to 10, is the published fold: 9 validates and 10 tests.
- An age of 300 stands for over 89.
"""

import re
from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd

from echoingecg.catalog.layouts import base
from echoingecg.catalog.layouts.tables import ExportTable, Tables

_DATABASE = "ptbxl_database.csv"
_STATEMENTS = "scp_statements.csv"
_PATHS = {"records500": "filename_hr", "records100": "filename_lr"}  # folder -> column of its records
_SEXES = {"0": "M", "1": "F"}  # Wagner et al., table 3
_CODES = re.compile(r"\{(?:'[A-Z0-9_()/]{1,12}': \d+(?:\.\d+)?(?:, |(?=\})))*\}")
_CODE = re.compile(r"'([^']+)': ([\d.]+)")
_FOLDS = range(1, 11)


def _file_tables(tables: Tables) -> base.FileTables:
    table = tables[_DATABASE]
    column = _column_of_paths(table)
    frame, malformed = table.read(("patient_id", "ecg_id", "recording_date", column))
    ecgs = base.with_columns(
        table.paths_from_export(_with_whole_ids(frame), column), base.ECG_COLUMNS,
        patient="patient_id", record="ecg_id", time="recording_date", path=column,
    )  # fmt: skip
    return base.FileTables(ecgs=ecgs, malformed=tuple(malformed))


def _column_of_paths(table: ExportTable) -> str:
    there = (column for folder, column in _PATHS.items() if (table.path.parent / folder).is_dir())
    return next(there, _PATHS["records500"])


def _with_whole_ids(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(patient_id=frame["patient_id"].str.removesuffix(".0"))  # whole numbers published as floats


def _clinical_tables(tables: Tables) -> base.ClinicalTables:
    """Reads reports, most of them in German, subgroups and statements. `_file_tables` reports malformed rows."""
    frame, _ = tables[_DATABASE].read(
        ("patient_id", "ecg_id", "recording_date", "report"), ("sex", "age", "site", "device", "scp_codes")
    )
    frame = _with_whole_ids(frame)
    # The same row also lists an ECG, a report and statements: quarantine needs a name for each.
    stated = frame.assign(row=frame["row"] + " subgroups", sex=frame["sex"].map(_SEXES).fillna(""))
    subgroups = base.with_columns(stated, base.SUBGROUP_COLUMNS, patient="patient_id", record="ecg_id")
    unreadable = frame["row"][[_codes(text) is None for text in frame["scp_codes"]]]
    reports = frame[frame["report"] != ""].assign(method="ECG")
    reports["row"] += " report"
    reports = base.with_columns(
        reports, base.REPORT_COLUMNS, patient="patient_id", subject="ecg_id", report="ecg_id", time="recording_date",
        text="report",
    )  # fmt: skip
    return base.ClinicalTables(
        reports=reports,
        measurements=base.MeasurementSource(partial(_statements, tables)),
        subgroups=subgroups,
        refused=tuple((f"{row} scp_codes", "scp_codes is not a dictionary of codes") for row in unreadable),
    )


def _statements(tables: Tables, malformed: list[str]) -> Iterator[base.MeasurementBatch]:
    """Yields the statements on all ECGs, one batch for each name."""
    table = tables[_DATABASE]
    frame, _ = table.read(("patient_id", "ecg_id", "recording_date"), ("scp_codes", "strat_fold"))
    frame = _with_whole_ids(frame).rename(
        columns={"patient_id": "patient", "ecg_id": "ecg", "recording_date": "time"}
    )  # fmt: skip

    def batch(rows: pd.Series, measurement: str, value: pd.Series, unit: str = "") -> base.MeasurementBatch:
        plain = frame[rows].assign(measurement=measurement, value=value[rows], unit=unit)
        return base.batch_of_frame(plain, table, f" {measurement.partition(':')[0]}")

    yield batch(frame["strat_fold"].isin([str(fold) for fold in _FOLDS]), "strat_fold", frame["strat_fold"])
    codes = [_codes(text) or {} for text in frame["scp_codes"]]
    has_codes = _mask(frame, [bool(stated) for stated in codes])
    for code in sorted({code for stated in codes for code in stated}):
        likelihood = pd.Series([stated.get(code, "") for stated in codes], frame.index, dtype="str")
        yield batch(has_codes, f"scp:{code}", base.flags(likelihood != ""))
        is_known = pd.to_numeric(likelihood, errors="coerce").fillna(0) > 0
        if is_known.any():
            yield batch(is_known, f"scp_likelihood:{code}", likelihood, "%")
    class_of = _diagnostic_classes(tables.get(_STATEMENTS))
    classes = [{class_of[code] for code in stated if code in class_of} for stated in codes]
    has_class = _mask(frame, [bool(stated) for stated in classes])
    for name in sorted(set().union(*classes)):
        yield batch(has_class, f"scp_class:{name}", base.flags(_mask(frame, [name in stated for stated in classes])))


def _codes(text: str) -> dict[str, str] | None:
    """Returns the likelihood of each code; None if the text is not a dictionary of them. Nothing is evaluated."""
    return dict(_CODE.findall(text)) if not text or _CODES.fullmatch(text) else None


def _diagnostic_classes(table: ExportTable | None) -> dict[str, str]:
    """Returns the superclass of each diagnostic code. The column of codes has no name in the published table."""
    if table is None:
        return {}
    frame, _ = table.read(("", "diagnostic", "diagnostic_class"))
    chosen = frame[(pd.to_numeric(frame["diagnostic"], errors="coerce") == 1) & (frame["diagnostic_class"] != "")]
    return dict(zip(chosen[""], chosen["diagnostic_class"], strict=True))


def _mask(frame: pd.DataFrame, values: list[bool]) -> pd.Series:
    return pd.Series(np.array(values, bool), frame.index)


LAYOUT = base.Layout("ptb-xl", 1, (_DATABASE, _STATEMENTS), (_DATABASE,), _file_tables, _clinical_tables)
