"""The private index of an export: which file has which path, size, time and content hash.

It holds paths of the hospital, so it stays in the workspace's private folder and is no artefact.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from data_contracts.tables import TableContract, column
from echoingecg.ecg.wfdb_header import SUFFIX, files_of_record

ECG: Final = "ecg"
ECHO: Final = "echo"


def _checks() -> Mapping[str, Any]:
    import pandera.pandas as pandera

    return {
        "kind": pandera.Check.isin((ECG, ECHO)),
        "content_hash": pandera.Check.str_matches(r"^([0-9a-f]{64})?$"),
        "bytes": pandera.Check.ge(0),
    }


SOURCES: Final = TableContract(
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
    return path if path.is_file() else path.with_name(path.name + SUFFIX)


def files_of(path: Path) -> list[Path]:
    """Every file that a listed path stands for: a file alone, or a WFDB header and its signal files.

    Raises:
        OSError: a WFDB header cannot be read.
    """
    first = entry_file(path)
    return list(files_of_record(first)) if first.suffix == SUFFIX else [first]
