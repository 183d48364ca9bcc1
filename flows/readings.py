"""What `echoingecg predict` prints: a table of a few ECGs, counts of many."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from echoingecg.prediction.files import Tally

_MOST: Final = 50  # files that anyone reads on a terminal
_console = Console(soft_wrap=True)


def print_readings(tables: Iterable[pa.Table], files: Sequence[str], title: str) -> None:
    """Every answer of a few files; of many, how many ECGs had which."""
    if len(files) > _MOST:
        print_counts(tables, title)
        _console.print("--parquet or --json gives every ECG")
        return
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])  # noqa: PTH100, PTH120
    shown = Table(title=f"{title}\nfiles in {folder}", title_justify="left")
    shown.add_column("file\n  endpoint", overflow="fold")
    for name in ("probability\n(95 % of draws)", "uncer-\ntainty", "reads, advice"):
        shown.add_column(name, no_wrap=True)
    rows = (row for table in tables for row in table.to_pylist())
    for file, of_file in groupby(rows, key=lambda row: row["file"]):
        for cells in _cells(os.path.relpath(file, folder), list(of_file)):
            shown.add_row(*(Text(cell) for cell in cells))  # a file's name is no markup
        shown.add_section()
    _console.print(shown)


def print_counts(tables: Iterable[pa.Table], title: str) -> None:
    """How many ECGs had which answer, and how many files were refused."""
    tally = Tally()
    for table in tables:
        tally.add(table)
    counts = Table("endpoint", "reads", "advice", title=title, title_justify="left")
    counts.add_column("ECGs", justify="right")
    for (endpoint, decision, advice), count in sorted(tally.answers.items()):
        counts.add_row(Text(endpoint), _word(decision), advice, f"{count:,}")
    for reason, count in tally.refusals.most_common():
        counts.add_row("refused", reason, "", f"{count:,}")
    _console.print(counts)


def _cells(name: str, rows: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """A line for the file and one for each endpoint, or for the refusal."""
    first = rows[0]
    if first["reason"]:
        yield (name,)
        yield (f"  refused, {first['reason']}: {first['detail']}",)
        return
    yield (f"{name} ({', '.join(first['findings'])})" if first["findings"] else name,)
    yield from (_line(row) for row in rows)


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    percentile = row["uncertainty_percentile"]
    return (
        f"  {row['endpoint']}",
        f"{row['probability']:.3f} ({row['low']:.3f}–{row['high']:.3f})",
        "" if percentile is None else f"{percentile:.0f} %",
        f"{_word(row['decision'])}, {row['advice']}",
    )


def _word(decision: int) -> str:
    return "positive" if decision else "negative"
