"""Tables of readings, block by block, into a file: nothing but the block at hand is held in memory.

Which files a person means: files, WFDB records by name, and whole folders.
"""

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
    """Files to read, each once, in the order named; those of a folder by name, its subfolders after its files.

    Of a WFDB record in a folder the header stands for all its files; hidden files are passed over. Everything else
    is listed, since formats are told by content: what is no ECG will be refused.

    Args:
        names: files, WFDB records with or without `.hea`, and folders.

    Raises:
        UserError: a folder cannot be listed, or nothing is left.
    """
    found = dict.fromkeys(file for name in names for file in (_inside(name) if os.path.isdir(name) else [name]))  # noqa: PTH112
    if not found:
        raise UserError("no file to read: name ECG files, or folders that hold some")
    return list(found)


def _inside(folder: str) -> Iterator[str]:
    """Strings, not Paths: a folder may hold a million."""

    def fail(fault: OSError) -> None:
        raise UserError(f"{fault.filename}: cannot be listed: {fault.strerror}") from fault

    for place, subfolders, files in os.walk(folder, onerror=fail):
        subfolders[:] = sorted(one for one in subfolders if not one.startswith("."))
        records = {one.removesuffix(HEADER_SUFFIX) for one in files if one.endswith(HEADER_SUFFIX)}
        for one in sorted(files):
            if not one.startswith(".") and (one.endswith(HEADER_SUFFIX) or one.partition(".")[0] not in records):
                yield os.path.join(place, one)  # noqa: PTH118


def write_parquet(contract: TableContract, tables: Iterable[pa.Table], path: Path) -> Iterator[pa.Table]:
    """Passes the tables on, each once it is written; the file is there when all are, whole.

    Args:
        contract: of every table.
        tables: checked against it.
        path: replaced if it exists.
    """
    with replace_atomically(path) as beside, pq.ParquetWriter(beside, contract.schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
            yield table


def write_json(tables: Iterable[pa.Table], about: Mapping[str, str], stream: TextIO) -> None:
    """One object: the notice, `about`, and `readings`, a list with a row a line."""
    head = json.dumps({"notice": NOTICE, **about}, ensure_ascii=False)
    stream.write(f'{head.removesuffix("}")}, "readings": [')
    comma = "\n"
    for table in tables:
        for row in table.to_pylist():
            filled = {name: value for name, value in row.items() if value is not None}
            stream.write(comma + json.dumps(filled, ensure_ascii=False, allow_nan=False))
            comma = ",\n"
    stream.write("\n]}\n")


class Tally:
    """What came of the files, without naming any.

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
