"""Tables of readings, block by block, into a file: nothing but the block at hand is held in memory."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_contracts.prediction import NOTICE
from data_contracts.tables import TableContract
from echoingecg.common.files import replacing


def write_parquet(contract: TableContract, tables: Iterable[pa.Table], path: Path) -> Iterator[pa.Table]:
    """Passes the tables on, each once it is written; the file is there when all are, whole.

    Args:
        contract: of every table.
        tables: checked against it.
        path: replaced if it exists.
    """
    with replacing(path) as beside, pq.ParquetWriter(beside, contract.schema, compression="zstd") as writer:
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
