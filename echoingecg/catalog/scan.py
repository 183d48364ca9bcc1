"""Scans an export: reads its lists of files, and size, time and content hash of each listed file.

The result includes the private index SOURCES of `scanned_files.py`. It holds paths of the hospital, so it stays in the
workspace's private folder and is not an artefact. Nothing outside the export's folder is opened, whatever its tables or
links state, unless the recipe allows links (`catalog.allow_links`); a path in a table may never lead out.
"""

import hashlib
import os
import posixpath
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from echoingecg.catalog.layouts import base, detect
from echoingecg.catalog.layouts.tables import Tables
from echoingecg.catalog.pseudonyms import NOBODY, Pseudonyms, Withdrawn
from echoingecg.catalog.scanned_files import ScannedFile, ScannedFiles, with_earlier
from echoingecg.common import ExportError, Progress, Refusal, fingerprint, hash_files, no_progress
from echoingecg.common.running import check_stop
from echoingecg.ecg.decode import content_hash
from echoingecg.ecg.decode.arrays.members import check_member, split_member
from echoingecg.ecg.decode.arrays.standardised import UNIT, unit_of
from echoingecg.ecg.decode.recording import multiples_per_millivolt
from echoingecg.ecg.decode.wfdb_header import HEADER_SUFFIX, files_of_record, header_of_signals
from echoingecg.recipe import CatalogSettings

_UNITS_HOWTO = "docs/howto/public_cohorts.md"
_FILES_PER_REPORT = 1000  # files between two progress reports
_FOLDERS_KEPT = 10_000  # files come sorted by their paths, so that a folder that was left does not come again


@dataclass(frozen=True)
class Scan:
    """An export at one moment.

    Attributes:
        layout: how the export is read.
        settings: the recipe's section `catalog`.
        tables: its CSV tables.
        digest: fingerprint of the layout and of the content of tables and listed files. It does not depend on the
            export's path or on the files' times. Empty where no file was read.
        sources: SOURCES table, the private index.
        read_files: number of listed files whose bytes were read in this scan.
        file_tables: the lists of files, with normalised paths.
        files: each listed file.
        withdrawn: patients whose rows are left out.
        left_out: pseudonym of the patient of each row that was left out of the lists of files.
    """

    layout: base.Layout
    settings: CatalogSettings
    tables: Tables
    digest: str
    sources: pa.Table
    read_files: int
    file_tables: base.FileTables
    files: ScannedFiles
    withdrawn: Withdrawn = NOBODY
    left_out: tuple[str, ...] = ()

    def release(self) -> None:
        """Frees the lists of files. Layout, digest and sources stay."""
        object.__setattr__(self, "files", ScannedFiles())
        object.__setattr__(self, "file_tables", base.FileTables())


class ExportFolder:
    """Looks up files below the folder of an export, and refuses whatever is outside it.

    Args:
        root: folder of the export.
        links: whether links may lead out of it.
    """

    def __init__(self, root: Path, links: bool = False) -> None:
        self._links = links
        self._root = os.path.realpath(root)
        self._fault_once = lru_cache(_FOLDERS_KEPT)(self._fault_of_folder)

    def stat(self, path: str) -> os.stat_result:
        """Returns the status of a regular file. Links are followed if they stay below the root.

        Args:
            path: normalised path, relative to the root.

        Raises:
            Refusal: `outside_export`, `missing_file`, or `unreadable` if the system refuses access.
        """
        if path.startswith(("/", "../")) or path in ("..", "."):
            raise Refusal("outside_export", "the listed path leaves the export")
        try:
            if fault := self._fault_once(os.path.dirname(path)):  # noqa: PTH120 - strings: a million paths pass here
                raise fault.with_traceback(None)  # of a raise before this one
            status = os.lstat(self._full(path))
            if stat.S_ISLNK(status.st_mode):
                self._check_link(path)
                status = os.stat(self._full(path))  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError) as fault:
            raise Refusal("missing_file", "the listed file is not there") from fault
        except OSError as fault:
            raise Refusal("unreadable", f"the system says: {fault.strerror}") from fault
        if not stat.S_ISREG(status.st_mode):
            raise Refusal("missing_file", "no regular file stands at the listed path")
        return status

    def state_of(self, folder: str, names: Sequence[str]) -> tuple[int, int] | None:
        """Returns total size (bytes) and latest time (ns) of regular files in a folder; None if one is missing.

        Where links may not lead out, a file that is a link counts as missing. Nothing is opened, so the folder itself
        need not be checked.
        """
        look = os.stat if self._links else os.lstat
        try:
            states = [look(f"{self._root}/{folder}/{name}") for name in names]
        except OSError:
            return None
        return size_and_time(states) if all(stat.S_ISREG(state.st_mode) for state in states) else None

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _fault_of_folder(self, folder: str) -> Refusal | OSError | None:
        """Returns Refusal if a link on the way to the folder leaves the root, OSError if a folder cannot be read.

        It is returned, not raised, so that a folder that is missing is looked for once, whatever lies in it.
        """
        if not folder:
            return None
        if fault := self._fault_once(os.path.dirname(folder)):  # noqa: PTH120
            return fault
        try:
            if stat.S_ISLNK(os.lstat(self._full(folder)).st_mode):
                self._check_link(folder)
        except (Refusal, OSError) as fault:
            return fault.with_traceback(None)
        return None

    def _check_link(self, path: str) -> None:
        target = os.path.realpath(self._full(path))
        if not self._links and os.path.commonpath((target, self._root)) != self._root:
            raise Refusal("outside_export", "a link leaves the export: catalog.allow_links does not allow it")


def scan(
    export: Path,
    settings: CatalogSettings,
    key: bytes,
    previous: pa.Table | None = None,
    progress: Progress = no_progress,
    only_look: bool = False,
    label: str = "",
    site: str = "",
    withdrawn: Withdrawn = NOBODY,
) -> Scan:
    """Lists an export and hashes its files.

    Args:
        export: root folder.
        settings: the recipe's section `catalog`.
        key: secret key of the pseudonyms.
        previous: `sources` of an earlier scan of this export; a file of unchanged size and time is not read again.
        progress: called every 1000 files.
        only_look: whether to look only if the files are there: none is read, and each counts as content of its own.
        label: of this export among several, see `several`.
        site: that its patients are of, where the export does not state it.
        withdrawn: patients whose rows are left out; their files are not looked at.

    Raises:
        ExportError: the layout is unknown, no file is listed, or a table cannot be read.
    """
    layout, tables = detect.find_layout(export, settings.layout, settings.allow_links)
    listed = layout.file_tables(tables)
    ecgs = with_stated_units(listed.ecgs, layout, settings)
    left_out: list[str] = []
    ecgs, echoes = (_without(frame, site, withdrawn, left_out) for frame in (ecgs, listed.echoes))
    file_tables = base.FileTables(
        _with_normal_paths(ecgs), _with_normal_paths(echoes), listed.malformed, listed.refused
    )
    listed_paths = {kind: _different(frame["path"]) for kind, frame in file_tables.by_kind}
    total = sum(len(paths) for paths in listed_paths.values())
    if not total and not listed.refused and not left_out:
        raise ExportError(f"export {export}: its lists name no file: {', '.join(layout.lists)}")
    pseudonyms, folder = Pseudonyms(key, label), ExportFolder(export, settings.allow_links)
    look = partial(_look_at if only_look else _scan_file, export)
    files = ScannedFiles()
    done = read = 0
    for kind, paths in listed_paths.items():
        for path, earlier in with_earlier(previous, kind, paths, pseudonyms):
            done += 1
            check_stop()
            if earlier is not None and folder.state_of(posixpath.dirname(path), earlier.parts) == earlier.state:
                file = earlier
            else:
                file = look(folder, path, pseudonyms.source(kind, path))
                read += bool(file.content_hash)
            files.add(kind, path, file)
            if done % _FILES_PER_REPORT == 0 or done == total:
                progress(done, total, f"{read} read")
    digest = "" if only_look else _digest(layout.name, tables, files, sorted(set(left_out)))
    sources = files.sources()
    return Scan(layout, settings, tables, digest, sources, read, file_tables, files, withdrawn, tuple(left_out))


def _without(frame: pd.DataFrame, site: str, withdrawn: Withdrawn, left_out: list[str]) -> pd.DataFrame:
    """Returns the rows of patients who have not withdrawn; `left_out` receives the pseudonym of each other row's."""
    names = withdrawn.among(base.patient_of_site(site, raw) for raw in frame["patient"].unique())
    if not names:
        return frame
    patients = base.patients_of_site(site, frame["patient"])
    is_gone = patients.isin(names.keys())
    left_out += patients[is_gone].map(names).tolist()
    return frame[~is_gone]


def _different(paths: pd.Series) -> pa.Array:
    """Returns the different paths in order, without the empty one."""
    different = pa.array(paths.unique(), pa.string())
    different = different.filter(pc.not_equal(different, ""))
    return different.take(pc.array_sort_indices(different))


def listed_echoes(export: Path, settings: CatalogSettings) -> pd.DataFrame:
    """Lists the echo files of an export by their own names, base.ECHO_COLUMNS with normalised paths; looks at no file.

    Raises:
        ExportError: the layout is unknown, or a table cannot be read.
    """
    layout, tables = detect.find_layout(export, settings.layout, settings.allow_links)
    return _with_normal_paths(layout.file_tables(tables).echoes)


def _with_normal_paths(frame: pd.DataFrame) -> pd.DataFrame:
    """Removes `.`, inner `..` and the ending of a WFDB header from paths, so that one file has one path."""
    paths = (posixpath.normpath(path).removesuffix(HEADER_SUFFIX) if path else "" for path in frame["path"])
    return frame.assign(path=pd.array(pa.array(paths, pa.string(), size=len(frame)), dtype="str"))


def _look_at(export: Path, export_folder: ExportFolder, path: str, source_id: str) -> ScannedFile:
    """Looks whether a file or the header of a record is there; the content hash is that of its name."""
    try:
        if (member := _member(export_folder, path)) is not None:
            check_member(export / member[0], member[1])
        else:
            _entry_name(export_folder, path)
    except OSError as fault:
        return ScannedFile(source_id, refusal=("unreadable", f"the system says: {fault.strerror}"))
    except Refusal as refusal:
        return ScannedFile(source_id, refusal=_shared(refusal.reason, refusal.detail))
    except ValueError:  # a path that no system call takes
        return ScannedFile(source_id, refusal=_shared("missing_file", "no file can have the listed path"))
    return ScannedFile(source_id, hashlib.sha256(source_id.encode()).hexdigest())


def _scan_file(export: Path, export_folder: ExportFolder, path: str, source_id: str) -> ScannedFile:
    """Reads and hashes the file at a path."""
    if "\0" in path:
        return ScannedFile(source_id, refusal=("missing_file", "no file can have the listed path"))
    folder = posixpath.dirname(path)
    try:
        if (member := _member(export_folder, path)) is not None:
            parts = [posixpath.basename(member[0])]
        else:
            parts = _parts(export, export_folder, folder, _entry_name(export_folder, path))
        size, mtime_ns = size_and_time([export_folder.stat(posixpath.join(folder, part)) for part in parts])
        digest = content_hash(export / path) if member else hash_files(export / folder / part for part in parts)
    except Refusal as refusal:
        return ScannedFile(source_id, refusal=_shared(refusal.reason, refusal.detail))
    except OSError as fault:
        return ScannedFile(source_id, refusal=("unreadable", f"the system says: {fault.strerror}"))
    return ScannedFile(source_id, digest, size, mtime_ns, tuple(parts))


@cache
def _shared(reason: str, detail: str) -> tuple[str, str]:
    """Returns one tuple for equal refusals: a million files may be missing."""
    return reason, detail


def _member(export_folder: ExportFolder, path: str) -> tuple[str, str] | None:
    """Returns the file and the name of an ECG that lies in a file of many; None for any other path. Raises Refusal."""
    member = split_member(path)
    if member is None:
        return None
    try:
        export_folder.stat(path)
    except Refusal as refusal:
        if refusal.reason != "missing_file":
            raise
        export_folder.stat(member[0])
        return member
    return None


def _entry_name(export_folder: ExportFolder, path: str) -> str:
    """Returns the name of the file at a path, or of the WFDB header of that name. Raises Refusal."""
    try:
        export_folder.stat(path)
    except Refusal as refusal:
        if refusal.reason != "missing_file":
            raise
        export_folder.stat(path + HEADER_SUFFIX)
        path += HEADER_SUFFIX
    return posixpath.basename(path)


def _parts(export: Path, export_folder: ExportFolder, folder: str, first: str) -> list[str]:
    """Returns the names of the files that belong to the first; each is checked before it is opened."""
    if (header := header_of_signals(export / folder / first)) is not None:
        first = header.name
    if not first.endswith(HEADER_SUFFIX):
        return [first]
    parts = []
    for file in files_of_record(export / folder / first):
        export_folder.stat(posixpath.join(folder, file.name))
        parts.append(file.name)
    return parts


def _digest(layout: str, tables: Tables, files: ScannedFiles, withdrawn: list[str]) -> str:
    """Returns the fingerprint of the content. A file that cannot be used counts by the reason of its refusal.

    Patients who have withdrawn count only where their files are listed: the versions of other exports stay.
    """
    digest = hashlib.sha256()
    for kind, path, file in files:
        digest.update(f"{kind}\0{path}\0{file.content_hash or (file.refusal or ('',))[0]}\0".encode())
    return fingerprint(
        {
            "layout": layout,
            "tables": sorted([table.name, table.sha256] for table in tables.values()),
            "files": digest.hexdigest(),
        }
        | ({"withdrawn": withdrawn} if withdrawn else {})
    )


def size_and_time(states: Sequence[os.stat_result]) -> tuple[int, int]:
    """Returns the total size of the files in bytes, and the latest of their times of change in ns."""
    return sum(state.st_size for state in states), max(state.st_mtime_ns for state in states)


def with_stated_units(ecgs: pd.DataFrame, layout: base.Layout, settings: CatalogSettings) -> pd.DataFrame:
    """Returns the ECGs with the unit that the recipe states, and with the constants of standardised ones.

    Args:
        ecgs: base.ECG_COLUMNS.
        layout: of the export.
        settings: `array_unit` and `standardised`.

    Raises:
        ExportError: the layout settles its units; a unit is none; or constants are missing.
    """
    if unit := settings.array_unit:
        if not layout.is_unit_open:
            raise ExportError(f"catalog.array_unit: the layout {layout.name} states its units itself: leave it empty")
        _check_unit("catalog.array_unit", unit)
        ecgs = ecgs.assign(unit=unit)
    is_standardised = ecgs["unit"] == UNIT
    if not is_standardised.any():
        return ecgs
    constants = settings.standardised
    if constants is None:
        raise ExportError(
            f"{layout.name}: {int(is_standardised.sum())} ECGs are standardised and have no amplitude unit: state the "
            f"publisher's constants as catalog.standardised in the recipe: {_UNITS_HOWTO}"
        )
    _check_unit("catalog.standardised.unit", constants.unit)
    text = unit_of(constants.mean, constants.scale, constants.unit)
    return ecgs.assign(unit=ecgs["unit"].where(~is_standardised, text))


def _check_unit(field: str, unit: str) -> None:
    try:
        multiples_per_millivolt(unit)
    except Refusal as refusal:
        raise ExportError(f"{field}: {refusal.detail}") from refusal
