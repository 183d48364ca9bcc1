"""Which ECG files a user's names and folders mean, and tables of readings written to a file block by block."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_contracts.prediction import NOTICE, NUMBERS, READINGS
from data_contracts.tables import TableContract
from echoingecg.common import UserError, replace_atomically
from echoingecg.ecg.decode.wfdb_header import HEADER_SUFFIX

if TYPE_CHECKING:
    from echoingecg.prediction.predictor import Predicted  # torch


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
            is_of_record = (
                name.partition(".")[0] in records or name.rpartition(".")[0] in records
            )  # names may have dots
            if not name.startswith(".") and (name.endswith(HEADER_SUFFIX) or not is_of_record):
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


def numbers_path(path: Path) -> Path:
    """The file of the numbers beside that of the readings: `out.numbers.parquet` beside `out.parquet`."""
    return path.with_name(f"{path.stem}.numbers{path.suffix}")


def write_predicted(blocks: Iterable["Predicted"], path: Path, with_numbers: bool) -> Iterator["Predicted"]:
    """Writes readings to one Parquet file and numbers to `numbers_path`; yields each block after it is written.

    Args:
        blocks: of `Reader.predict`.
        path: replaced if it exists.
        with_numbers: whether the card holds numbers; without, there is no second file.
    """
    with ExitStack() as stack:

        def writer(contract: TableContract, file: Path) -> pq.ParquetWriter:
            beside = stack.enter_context(replace_atomically(file))
            return stack.enter_context(pq.ParquetWriter(beside, contract.schema, compression="zstd"))

        readings = writer(READINGS, path)
        numbers = writer(NUMBERS, numbers_path(path)) if with_numbers else None
        for block in blocks:
            readings.write_table(block.readings)
            if numbers is not None:
                numbers.write_table(block.numbers)
            yield block


def write_json(blocks: Iterable["Predicted"], about: Mapping[str, str], stream: TextIO) -> None:
    """Writes one JSON object: the notice, `about`, and the lists `readings` and `numbers`, one row on each line."""
    head = json.dumps({"notice": NOTICE, **about}, ensure_ascii=False)
    stream.write(f'{head.removesuffix("}")}, "readings": [')
    with TemporaryFile("w+", encoding="utf-8") as numbers:  # the second list waits there for the end of the first
        commas = "\n", "\n"
        for block in blocks:
            commas = _write_rows(block.readings, stream, commas[0]), _write_rows(block.numbers, numbers, commas[1])
        stream.write('\n], "numbers": [')
        numbers.seek(0)
        copyfileobj(numbers, stream)
    stream.write("\n]}\n")


_READS = {0: "negative", 1: "positive", None: "a score"}


def _write_rows(table: pa.Table, stream: TextIO, comma: str) -> str:
    """Writes rows without their nulls; returns what comes before the next row."""
    for row in table.to_pylist():
        filled = {name: value for name, value in row.items() if value is not None}
        stream.write(comma + json.dumps(filled, ensure_ascii=False, allow_nan=False))
        comma = ",\n"
    return comma


class ReadingCounts:
    """Counts of answers and refusals, without the files' names.

    Attributes:
        answers: ECGs by question or number, what it reads (positive, negative, a value, a score) and advice.
        refusals: files by reason.
    """

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str, str]] = Counter()
        self.refusals: Counter[str] = Counter()

    def add(self, block: "Predicted") -> None:
        """Counts a block."""
        read, numbers = (table.filter(pc.is_null(table["reason"])) for table in block)
        decided = [_READS[decision] for decision in read["decision"].to_pylist()]
        self.answers.update(zip(read["endpoint"].to_pylist(), decided, read["advice"].to_pylist(), strict=True))
        for name, advice in zip(numbers["number"].to_pylist(), numbers["advice"].to_pylist(), strict=True):
            self.answers[name, "a value", advice] += 1
        every_file = block.readings if block.readings.num_rows else block.numbers
        self.refusals.update(every_file["reason"].drop_null().to_pylist())

    def counted(self, blocks: Iterable["Predicted"]) -> Iterator["Predicted"]:
        """Yields the blocks, each after it is counted."""
        for block in blocks:
            self.add(block)
            yield block

    def check_some_read(self, files: int) -> None:
        """Raises UserError when each of so many files was refused: whoever started this must notice."""
        check_some_read(files - self.refusals.total(), files)


def check_some_read(read: int, files: int) -> None:
    """Raises UserError when no file could be read."""
    if not read:
        all_of_them = "the file was" if files == 1 else f"all {files:,} files were"
        raise UserError(f"{all_of_them} refused: the reason stands beside each file's name")
