"""Layout `challenge`: WFDB records without any table, as in the PhysioNet Challenges 2020 and 2021.

So come CPSC 2018, Georgia and Chapman-Shaoxing-Ningbo (Zheng et al., Sci Data 2020;7:48; Perez Alday et al., Physiol
Meas 2020;41:124003). Each header states age, sex and diagnoses in comments: `#Age: 74`, `#Sex: Male`,
`#Dx: 426783006,164889003`, the latter as codes of SNOMED CT.

- Every header (`.hea`) below the export is a record, whatever the files `RECORDS` list. A record of one name in two
  folders is refused for both.
- Each record is of another patient, named by its record and the challenge. That holds for the data sets above; where a
  patient has several records (PTB, PTB-XL, INCART in the challenge's copy), they count as several patients.
- Each code that some record states is a statement about ECGs, `snomed:426783006`: 1 where it is stated, 0 where the
  record states other codes alone. A record without codes has none.
- No date is published: all is at 0 h.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from echoingecg.catalog.layouts import base
from echoingecg.catalog.layouts.tables import ExportTable, Tables
from echoingecg.common import ExportError

_HEADERS = "*.hea"
_SUFFIX = ".hea"
_SITE = "PhysioNet Challenge"
_MOST_BYTES = 1 << 16  # a header of 12 leads has 1 kB
_HEADERS_TRIED = 20  # one of the first must state a diagnosis, or the layout is not this one
_COMMENT = re.compile(r"^#[ \t]*(Age|Sex|Dx)[ \t]*:[ \t]*(.*?)[ \t]*$", re.IGNORECASE | re.MULTILINE)
_CODES = re.compile(r"[0-9]{6,18}(?:[ \t]*,[ \t]*[0-9]{6,18})*")  # SNOMED CT identifiers, 6 to 18 digits
_SEXES = {"male": "M", "m": "M", "female": "F", "f": "F"}
_UNKNOWN = ("", "unknown", "nan", "n/a", "na")


@dataclass(frozen=True)
class HeaderTree(ExportTable):
    """The headers below an export, in place of a table.

    Attributes:
        paths: relative to the export, sorted.
        links: whether headers may be links out of the export.
    """

    paths: tuple[str, ...] = field(default=(), compare=False)
    links: bool = field(default=False, compare=False)

    def read_headers(self) -> pd.DataFrame:
        """Returns `row`, `path`, `record`, `patient`, `time`, and the comments `age`, `sex` and `dx`."""
        comments = [_comments(self.path, path, self.links) for path in self.paths]
        paths = pd.Series(pd.array(self.paths, dtype="str"))
        columns = {
            name: pd.Series(pd.array([comment.get(name, "") for comment in comments], dtype="str"))
            for name in ("age", "sex", "dx")
        }
        record = paths.str.split("/").str[-1].str.removesuffix(_SUFFIX)
        row = pd.Series([f"{_HEADERS}#{number}" for number in range(1, len(paths) + 1)], dtype="str")
        patient = base.patients_of_site(_SITE, record)
        return pd.DataFrame({"row": row, "path": paths, "record": record, "patient": patient, **columns}).assign(
            time=base.NO_DATE
        )


def find_headers(export: Path, links: bool, only_challenge: bool) -> Tables:
    """Returns the headers below an export as its only table; nothing where there are none.

    Args:
        export: root folder.
        links: whether headers may be links out of the export. Links to folders are never followed.
        only_challenge: whether one of the first headers must state a diagnosis: without, records of one patient may
            lie here, and a table of patients is missing.

    Raises:
        ExportError: a folder cannot be listed.
    """

    def fail(fault: OSError) -> None:
        raise ExportError(f"export {export}: a folder cannot be listed: {fault.strerror}") from fault

    root, paths = os.path.realpath(export), list[str]()
    for folder, subfolders, files in os.walk(root, onerror=fail):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if relative == "." else f"{relative}/"
        paths += [prefix + name for name in files if name.endswith(_SUFFIX) and not name.startswith(".")]
        if only_challenge and len(paths) >= _HEADERS_TRIED and not _states_diagnosis(Path(root), paths, links):
            return {}
    if not paths or (only_challenge and not _states_diagnosis(Path(root), paths, links)):
        return {}
    return {_HEADERS: HeaderTree(Path(root), _HEADERS, "", (0, 0, 0), paths=tuple(sorted(paths)), links=links)}


def _states_diagnosis(root: Path, paths: list[str], links: bool) -> bool:
    return any("dx" in _comments(root, path, links) for path in paths[:_HEADERS_TRIED])


def _comments(root: Path, path: str, links: bool) -> dict[str, str]:
    """Returns a header's comments by name, in lower case; none where it cannot be read, and is refused later."""
    file = root / path
    try:
        if file.is_symlink() and not links and not file.resolve().is_relative_to(root):
            return {}
        with file.open("rb") as stream:
            text = stream.read(_MOST_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return {}
    stated = {name.lower(): value for name, value in _COMMENT.findall(text.replace("\r\n", "\n"))}
    return {name: "" if value.lower() in _UNKNOWN else value for name, value in stated.items()}


def _headers(tables: Tables) -> HeaderTree:
    tree = tables[_HEADERS]
    assert isinstance(tree, HeaderTree)
    return tree


def _file_tables(tables: Tables) -> base.FileTables:
    return base.FileTables(ecgs=base.with_columns(_headers(tables).read_headers(), base.ECG_COLUMNS))


def _clinical_tables(tables: Tables) -> base.ClinicalTables:
    tree = _headers(tables)
    frame = tree.read_headers()
    sex = frame["sex"].map(lambda text: _SEXES.get(text.lower(), text)).astype("str")
    # The same row also lists an ECG and statements: quarantine needs a name for each.
    stated = frame.assign(row=frame["row"] + " subgroups", sex=sex)
    unreadable = frame["row"][(frame["dx"] != "") & ~_has_codes(frame)]
    return base.ClinicalTables(
        measurements=base.MeasurementSource(partial(_statements, frame, tree)),
        subgroups=base.with_columns(stated, base.SUBGROUP_COLUMNS),
        refused=tuple((f"{row} Dx", "Dx is no list of SNOMED CT codes") for row in unreadable),
    )


def _has_codes(frame: pd.DataFrame) -> np.ndarray:
    """Returns which headers state codes alone, (n,) bool."""
    return np.array([_CODES.fullmatch(text) is not None for text in frame["dx"]], bool)


def _statements(frame: pd.DataFrame, tree: HeaderTree, malformed: list[str]) -> Iterator[base.MeasurementBatch]:
    """Yields the statements on all records, one batch for each code."""
    coded = frame[_has_codes(frame)]
    coded = coded.assign(ecg=coded["record"])
    codes = [{code.strip() for code in text.split(",")} for text in coded["dx"]]
    for code in sorted(set().union(*codes)):
        flags = np.array([code in stated for stated in codes], bool)
        value = base.flags(pd.Series(flags, coded.index))
        yield base.batch_of_frame(coded.assign(measurement=f"snomed:{code}", value=value), tree, " snomed")


LAYOUT = base.Layout("challenge", 0, (), (_HEADERS,), _file_tables, _clinical_tables)
