"""What an export holds now: its lists, and size, time and content hash of each listed file.

Nothing outside the export's folder is opened, whatever its tables or links say.

The private index of an export: which file has which path, size, time and content hash.

It holds paths of the hospital, so it stays in the workspace's private folder and is no artefact.
"""

import hashlib
import os
import posixpath
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from data_contracts.tables import TableContract, column
from echoingecg.catalog.layouts import base, detect
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.common import ExportError, Progress, Refusal, fingerprint, hash_files, silent
from echoingecg.ecg.decode.wfdb import HEADER_SUFFIX, files_of_record
from echoingecg.recipe import CatalogSettings


class Inside:
    """Looks up files below a folder.

    Args:
        root: the export.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._admits = cache(self._check_folder)

    def stat(self, path: str) -> os.stat_result:
        """Status of a regular file, links followed as long as they stay below the root.

        Args:
            path: normalised, relative to the root.

        Raises:
            Refusal: outside_export, missing_file, or unreadable when the system refuses to tell.
        """
        if path.startswith(("/", "../")) or path in ("..", "."):
            raise Refusal("outside_export", "the listed path leaves the export")
        try:
            self._admits(os.path.dirname(path))  # noqa: PTH120 - strings: a million paths pass here
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
        """Size and time, as `size_and_time`, of regular files in a folder; None when one is not there.

        It follows no link of a name and opens nothing, so it does not ask where the folder leads.
        """
        try:
            states = [os.lstat(f"{self._root}/{folder}/{name}") for name in names]
        except OSError:
            return None
        return size_and_time(states) if all(stat.S_ISREG(one.st_mode) for one in states) else None

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _check_folder(self, folder: str) -> None:
        """Raises Refusal when a link on the way to the folder leaves the root. OSError as lstat."""
        if not folder:
            return
        self._admits(os.path.dirname(folder))  # noqa: PTH120
        if stat.S_ISLNK(os.lstat(self._full(folder)).st_mode):
            self._check_link(folder)

    def _check_link(self, path: str) -> None:
        target = os.path.realpath(self._full(path))
        if os.path.commonpath((target, self._root)) != self._root:
            raise Refusal("outside_export", "a link leaves the export")


def size_and_time(states: Sequence[os.stat_result]) -> tuple[int, int]:
    """Bytes of the files together, and the latest of their times in ns."""
    return sum(one.st_size for one in states), max(one.st_mtime_ns for one in states)


ECG = "ecg"
ECHO = "echo"


def _checks() -> Mapping[str, Any]:
    import pandera.pandas as pandera

    return {
        "kind": pandera.Check.isin((ECG, ECHO)),
        "content_hash": pandera.Check.str_matches(r"^([0-9a-f]{64})?$"),
        "bytes": pandera.Check.ge(0),
    }


SOURCES = TableContract(
    "sources",
    pa.schema(
        [
            column("source_id", pa.string(), "keyed pseudonym of kind and path"),
            column("path", pa.string(), "relative to the export, as listed; of a WFDB record without its ending"),
            column("kind", pa.string(), "ecg or echo"),
            column("bytes", pa.int64(), "size of all its files together; 0 when one is missing", "B"),
            column("mtime_ns", pa.int64(), "latest change of its files, since 1970", "ns"),
            column("content_hash", pa.string(), "SHA-256 of its files' bytes, one after another; empty if not read"),
            column("parts", pa.list_(pa.string()), "names of its files, beside each other in one folder"),
        ]
    ),
    _checks,
    unique=("source_id",),
)


def entry_file(path: Path) -> Path:
    """The file to open first: `path` itself, or the header of the WFDB record of that name."""
    return path if path.is_file() else path.with_name(path.name + HEADER_SUFFIX)


def files_of(path: Path) -> list[Path]:
    """Every file that a listed path stands for: a file alone, or a WFDB header and its signal files.

    Raises:
        OSError: a WFDB header cannot be read.
    """
    first = entry_file(path)
    return list(files_of_record(first)) if first.suffix == HEADER_SUFFIX else [first]


_REPORT_EVERY = 1000  # files between two calls of a listener

FileKey = tuple[str, str]  # kind, normalised path


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One listed file, or WFDB record, as found. `refusal` (reason, detail) when it cannot be used."""

    source_id: str
    content_hash: str = ""
    bytes: int = 0
    mtime_ns: int = 0
    parts: tuple[str, ...] = ()
    refusal: tuple[str, str] | None = None

    @property
    def state(self) -> tuple[int, int]:
        return self.bytes, self.mtime_ns


@dataclass(frozen=True)
class Scan:
    """An export at one time.

    Attributes:
        layout: the layout's name.
        digest: fingerprint of the layout, the tables' and the listed files' content; the same wherever the
            export lies, and whatever its files' times.
        sources: SOURCES table, the private index.
        read_files: listed files whose bytes were read in this scan.
        files: the lists of files, paths normalised.
        found: each listed file.
        tables: the CSV tables.
        reader: reads reports and measurements from them.
    """

    layout: str
    digest: str
    sources: pa.Table
    read_files: int
    files: base.Files
    found: Mapping[FileKey, FoundFile]
    tables: base.Tables
    reader: base.Layout


def scan(
    export: Path, settings: CatalogSettings, key: bytes, previous: pa.Table | None = None, progress: Progress = silent
) -> Scan:
    """Lists an export and hashes its files.

    Args:
        export: root folder.
        settings: the recipe's section `catalog`.
        key: of the pseudonyms.
        previous: `sources` of an earlier scan of this export: a file of unchanged size and time is not read again.
        progress: told every 1000 files.

    Raises:
        ExportError: no known layout, no file listed, or a table that cannot be read.
    """
    layout, tables = detect.find_layout(export, settings.layout)
    listed = layout.files(tables)
    files = base.Files(_normalised(listed.ecgs), _normalised(listed.echoes), listed.malformed)
    wanted = sorted(
        {(kind, path) for kind, frame in ((ECG, files.ecgs), (ECHO, files.echoes)) for path in frame["path"] if path}
    )
    if not wanted:
        raise ExportError(f"export {export}: its lists name no file: {', '.join(layout.lists)}")
    names, inside, known = Pseudonyms(key), Inside(export), _known(previous, Pseudonyms(key))
    found: dict[FileKey, FoundFile] = {}
    read = 0
    for done, (kind, path) in enumerate(wanted, start=1):
        earlier = known.get((kind, path))
        if earlier is not None and inside.state_of(posixpath.dirname(path), earlier.parts) == earlier.state:
            found[kind, path] = earlier
        else:
            found[kind, path] = one = _look(export, inside, path, names.source(kind, path))
            read += bool(one.content_hash)
        if done % _REPORT_EVERY == 0 or done == len(wanted):
            progress(done, len(wanted), f"{read} read")
    return Scan(
        layout.name, _digest(layout.name, tables, found), _sources(found), read, files, found, tables, layout
    )  # fmt: skip


def _normalised(frame: pd.DataFrame) -> pd.DataFrame:
    """Paths without `.`, inner `..` and the ending of a WFDB header, so that one file has one name."""
    paths = (posixpath.normpath(path).removesuffix(HEADER_SUFFIX) if path else "" for path in frame["path"])
    return frame.assign(path=pd.array(pa.array(paths, pa.string(), size=len(frame)), dtype="str"))


def _look(export: Path, inside: Inside, path: str, source_id: str) -> FoundFile:
    """The file at a path, read and hashed."""
    if "\0" in path:
        return FoundFile(source_id, refusal=("missing_file", "no file can have the listed path"))
    folder = posixpath.dirname(path)
    try:
        parts = _parts(export, inside, folder, _entry(inside, path))
        size, mtime_ns = size_and_time([inside.stat(posixpath.join(folder, part)) for part in parts])
        content_hash = hash_files(export / folder / part for part in parts)
    except Refusal as refusal:
        return FoundFile(source_id, refusal=(refusal.reason, refusal.detail))
    except OSError as fault:
        return FoundFile(source_id, refusal=("unreadable", f"the system says: {fault.strerror}"))
    return FoundFile(source_id, content_hash, size, mtime_ns, tuple(parts))


def _entry(inside: Inside, path: str) -> str:
    """Name of the file at the path, or of the WFDB header of that name. Raises Refusal."""
    try:
        inside.stat(path)
    except Refusal as refusal:
        if refusal.reason != "missing_file":
            raise
        inside.stat(path + HEADER_SUFFIX)
        path += HEADER_SUFFIX
    return posixpath.basename(path)


def _parts(export: Path, inside: Inside, folder: str, first: str) -> list[str]:
    """Names of the files that belong to the first; each is checked before it is opened."""
    if not first.endswith(HEADER_SUFFIX):
        return [first]
    parts = []
    for file in files_of_record(export / folder / first):
        inside.stat(posixpath.join(folder, file.name))
        parts.append(file.name)
    return parts


def _known(previous: pa.Table | None, names: Pseudonyms) -> dict[FileKey, FoundFile]:
    """Earlier sources by kind and path, those that were read."""
    if previous is None or not set(SOURCES.schema.names) <= set(previous.schema.names):
        return {}
    columns = ("kind", "path", "source_id", "content_hash", "bytes", "mtime_ns", "parts")
    known = {
        (kind, path): FoundFile(source_id, content_hash, size, mtime_ns, tuple(parts))
        for kind, path, source_id, content_hash, size, mtime_ns, parts in zip(
            *(previous[name].to_pylist() for name in columns), strict=True
        )
        if content_hash
    }
    if all(names.source(*key) == one.source_id for key, one in islice(known.items(), 1)):
        return known
    return {key: replace(one, source_id=names.source(*key)) for key, one in known.items()}


def _sources(found: Mapping[FileKey, FoundFile]) -> pa.Table:
    """By column: a dictionary a row would take three times the memory, and most of a minute for 800,000 files."""
    kept = {key: one for key, one in found.items() if one.refusal is None or one.refusal[0] != "outside_export"}
    columns = {
        "source_id": (one.source_id for one in kept.values()),
        "path": (path for _, path in kept),
        "kind": (kind for kind, _ in kept),
        "bytes": (one.bytes for one in kept.values()),
        "mtime_ns": (one.mtime_ns for one in kept.values()),
        "content_hash": (one.content_hash for one in kept.values()),
        "parts": (one.parts for one in kept.values()),
    }
    schema = SOURCES.schema
    arrays = [pa.array(columns[name], schema.field(name).type, size=len(kept)) for name in schema.names]
    return SOURCES.check(pa.Table.from_arrays(arrays, schema=schema))


def _digest(layout: str, tables: base.Tables, found: Mapping[FileKey, FoundFile]) -> str:
    """Over content alone; a file that cannot be used counts by its reason."""
    files = hashlib.sha256()
    for (kind, path), one in found.items():
        files.update(f"{kind}\0{path}\0{one.content_hash or (one.refusal or ('',))[0]}\0".encode())
    return fingerprint(
        {
            "layout": layout,
            "tables": sorted([table.name, table.sha256] for table in tables.values()),
            "files": files.hexdigest(),
        }
    )
