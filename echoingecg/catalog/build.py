"""Builds the catalog's tables from a scan: bad rows are refused, identifiers become pseudonyms, dates become hours.

Hours count from the patient's first event, exact to the second; what is published is coarse (`with_coarse_hours`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from data_contracts import catalog, conventions, quarantine, tables
from data_contracts.quarantine import WITHDRAWN
from echoingecg.catalog.layouts.base import ECG, ECHO
from echoingecg.catalog.layouts.quoting import MALFORMED
from echoingecg.catalog.layouts.tables import TIME_RULE, first_events, hours_since, seconds
from echoingecg.catalog.measurement_rows import Columns, MeasurementRows
from echoingecg.catalog.measurements import build_table, usable_rows
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.catalog.refusals import Refusals
from echoingecg.catalog.scan import Scan
from echoingecg.ecg.decode.recording import Stated

_RHYTHM = r"(?:[a-z][a-z /-]{0,39})?"  # a name, not a sentence that could hold more


@dataclass(frozen=True)
class Catalog:
    """What the stage makes of an export.

    Attributes:
        tables: `ecgs`, `echoes`, `reports`, `measurements`, `subgroups` and `quarantine`.
        refused_rows: REFUSED_ROWS, which row of the export a refusal is about; it must stay private.
        gaps: measurements that the export lists without a result; they are left out.
        listed: different files that the export lists, by the table that they would be in: `ecgs` and `echoes`.
    """

    tables: dict[str, pa.Table]
    refused_rows: pa.Table
    gaps: int
    listed: dict[str, int]


def build(scan: Scan, key: bytes) -> dict[str, pa.Table]:
    """Builds the tables of the catalog alone: see `build_catalog`."""
    return build_catalog(scan, key).tables


def build_catalog(
    scan: Scan,
    key: bytes,
    release: bool = False,
    read_measurements: Callable[[MeasurementRows, tuple[str, ...]], Columns] = usable_rows,
) -> Catalog:
    """Builds the tables of the catalog, and the names of refused rows.

    Rows are sorted by their pseudonyms: the same export and key give the same bytes. A patient's first
    event counts over everything the export lists with a readable time, also over files that are missing.

    Args:
        scan: scan of the export.
        key: secret key of the pseudonyms, the same as for the scan.
        release: whether to empty the scan on the way: the files of a large export need a gigabyte.
        read_measurements: returns the measurements to build a table of, and the names to keep are passed to it.

    Raises:
        ExportError: a table lacks a needed column, or changed since the scan.
        ContractError: a table breaks its contract.
    """
    pseudonyms = Pseudonyms(key)
    refused = Refusals(pseudonyms)
    clinical = scan.layout.clinical_tables(scan.tables)
    refused.add_rows((*scan.file_tables.malformed, *clinical.malformed), MALFORMED)
    for (reason, detail), names in _by_cause(scan.file_tables.refused).items():
        refused.add_rows(names, detail, reason)
    refused.add_rows(clinical.unlinked, "no study names this report")
    for row, detail in clinical.refused:
        refused.add_rows([row], detail)

    ecgs = _complete(refused, scan.file_tables.ecgs, ("patient", "record", "path"))
    ecgs = _with_stated_frequency(refused, _unambiguous(refused, ecgs, ["patient", "record"]))
    echoes = _complete(refused, scan.file_tables.echoes, ("patient", "study", "path"))
    listed = {
        contract.name: int(frame["path"].nunique())
        for contract, frame in ((catalog.ECGS, scan.file_tables.ecgs), (catalog.ECHOES, scan.file_tables.echoes))
    }
    echoes = _unambiguous(refused, echoes, ["patient", "path"])
    left_out = list(scan.left_out)
    reports = _complete(
        refused, _without_withdrawn(scan, clinical.reports, left_out), ("patient", "subject", "report", "text")
    )
    reports = refused.drop(reports, ~reports["method"].isin(conventions.METHODS), "the method is neither ECG nor ECHO")
    reports = _unambiguous(refused, reports, ["patient", "method", "subject", "report"])
    rows = MeasurementRows(clinical.measurements, refused, scan.withdrawn, left_out)
    measurements = read_measurements(rows, scan.settings.measurements)
    if left_out:  # one row for all: a row for each would point at the patient's rows in the export
        detail = f"rows: {len(left_out)}, patients: {len(set(left_out))}"
        refused.add_rows([WITHDRAWN], detail, WITHDRAWN)

    frames = [ecgs, echoes, reports]
    first = first_events(frames, rows.first_events)
    ecgs, echoes, reports = (_with_hours(frame, first, pseudonyms) for frame in frames)
    ecgs, echoes = _usable(refused, scan, ecgs, echoes)
    subgroups = clinical.subgroups
    del frames, clinical
    if release:
        scan.release()
    # Each frame is freed when its table is made: of millions of rows, both would need a gigabyte more.
    built = {
        catalog.ECGS.name: _ecg_table(ecgs, pseudonyms),
        catalog.ECHOES.name: _echo_table(echoes, pseudonyms),
        catalog.REPORTS.name: _report_table(reports, pseudonyms),
        catalog.SUBGROUPS.name: _subgroup_table(refused, subgroups, ecgs, pseudonyms),
    }
    del ecgs, echoes, reports, subgroups
    built[catalog.MEASUREMENTS.name] = build_table(rows, measurements, first, pseudonyms)
    rows.release()
    built[quarantine.QUARANTINE.name], refused_rows = refused.tables()
    catalog_tables = {contract.name: built[contract.name] for contract in catalog.TABLES}
    return Catalog(catalog_tables, refused_rows, rows.gaps, listed)


def _without_withdrawn(scan: Scan, reports: pd.DataFrame, left_out: list[str]) -> pd.DataFrame:
    """Drops reports of patients who have withdrawn; `left_out` receives the pseudonym of the patient of each."""
    names = scan.withdrawn.among(reports["patient"].unique())
    is_gone = reports["patient"].isin(names.keys())
    left_out += reports.loc[is_gone, "patient"].map(names).tolist()
    return reports[~is_gone]


def _by_cause(refused: tuple[tuple[str, str, str], ...]) -> dict[tuple[str, str], list[str]]:
    """Returns (reason, detail) -> names of rows."""
    causes: dict[tuple[str, str], list[str]] = {}
    for name, *cause in refused:
        causes.setdefault((cause[0], cause[1]), []).append(name)
    return causes


def _complete(refused: Refusals, frame: pd.DataFrame, needed: tuple[str, ...]) -> pd.DataFrame:
    """Keeps rows with every needed value and a readable time; adds `seconds`. Of equal rows the first stays."""
    for column in needed:
        frame = refused.drop(frame, frame[column] == "", f"no {column}")
    frame = frame.assign(seconds=seconds(frame["time"]))
    frame = refused.drop(frame, frame["seconds"].isna(), TIME_RULE)
    content = [column for column in frame.columns if column != "row"]
    return refused.drop(frame, frame.duplicated(content), "repeats an earlier row")


def _unambiguous(refused: Refusals, frame: pd.DataFrame, identity: list[str]) -> pd.DataFrame:
    """Drops rows that share an identity and differ: nobody knows which is right."""
    return refused.drop(frame, frame.duplicated(identity, keep=False), "differs from a row of the same identifier")


def _with_stated_frequency(refused: Refusals, ecgs: pd.DataFrame) -> pd.DataFrame:
    """Adds `hertz`, NaN where nothing is stated; drops rows that state no positive number."""
    stated = ecgs["sampling_frequency"]
    hertz = pd.to_numeric(stated, errors="coerce").astype("float64")
    bad = (stated != "") & ~(np.isfinite(hertz) & (hertz > 0))
    return refused.drop(ecgs.assign(hertz=hertz), bad, "the stated sampling frequency is not a positive number")


def _with_hours(frame: pd.DataFrame, first: pd.Series, pseudonyms: Pseudonyms) -> pd.DataFrame:
    """Adds `hours` and `patient_id`."""
    code, patients = pd.factorize(frame["patient"])
    first_by_code = first.reindex(patients).to_numpy(dtype=np.float64)
    made = pa.array([pseudonyms.patient(raw) for raw in patients], pa.string())
    return frame.assign(
        hours=hours_since(frame["seconds"], pd.Series(first_by_code[code], index=frame.index, dtype="float64")),
        patient_id=pd.array(made.take(pa.array(code)), dtype="str"),
    )


def _usable(
    refused: Refusals, scan: Scan, ecgs: pd.DataFrame, echoes: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keeps rows whose file can be used; adds `source_id` and `content_hash`, without a key yet.

    A file, or equal content in two files, that is listed for two patients is refused for both: nobody knows whose
    it is. A file that is listed for two ECGs of one patient is refused, too.
    """
    both = []
    for kind, frame in ((ECG, ecgs), (ECHO, echoes)):
        files = scan.files.of_paths(kind, frame["path"])
        for (reason, detail), group in files.groupby(["reason", "detail"], observed=True):
            refused.add_sources(group["source_id"], reason, detail)
        frame = frame.assign(source_id=files["source_id"], content_hash=files["content_hash"])
        both.append(frame[frame["content_hash"] != ""])
    owners = (
        pd.concat([frame[["content_hash", "patient"]] for frame in both]).groupby("content_hash")["patient"].nunique()
    )
    ambiguous = owners.index[owners > 1]
    kept = []
    for frame in both:
        contested = frame["content_hash"].isin(ambiguous)
        refused.add_sources(
            frame.loc[contested, "source_id"], "duplicate", "the same content is listed for two patients"
        )
        frame = frame[~contested]
        repeated = frame["path"].duplicated(keep=False)
        refused.add_sources(frame.loc[repeated, "source_id"], "bad_row", "the file is listed under two identifiers")
        kept.append(frame[~repeated])
    return kept[0], kept[1]


def _ecg_table(ecgs: pd.DataFrame, pseudonyms: Pseudonyms) -> pa.Table:
    stated_ = zip(*(ecgs[name] for name in ("content_hash", "unit", "hertz", "leads")), strict=True)
    keys = [
        Stated(unit or None, None if np.isnan(hertz) else hertz, tuple(leads.split(";")) if leads else None).key(
            pseudonyms.content(digest)
        )
        for digest, unit, hertz, leads in stated_
    ]
    ecgs = ecgs.assign(
        content_hash=pd.Series(keys, ecgs.index, dtype="str"),
        record_id=_each_row(pseudonyms.record, ecgs["patient"], ecgs["record"]),
        stated_unit=ecgs["unit"].where(ecgs["unit"] != ""),
        stated_sampling_frequency=ecgs["hertz"],
        stated_leads=ecgs["leads"].where(ecgs["leads"] != ""),
    )
    return _table(catalog.ECGS, ecgs, ["record_id"])


def _echo_table(echoes: pd.DataFrame, pseudonyms: Pseudonyms) -> pa.Table:
    echoes = echoes.assign(
        content_hash=_each_row(pseudonyms.content, echoes["content_hash"]),
        clip_id=_each_row(pseudonyms.clip, echoes["patient"], echoes["path"]),
        study_id=_each_row(pseudonyms.study, echoes["patient"], echoes["study"]),
    )
    return _table(catalog.ECHOES, echoes, ["clip_id"])


def _report_table(reports: pd.DataFrame, pseudonyms: Pseudonyms) -> pa.Table:
    is_ecg = reports["method"] == "ECG"
    subjects = [
        _each_row(make, about["patient"], about["subject"])
        for make, about in ((pseudonyms.record, reports[is_ecg]), (pseudonyms.study, reports[~is_ecg]))
    ]
    reports = reports.assign(
        report_id=_each_row(
            pseudonyms.report, reports["patient"], reports["method"], reports["subject"], reports["report"]
        ),
        subject_id=pd.concat(subjects),
    )
    return _table(catalog.REPORTS, reports, ["report_id"])


def _subgroup_table(refused: Refusals, stated: pd.DataFrame, ecgs: pd.DataFrame, pseudonyms: Pseudonyms) -> pa.Table:
    """Builds `subgroups` from what the export states about ECGs. An ECG with contradicting rows is left out."""
    values = ["sex", "age", "site", "device", "rhythm"]
    stated = stated[(stated[values] != "").any(axis=1)]
    stated = stated.merge(ecgs[["patient", "record"]], on=["patient", "record"])
    stated = stated.drop_duplicates(["patient", "record", *values]).drop_duplicates(["patient", "record"], keep=False)
    years = pd.to_numeric(stated["age"], errors="coerce").astype("float64")
    stated = stated.assign(sex=stated["sex"].str.upper(), rhythm=stated["rhythm"].str.lower(), years=years)
    stated = refused.drop(
        stated, ~stated["sex"].isin(["", *catalog.SEXES]), "the stated sex is not F, M or X, one letter in either case"
    )
    no_age = (stated["age"] != "") & ~(np.isfinite(stated["years"]) & (stated["years"] >= 0))
    stated = refused.drop(
        stated, no_age, "the stated age is not one number of years (a band such as 30-35 is not read)"
    )
    no_rhythm = ~stated["rhythm"].str.fullmatch(_RHYTHM)
    stated = refused.drop(stated, no_rhythm, "the stated rhythm is not a short name in letters")
    table = stated.assign(
        record_id=_each_row(pseudonyms.record, stated["patient"], stated["record"]),
        sex=stated["sex"].where(stated["sex"] != ""),
        age=stated["years"].clip(upper=catalog.MAX_AGE_YEARS),
        site=_each_row(pseudonyms.site, stated["site"]).where(stated["site"] != ""),
        device=_each_row(pseudonyms.device, stated["device"]).where(stated["device"] != ""),
        rhythm=stated["rhythm"].where(stated["rhythm"] != ""),
    )
    return _table(catalog.SUBGROUPS, table, ["record_id"])


def with_coarse_hours(table: pa.Table, step: float) -> pa.Table:
    """Returns a table whose `hours` are rounded down to steps of so many hours; as it is with 0, or without hours."""
    if not step or "hours" not in table.column_names:
        return table
    return with_hours(table, pa.array(np.floor(table["hours"].to_numpy() / step) * step, pa.float64()))


def with_hours(table: pa.Table, hours: pa.Array) -> pa.Table:
    """Returns the table with other `hours`."""
    place = table.schema.get_field_index("hours")
    return table.set_column(place, table.schema.field(place), hours)


def _each_row(make: Callable[..., str], *columns: pd.Series) -> pd.Series:
    """Makes one pseudonym for each row."""
    made = (make(*raw) for raw in zip(*columns, strict=True))
    texts = pd.array(pa.array(made, pa.string(), size=len(columns[0])), dtype="str")
    return pd.Series(texts, index=columns[0].index)


def _table(contract: tables.TableContract, frame: pd.DataFrame, order: list[str]) -> pa.Table:
    """Returns the contract's columns, sorted and checked."""
    plain = frame.sort_values(order)[contract.schema.names]
    return contract.check(
        pa.Table.from_pandas(plain, schema=contract.schema, preserve_index=False).replace_schema_metadata()
    )
