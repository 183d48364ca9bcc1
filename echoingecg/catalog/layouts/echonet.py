"""Layouts of Stanford's echo data sets: `echonet-dynamic`, `echonet-pediatric` and `echonet-lvh`. None has ECGs.

EchoNet-Dynamic (Ouyang et al., Nature 2020;580:252): apical four-chamber videos with volumes and LVEF, in
`FileList.csv`. Each video is of another patient.

EchoNet-Pediatric (Reddy et al., JASE 2023;36:482): folders `A4C` and `PSAX`, each with a `FileList.csv` and LVEF.
Patients have several videos. A name such as CR32a7555-CR32a7582-000039.avi is not explained; videos whose names begin
alike, up to the first `-`, count as one patient's, since two patients taken as one do no harm to a split, and one
taken as two does.

EchoNet-LVH (Duffy et al., JAMA Cardiol 2022;7:386): parasternal long-axis videos in folders `Batch1` to `Batch4`, with
the caliper measurements of `MeasurementsList.csv` in cm. A name that stands in two folders is refused as a missing
file.

No date is published. A patient's only event is at 0 h whatever its date, so all rows get the same meaningless date.
The published split of a video (TRAIN, VAL and TEST; of EchoNet-Pediatric the folds 0 to 9) is the measurement `split`.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pandas as pd

from echoingecg.catalog.layouts import base
from echoingecg.catalog.layouts.tables import ExportTable, Tables

_FILE_LIST = "FileList.csv"
_PEDIATRIC_LISTS = (f"A4C/{_FILE_LIST}", f"PSAX/{_FILE_LIST}")
_CALIPERS = "MeasurementsList.csv"
_VIDEOS = "Videos"
_ENDING = ".avi"
_MEASUREMENTS = (  # column, measurement, unit
    ("EF", "lvef", "%"),
    ("ESV", "lv_end_systolic_volume", "mL"),
    ("EDV", "lv_end_diastolic_volume", "mL"),
)
_CALIPER_NAMES = {  # as MIMIC-IV-ECHO and the shipped recipes name them
    "IVSd": "septal_thickness", "LVPWd": "inf_lat_thickness", "LVIDd": "lvedd",
    "IVSs": "septal_thickness_systolic", "LVPWs": "inf_lat_thickness_systolic", "LVIDs": "lvesd",
}  # fmt: skip
_CALIPER_UNIT = "cm"
_SPLIT = "split"
_SPLITS = {"train": "train", "val": "validation", "test": "test"}  # as published, in any case -> in words
_IN_WORDS = base.MeasurementSource(with_words=True)  # rule of the split; a measurement in words is a bad row


def _file_tables(tables: Tables) -> base.FileTables:
    """Lists the videos of one or more tables, each in its folder `Videos`."""
    frames, malformed = [], list[str]()
    for table in tables.values():
        frame, wrong = _read_list(table)
        frame["path"] = (_VIDEOS + "/" + frame["study"] + _ENDING).where(frame["study"] != "", "")
        frames.append(base.with_columns(table.paths_from_export(frame, "path"), base.ECHO_COLUMNS))
        malformed += wrong
    return base.FileTables(echoes=pd.concat(frames, ignore_index=True), malformed=tuple(malformed))


def _clinical_tables(tables: Tables) -> base.ClinicalTables:
    """Reads the measurements that are stated. Malformed rows are reported with the list of files."""
    return base.ClinicalTables(measurements=base.MeasurementSource(partial(_measurements, tables)))


def _measurements(tables: Tables, malformed: list[str]) -> Iterator[base.MeasurementBatch]:
    for table in tables.values():
        frame, _ = _read_list(table)
        for column, name, unit in _MEASUREMENTS:
            stated = frame[frame[column] != ""]
            yield base.batch_of_frame(
                stated.assign(value=stated[column], measurement=name, unit=unit), table, f" {column}"
            )
        yield _split(frame, "Split", table)


def _read_list(table: ExportTable) -> tuple[pd.DataFrame, list[str]]:
    """Returns the list of videos with `study`, `patient` and `time`, and malformed rows; a name may lack its ending."""
    frame, malformed = table.read(("FileName",), ("Split", *(column for column, _, _ in _MEASUREMENTS)))
    study = frame["FileName"].str.removesuffix(_ENDING)
    patient = study.str.split("-").str[0] if table.name.endswith(_PEDIATRIC_LISTS) else study
    return frame.assign(study=study, patient=patient, time=base.NO_DATE), malformed


def _caliper_file_tables(tables: Tables) -> base.FileTables:
    table = tables[_CALIPERS]
    frame, malformed = _read_calipers(table)
    videos = frame[frame["study"] != ""].drop_duplicates("study")
    folders = defaultdict[str, list[str]](list)
    for file in table.path.parent.glob(f"Batch*/*{_ENDING}"):
        folders[file.stem].append(file.parent.name)
    paths = [
        f"{folders[name][0]}/{name}{_ENDING}" if len(folders[name]) == 1 else f"{name}{_ENDING}"
        for name in videos["study"]
    ]
    videos = videos.assign(path=pd.Series(paths, videos.index, dtype="str"))
    echoes = base.with_columns(table.paths_from_export(videos, "path"), base.ECHO_COLUMNS)
    return base.FileTables(echoes=echoes, malformed=tuple(malformed))


def _caliper_clinical_tables(tables: Tables) -> base.ClinicalTables:
    return base.ClinicalTables(measurements=base.MeasurementSource(partial(_caliper_measurements, tables[_CALIPERS])))


def _caliper_measurements(table: ExportTable, malformed: list[str]) -> Iterator[base.MeasurementBatch]:
    """Yields all calipers of a video; a measurement of another name keeps it."""
    frame, _ = _read_calipers(table)
    names = frame["Calc"].map(_CALIPER_NAMES).fillna(frame["Calc"]).astype("str")
    yield base.batch_of_frame(frame.assign(measurement=names, unit=_CALIPER_UNIT), table, " CalcValue")
    yield _split(frame.drop_duplicates(["study", "split"]), "split", table)


def _split(videos: pd.DataFrame, column: str, table: ExportTable) -> base.MeasurementBatch:
    """Returns the published split of each video that has one."""
    stated = videos[videos[column] != ""]
    values = stated[column].map(lambda text: _SPLITS.get(text.lower(), text)).astype("str")
    batch = base.batch_of_frame(stated.assign(value=values, measurement=_SPLIT, unit=""), table, f" {column}")
    return replace(batch, source=_IN_WORDS)


def _read_calipers(table: ExportTable) -> tuple[pd.DataFrame, list[str]]:
    frame, malformed = table.read(("HashedFileName", "Calc", "CalcValue"), ("split",))
    name = frame["HashedFileName"].str.removesuffix(_ENDING)
    return frame.assign(study=name, patient=name, value=frame["CalcValue"], time=base.NO_DATE), malformed


DYNAMIC = base.Layout("echonet-dynamic", 1, (_FILE_LIST,), (_FILE_LIST,), _file_tables, _clinical_tables)
PEDIATRIC = base.Layout(
    "echonet-pediatric", 1, _PEDIATRIC_LISTS, _PEDIATRIC_LISTS, _file_tables, _clinical_tables,
    other_layouts=(DYNAMIC.name,),
)  # fmt: skip
LVH = base.Layout("echonet-lvh", 1, (_CALIPERS,), (_CALIPERS,), _caliper_file_tables, _caliper_clinical_tables)
