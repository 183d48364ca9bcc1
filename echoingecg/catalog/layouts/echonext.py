"""Layout `echonext`: EchoNext 1.1.1 (PhysioNet; Poterucha et al., Nature 2025;644:221): ECGs with echo findings.

`EchoNext_{train,val,test}_waveforms.npy` (ecg, 1, 2500, 12) hold the ECGs of a split in the order of the metadata. A
split whose numbers differ is refused: nobody knows which row is whose. ECGs of another split (`no_split`) have no
waveform and are left out.

- 250 Hz; I, II, III, aVR, aVL, aVF, V1 to V6. The publisher has subtracted median filters, clipped each lead and
  standardised it. The constants stand in the publisher's code and not in the release: the recipe states them
  (`catalog.standardised`). What was clipped stays clipped.
- Flags and numbers of the metadata are statements about the ECG, under the publisher's names; `split` is one in words.
- Of a date the year alone is published: an ECG is at the first second of its year, so that its hours are whole years.
- The patients are numbered anew: each is named by data set and number, so that equal numbers elsewhere are others.
"""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from echoingecg.catalog.layouts import base
from echoingecg.catalog.layouts.tables import ExportTable, Tables
from echoingecg.ecg.decode.arrays.standardised import UNIT

_METADATA = "echonext_metadata_100k.csv"
_OTHER_NAME = "EchoNext_metadata_100k.csv"
_SPLITS = {"train": "train", "val": "validation", "test": "test"}  # as published -> in words
_HERTZ = "250"
_SEXES = {"0": "F", "1": "M", "female": "F", "male": "M"}  # 0 and 1 as the data set's page explains them
_UNITS = {  # of numbers; all other statements are flags
    "lvef_value": "%",
    "ivs_measurement": "cm",
    "lvpw_measurement": "cm",
    "pasp_value": "mmHg",
    "tr_max_velocity_value": "m/s",
}
_FLAGS = (
    "lvef_lte_45_flag", "lvwt_gte_13_flag", "aortic_stenosis_moderate_or_greater_flag",
    "aortic_regurgitation_moderate_or_greater_flag", "mitral_regurgitation_moderate_or_greater_flag",
    "tricuspid_regurgitation_moderate_or_greater_flag", "pulmonary_regurgitation_moderate_or_greater_flag",
    "rv_systolic_dysfunction_moderate_or_greater_flag", "pericardial_effusion_moderate_large_flag",
    "pasp_gte_45_flag", "tr_max_gte_32_flag", "shd_moderate_or_greater_flag",
)  # fmt: skip
_STATEMENTS = (*_FLAGS, *_UNITS)
_NOTHING = ("", "na", "nan")


def _file_tables(tables: Tables) -> base.FileTables:
    table = tables[_METADATA]
    frame, malformed = _read(table)
    number = frame.groupby("split").cumcount().astype("str")
    total = frame["split"].map(frame["split"].value_counts()).astype("str")
    frame["path"] = "EchoNext_" + frame["split"] + "_waveforms.npy#" + number + "of" + total
    frame = frame.assign(unit=UNIT, sampling_frequency=_HERTZ, leads=base.CLINICAL_LEADS)
    ecgs = base.with_columns(table.paths_from_export(frame, "path"), base.ECG_COLUMNS)
    return base.FileTables(ecgs=ecgs, malformed=tuple(malformed))


def _clinical_tables(tables: Tables) -> base.ClinicalTables:
    """Reads sex, age and statements. Malformed rows are reported with the list of files."""
    table = tables[_METADATA]
    frame, _ = _read(table)
    sex = frame["sex"].map(lambda text: _SEXES.get(text.lower(), text)).astype("str")
    # The same row also lists an ECG and statements: quarantine needs a name for each.
    stated = frame.assign(row=frame["row"] + " subgroups", sex=sex, age=frame["age_at_ecg"])
    subgroups = base.with_columns(stated, base.SUBGROUP_COLUMNS)
    measurements = base.MeasurementSource(partial(_statements, table), with_words=True, with_gaps=True)
    return base.ClinicalTables(measurements=measurements, subgroups=subgroups)


def _statements(table: ExportTable, malformed: list[str]) -> Iterator[base.MeasurementBatch]:
    frame, _ = _read(table)
    frame["ecg"] = frame["record"]
    for name in filter(table.has_column, _STATEMENTS):
        values = frame[name].where(~frame[name].str.lower().isin(_NOTHING), "")
        rows = frame.assign(measurement=name, value=values, unit=_UNITS.get(name, ""))
        yield base.batch_of_frame(rows, table, f" {name}")
    split = frame.assign(measurement="split", value=frame["split"].map(_SPLITS).astype("str"))
    yield base.batch_of_frame(split, table, " split")


def _read(table: ExportTable) -> tuple[pd.DataFrame, list[str]]:
    """Returns the ECGs of the three splits with `record`, `patient` and `time`, and malformed rows."""
    needed = ("ecg_key", "patient_key", "acquisition_year", "split")
    frame, malformed = table.read(needed, ("sex", "age_at_ecg", *_STATEMENTS))
    frame = frame[frame["split"].isin(_SPLITS)].reset_index(drop=True)
    year = frame["acquisition_year"].str.removesuffix(".0")
    time = (year + "-01-01 00:00:00").where(year != "", "")
    patient = base.patients_of_site("EchoNext", frame["patient_key"])
    return frame.assign(record=frame["ecg_key"], patient=patient, time=time), malformed


LAYOUT = base.Layout(
    "echonext", 5, (_METADATA,), (_METADATA,), _file_tables, _clinical_tables, {_OTHER_NAME: _METADATA}
)  # fmt: skip
