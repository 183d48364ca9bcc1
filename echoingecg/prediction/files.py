"""Which ECG files a user's names and folders mean, and tables of readings written to a file block by block."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_contracts.prediction import NOTICE
from data_contracts.tables import TableContract
from echoingecg.common import UserError, replace_atomically
from echoingecg.ecg.decode.wfdb import HEADER_SUFFIX


def list_ecgs(names: Iterable[str]) -> list[str]:
    """Lists the files to read, each once, in the order named; files of a folder by name, then its subfolders.

    A WFDB record in a folder is listed by its header alone. Hidden files are left out. Everything else is listed, since
    the format is recognised from the content: a file that is no ECG is refused when it is read.

    Args:
        names: files, WFDB records with or without `.hea`, and folders.

    Raises:
        UserError: a folder cannot be listed, or nothing is left.
    """
    ecgs = dict.fromkeys(file for name in names for file in (_inside(name) if os.path.isdir(name) else [name]))  # noqa: PTH112
    if not ecgs:
        raise UserError("no file to read: name ECG files, or folders that hold some")
    return list(ecgs)


def _inside(folder: str) -> Iterator[str]:
    """Files of a folder, as strings, not Paths: a folder may hold a million files."""

    def fail(fault: OSError) -> None:
        raise UserError(f"{fault.filename}: cannot be listed: {fault.strerror}") from fault

    for directory, subfolders, files in os.walk(folder, onerror=fail):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        records = {name.removesuffix(HEADER_SUFFIX) for name in files if name.endswith(HEADER_SUFFIX)}
        for name in sorted(files):
            if not name.startswith(".") and (name.endswith(HEADER_SUFFIX) or name.partition(".")[0] not in records):
                yield os.path.join(directory, name)  # noqa: PTH118


def write_parquet(contract: TableContract, tables: Iterable[pa.Table], path: Path) -> Iterator[pa.Table]:
    """Writes tables to one Parquet file, and yields each after it is written; the file appears once all are written.

    Args:
        contract: contract of every table.
        tables: already checked against it.
        path: replaced if it exists.
    """
    with replace_atomically(path) as beside, pq.ParquetWriter(beside, contract.schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
            yield table


def write_json(tables: Iterable[pa.Table], about: Mapping[str, str], stream: TextIO) -> None:
    """Writes one JSON object: the notice, `about`, and the list `readings` with one row on each line."""
    head = json.dumps({"notice": NOTICE, **about}, ensure_ascii=False)
    stream.write(f'{head.removesuffix("}")}, "readings": [')
    comma = "\n"
    for table in tables:
        for row in table.to_pylist():
            filled = {name: value for name, value in row.items() if value is not None}
            stream.write(comma + json.dumps(filled, ensure_ascii=False, allow_nan=False))
            comma = ",\n"
    stream.write("\n]}\n")


class ReadingCounts:
    """Counts of answers and refusals, without the files' names.

    Attributes:
        answers: rows by endpoint, decision and advice.
        refusals: files by reason.
    """

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int, str]] = Counter()
        self.refusals: Counter[str] = Counter()

    def add(self, table: pa.Table) -> None:
        """Counts a table of readings."""
        read = table.filter(pc.is_null(table["reason"]))
        self.answers.update(zip(*(read[name].to_pylist() for name in ("endpoint", "decision", "advice")), strict=True))
        self.refusals.update(table["reason"].drop_null().to_pylist())
