"""A scan as the catalog's tables: sifted, with pseudonyms for identifiers and hours for dates.

What the catalog refuses, collected while rows are sifted.

Dates leave the catalog as hours since the patient's first event, to the second.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa

from data_contracts import catalog, conventions, quarantine, tables
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.catalog.scan import ECG, ECHO, FoundFile, Scan


@dataclass
class Refusals:
    """Refused files and rows; each source appears once, with the first reason found.

    Attributes:
        names: makes the pseudonyms of rows.
    """

    names: Pseudonyms
    _found: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add_sources(self, source_ids: Iterable[str], reason: str, detail: str) -> None:
        """Refuses files."""
        for source_id in source_ids:
            self._found.setdefault(source_id, (reason, detail))

    def add_rows(self, rows: Iterable[str], detail: str, reason: str = "bad_row") -> None:
        """Refuses rows by their `row` name."""
        self.add_sources((self.names.source(row) for row in rows), reason, detail)

    def sift(self, frame: pd.DataFrame, bad: pd.Series, detail: str, reason: str = "bad_row") -> pd.DataFrame:
        """The frame without its bad rows, which are refused."""
        self.add_rows(frame.loc[bad, "row"], detail, reason)
        return frame[~bad]

    def table(self) -> pa.Table:
        """QUARANTINE table, sorted by source."""
        return quarantine.QUARANTINE.build(
            [
                {"source_id": source_id, "reason": reason, "detail": detail}
                for source_id, (reason, detail) in sorted(self._found.items())
            ]
        )


# Local time with date and time of day; a bare date or an offset from UTC would have to be guessed about.
_PATTERN = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?"
_EPOCH = pd.Timestamp(0)


def seconds(times: pd.Series) -> pd.Series:
    """Text such as `2180-07-23 08:44:00` as float64 seconds on an arbitrary scale; NaN when it is none."""
    plain = times.where(times.str.fullmatch(_PATTERN).astype(bool))
    parsed = pd.to_datetime(plain, errors="coerce", format="ISO8601")
    return ((parsed - _EPOCH) / pd.Timedelta(seconds=1)).astype("float64")


def first_events(frames: list[pd.DataFrame]) -> pd.Series:
    """The earliest `seconds` of each `patient` over all frames."""
    events = pd.concat([frame[["patient", "seconds"]] for frame in frames])
    return events.groupby("patient")["seconds"].min()


def hours_since(seconds_: pd.Series, first: pd.Series) -> np.ndarray:
    """float64 hours, whole multiples of 1/3600, from each row's `first` to its `seconds_`."""
    return np.round((seconds_ - first).to_numpy(dtype=np.float64)) / 3600


_RHYTHM = r"(?:[a-z][a-z /-]{0,39})?"  # a name, not a sentence that could hold more


def build(scan: Scan, key: bytes) -> dict[str, pa.Table]:
    """The tables `ecgs`, `echoes`, `reports`, `measurements`, `subgroups` and `quarantine`, each by its contract.

    Rows are sorted by their pseudonyms: the same export and key give the same bytes. A patient's first
    event counts over everything the export lists with a readable time, also over files that are missing.

    Args:
        scan: of the export.
        key: of the pseudonyms, the same as for the scan.

    Raises:
        ExportError: a table lacks a needed column or changed since the scan.
    """
    names = Pseudonyms(key)
    refused = Refusals(names)
    words = scan.reader.words(scan.tables)
    refused.add_rows((*scan.files.malformed, *words.malformed), "more or fewer values than the header has columns")
    refused.add_rows(words.unlinked, "no study names this report")

    ecgs = _complete(refused, scan.files.ecgs, ("patient", "record", "path"))
    ecgs = _stated_frequency(refused, _unambiguous(refused, ecgs, ["patient", "record"]))
    echoes = _complete(refused, scan.files.echoes, ("patient", "study", "path"))
    echoes = _unambiguous(refused, echoes, ["patient", "path"])
    reports = _complete(refused, words.reports, ("patient", "subject", "report", "text"))
    reports = refused.sift(reports, ~reports["method"].isin(conventions.METHODS), "the method is neither ECG nor ECHO")
    reports = _unambiguous(refused, reports, ["patient", "method", "subject", "report"])
    measurements = _complete(refused, words.measurements, ("patient", "measurement", "value"))
    measurements = _numeric(refused, measurements)

    frames = [ecgs, echoes, reports, measurements]
    first = first_events(frames)
    ecgs, echoes, reports, measurements = (_dated(frame, first, names) for frame in frames)
    ecgs, echoes = _usable(refused, scan, ecgs, echoes)
    return {
        catalog.ECGS.name: _ecg_table(ecgs, names),
        catalog.ECHOES.name: _echo_table(echoes, names),
        catalog.REPORTS.name: _report_table(reports, names),
        catalog.MEASUREMENTS.name: _measurement_table(measurements, names),
        catalog.SUBGROUPS.name: _subgroup_table(refused, words.subgroups, ecgs, names),
        quarantine.QUARANTINE.name: refused.table(),
    }


def _complete(refused: Refusals, frame: pd.DataFrame, needed: tuple[str, ...]) -> pd.DataFrame:
    """Rows that have every needed value and a readable time, which becomes `seconds`; of equal rows the first."""
    for column in needed:
        frame = refused.sift(frame, frame[column] == "", f"no {column}")
    frame = frame.assign(seconds=seconds(frame["time"]))
    frame = refused.sift(frame, frame["seconds"].isna(), "no date and time of the form 2180-07-23 08:44:00")
    content = [column for column in frame.columns if column != "row"]
    return refused.sift(frame, frame.duplicated(content), "repeats an earlier row")


def _unambiguous(refused: Refusals, frame: pd.DataFrame, identity: list[str]) -> pd.DataFrame:
    """Of rows that share an identity and differ, none: nobody knows which is right."""
    return refused.sift(frame, frame.duplicated(identity, keep=False), "differs from a row of the same identifier")


def _stated_frequency(refused: Refusals, ecgs: pd.DataFrame) -> pd.DataFrame:
    stated = ecgs["sampling_frequency"]
    hertz = pd.to_numeric(stated, errors="coerce").astype("float64")
    bad = (stated != "") & ~(np.isfinite(hertz) & (hertz > 0))
    return refused.sift(ecgs.assign(hertz=hertz), bad, "the stated sampling frequency is not a positive number")


def _numeric(refused: Refusals, measurements: pd.DataFrame) -> pd.DataFrame:
    number = pd.to_numeric(measurements["value"], errors="coerce").astype("float64")
    return refused.sift(measurements.assign(number=number), ~np.isfinite(number), "the value is not a number")


def _dated(frame: pd.DataFrame, first: pd.Series, names: Pseudonyms) -> pd.DataFrame:
    """Adds `hours` and `patient_id`."""
    patients = {raw: names.patient(raw) for raw in frame["patient"].unique()}
    return frame.assign(
        hours=hours_since(frame["seconds"], frame["patient"].map(first).astype("float64")),
        patient_id=frame["patient"].map(patients).astype("str"),
    )


def _usable(
    refused: Refusals, scan: Scan, ecgs: pd.DataFrame, echoes: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows whose file can be used, with `source_id` and `content_hash`.

    A file, or the same content in two files, that is listed for two patients is refused for both: nobody
    knows whose it is. So is a file that one patient's list names for two ECGs.
    """
    both = []
    for kind, frame in ((ECG, ecgs), (ECHO, echoes)):
        files: list[FoundFile] = [scan.found[kind, path] for path in frame["path"]]
        frame = frame.assign(
            source_id=pd.Series([one.source_id for one in files], index=frame.index, dtype="str"),
            content_hash=pd.Series([one.content_hash for one in files], index=frame.index, dtype="str"),
        )
        for one in files:
            if one.refusal is not None:
                refused.add_sources([one.source_id], *one.refusal)
        both.append(frame[frame["content_hash"] != ""])
    owners = (
        pd.concat([frame[["content_hash", "patient"]] for frame in both]).groupby("content_hash")["patient"].nunique()
    )
    shared = owners.index[owners > 1]
    kept = []
    for frame in both:
        contested = frame["content_hash"].isin(shared)
        refused.add_sources(
            frame.loc[contested, "source_id"], "duplicate", "the same content is listed for two patients"
        )
        frame = frame[~contested]
        repeated = frame["path"].duplicated(keep=False)
        refused.add_sources(frame.loc[repeated, "source_id"], "bad_row", "the file is listed under two identifiers")
        kept.append(frame[~repeated])
    return kept[0], kept[1]


def _ecg_table(ecgs: pd.DataFrame, names: Pseudonyms) -> pa.Table:
    ecgs = ecgs.assign(
        record_id=_each(names.record, ecgs["patient"], ecgs["record"]),
        stated_unit=ecgs["unit"].where(ecgs["unit"] != ""),
        stated_sampling_frequency=ecgs["hertz"],
        stated_leads=ecgs["leads"].where(ecgs["leads"] != ""),
    )
    return _table(catalog.ECGS, ecgs, ["record_id"])


def _echo_table(echoes: pd.DataFrame, names: Pseudonyms) -> pa.Table:
    echoes = echoes.assign(
        clip_id=_each(names.clip, echoes["patient"], echoes["path"]),
        study_id=_each(names.study, echoes["patient"], echoes["study"]),
    )
    return _table(catalog.ECHOES, echoes, ["clip_id"])


def _report_table(reports: pd.DataFrame, names: Pseudonyms) -> pa.Table:
    records = _each(names.record, reports["patient"], reports["subject"])
    studies = _each(names.study, reports["patient"], reports["subject"])
    reports = reports.assign(
        report_id=_each(names.report, reports["patient"], reports["method"], reports["subject"], reports["report"]),
        subject_id=records.where(reports["method"] == "ECG", studies),
    )
    return _table(catalog.REPORTS, reports, ["report_id"])


def _measurement_table(measurements: pd.DataFrame, names: Pseudonyms) -> pa.Table:
    studies = _each(names.study, measurements["patient"], measurements["study"])
    measurements = measurements.assign(
        study_id=studies.where(measurements["study"] != ""), value=measurements["number"]
    )
    return _table(
        catalog.MEASUREMENTS, measurements, ["patient_id", "hours", "measurement", "unit", "value", "study_id"]
    )


def _subgroup_table(refused: Refusals, stated: pd.DataFrame, ecgs: pd.DataFrame, names: Pseudonyms) -> pa.Table:
    """What is stated of the catalog's ECGs; an ECG of which two rows state different things is left out."""
    values = ["sex", "age", "site", "device", "rhythm"]
    stated = stated[(stated[values] != "").any(axis=1)]
    stated = stated.merge(ecgs[["patient", "record"]], on=["patient", "record"])
    stated = stated.drop_duplicates(["patient", "record", *values]).drop_duplicates(["patient", "record"], keep=False)
    years = pd.to_numeric(stated["age"], errors="coerce").astype("float64")
    stated = stated.assign(sex=stated["sex"].str.upper(), rhythm=stated["rhythm"].str.lower(), years=years)
    stated = refused.sift(stated, ~stated["sex"].isin(["", *catalog.SEXES]), "the stated sex is not F, M or X")
    no_age = (stated["age"] != "") & ~(np.isfinite(stated["years"]) & (stated["years"] >= 0))
    stated = refused.sift(stated, no_age, "the stated age is not a number of years")
    no_rhythm = ~stated["rhythm"].str.fullmatch(_RHYTHM)
    stated = refused.sift(stated, no_rhythm, "the stated rhythm is not a short name in letters")
    table = stated.assign(
        record_id=_each(names.record, stated["patient"], stated["record"]),
        sex=stated["sex"].where(stated["sex"] != ""),
        age=stated["years"].clip(upper=catalog.OLDEST),
        site=_each(names.site, stated["site"]).where(stated["site"] != ""),
        device=_each(names.device, stated["device"]).where(stated["device"] != ""),
        rhythm=stated["rhythm"].where(stated["rhythm"] != ""),
    )
    return _table(catalog.SUBGROUPS, table, ["record_id"])


def _each(name: Callable[..., str], *columns: pd.Series) -> pd.Series:
    """One pseudonym a row."""
    return pd.Series([name(*raw) for raw in zip(*columns, strict=True)], index=columns[0].index, dtype="str")


def _table(contract: tables.TableContract, frame: pd.DataFrame, order: list[str]) -> pa.Table:
    """The contract's columns, sorted."""
    plain = frame.sort_values(order)[contract.schema.names]
    return contract.check(
        pa.Table.from_pandas(plain, schema=contract.schema, preserve_index=False).replace_schema_metadata()
    )
