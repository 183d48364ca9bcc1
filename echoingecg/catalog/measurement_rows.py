"""Reads the measurements of an export as numbers: codes of texts in memory, never the texts of each row."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from echoingecg.catalog.layouts import base
from echoingecg.catalog.layouts.quoting import MALFORMED
from echoingecg.catalog.layouts.tables import TIME_RULE, seconds
from echoingecg.catalog.pseudonyms import NOBODY, Withdrawn
from echoingecg.catalog.refusals import Refusals
from echoingecg.common import ExportError

CODED = ("patient", "study", "exam", "ecg", "exam_type", "measurement", "words", "unit")

_FEW = ("exam_type", "measurement", "unit")  # columns of at most 32,767 different texts
_MOST_TEXTS = np.iinfo(np.int16).max
_EXAM_TYPE = re.compile(r"([a-z0-9][a-z0-9 /_+-]{0,39})?")  # a name, not a sentence that could hold more
_MOST_REFUSED = 3_000_000  # rows; each takes 150 B of memory
_NOT_FINITE = frozenset({"nan", "inf", "-inf", "+inf", "infinity", "-infinity", "+infinity"})

Columns = dict[str, np.ndarray]


class Codes:
    """Numbers texts in the order in which they come; the empty text is 0."""

    def __init__(self) -> None:
        self._code_of: dict[str, int] = {"": 0}

    def __len__(self) -> int:
        return len(self._code_of)

    @property
    def texts(self) -> list[str]:
        """The texts, by code."""
        return list(self._code_of)

    def code(self, text: str) -> int:
        """Returns the code of a text, -1 for one that was never encoded."""
        return self._code_of.get(text, -1)

    def encode(self, column: pa.DictionaryArray) -> np.ndarray:
        """Returns the code of each value, (n,) int32."""
        codes = [self._code_of.setdefault(text, len(self._code_of)) for text in column.dictionary.to_pylist()]
        return np.array(codes, np.int32)[column.indices.to_numpy(zero_copy_only=False)]


@dataclass
class MeasurementRows:
    """Reads measurements, and names the rows that it has read.

    Attributes:
        source: the export's measurements.
        refused: receives the rows that cannot be read.
        withdrawn: patients whose rows are left out.
        left_out: receives the pseudonym of the patient of each row that is left out.
        codes: of the texts of each column in CODED.
        first_seconds: earliest time of each patient, by code. It counts every readable row, kept or not.
        gaps: rows without a result, where the layout leaves these out.
    """

    source: base.MeasurementSource
    refused: Refusals
    withdrawn: Withdrawn = NOBODY
    left_out: list[str] = field(default_factory=list)
    codes: dict[str, Codes] = field(default_factory=lambda: {name: Codes() for name in CODED})
    first_seconds: dict[int, float] = field(default_factory=dict)
    gaps: int = 0
    _origins: list[tuple[str, str]] = field(default_factory=list)
    _refused_rows: int = 0

    def read(self, names: tuple[str, ...]) -> Columns:
        """Returns the rows: CODED as integers, `seconds`, `value` (NaN for words), `record`, `origin`; each (n,).

        Args:
            names: measurements to keep; empty for all.

        Raises:
            ExportError: the table cannot be read, or over three million of its rows.
        """
        return joined(self.batches(names))

    def batches(self, names: tuple[str, ...]) -> Iterator[Columns]:
        """Yields the rows batch by batch, as `read` returns them."""
        chosen, malformed = self.with_both_ends(names), list[str]()
        for batch in self.source.batches(malformed):
            yield self._columns(batch, chosen)
        self.refused.add_rows(malformed, MALFORMED)

    def with_both_ends(self, names: Iterable[str]) -> frozenset[str]:
        """Returns the names, with both ends of each range of which they name one."""
        chosen, pairs = set(names), self.source.upper_ends.items()
        return frozenset(chosen | {name for pair in pairs for name in pair if chosen & set(pair)})

    @property
    def first_events(self) -> pd.Series:
        """Earliest `seconds` of each patient."""
        texts = self.codes["patient"].texts
        return pd.Series({texts[code]: value for code, value in self.first_seconds.items()}, dtype="float64")

    def release(self) -> None:
        """Frees texts and times: a fifth of a kilobyte for each exam."""
        self.codes.clear()
        self.first_seconds.clear()

    def refuse(self, columns: Columns, rows: np.ndarray, detail: str) -> None:
        """Refuses rows, given by their positions."""
        for code in np.unique(columns["origin"][rows]):
            chosen = rows[columns["origin"][rows] == code]
            table, suffix = self._origins[code]
            self.refused.add_records(table, suffix, columns["record"][chosen], detail)

    def refuse_together(
        self, columns: Columns, rows: np.ndarray, shown: int, what: str, detail: str, reason: str
    ) -> None:
        """Refuses rows as one, which names the first rows in the private index.

        Args:
            columns, rows: rows, given by their positions.
            shown: number of rows to name.
            what: what the rows have in common.
            detail, reason: see Refusals.
        """
        names = ", ".join(self._row_names(columns, rows[:shown]))
        more = ", ..." if len(rows) > shown else ""
        self.refused.add_rows([f"{names}{more} ({what})"], detail, reason)

    def _row_names(self, columns: Columns, rows: np.ndarray) -> list[str]:
        origins = (self._origins[code] for code in columns["origin"][rows])
        return [
            base.row_name(table, suffix, record)
            for (table, suffix), record in zip(origins, columns["record"][rows], strict=True)
        ]

    def _columns(self, batch: base.MeasurementBatch, names: frozenset[str]) -> Columns:
        """Returns a batch's rows that are readable and named."""
        texts = {name: batch.columns[name] for name in base.MEASUREMENT_COLUMNS}
        texts["exam_type"] = _changed(texts["exam_type"], pc.utf8_lower)
        time, value = _of_texts(texts["time"], _times), _of_texts(texts["value"], _numbers)
        is_open = self._readable(batch, texts, time, value)
        patient = self.codes["patient"].encode(texts["patient"])
        self._note_first(patient[is_open], time[is_open])
        if names:
            is_open &= _which(texts["measurement"], lambda text: text in names)
        rows = np.flatnonzero(is_open)
        columns: Columns = {"patient": patient[rows], "seconds": time[rows], "value": value[rows]}
        for name in ("study", "exam", "ecg"):
            columns[name] = self.codes[name].encode(texts[name])[rows]
        for name in _FEW:
            columns[name] = self.codes[name].encode(_used(texts[name], rows)).astype(np.int16)
            if len(self.codes[name]) > _MOST_TEXTS:
                raise ExportError(f"{batch.table}: over {_MOST_TEXTS} different values of {name}: no column of names")
        columns["words"] = np.zeros(len(rows), np.int32)
        in_words = np.flatnonzero(np.isnan(columns["value"]))
        columns["words"][in_words] = self.codes["words"].encode(_used(texts["value"], rows[in_words]))
        if (origin := (batch.table, batch.suffix)) not in self._origins:
            self._origins.append(origin)
        columns["record"] = batch.records[rows].astype(np.uint32)
        columns["origin"] = np.full(len(rows), self._origins.index(origin), np.int8)
        return columns

    def _readable(
        self, batch: base.MeasurementBatch, texts: dict[str, pa.DictionaryArray], time: np.ndarray, value: np.ndarray
    ) -> np.ndarray:
        """Returns which rows are readable, (n,) bool; the others are refused or counted as gaps."""
        gone, source = self.withdrawn.among(texts["patient"].dictionary.to_pylist()), batch.source or self.source
        is_open = np.ones(len(batch.records), bool)
        if gone:
            is_open = ~_which(texts["patient"], lambda text: text in gone)
            self.left_out += [gone[raw] for raw in texts["patient"].filter(pa.array(~is_open)).to_pylist()]

        def refuse(bad: np.ndarray, detail: str) -> None:
            rows = np.flatnonzero(is_open & bad)
            is_open[rows] = False
            self._refused_rows += len(rows)
            if self._refused_rows > _MOST_REFUSED:
                raise ExportError(f"{batch.table}: over {_MOST_REFUSED} rows cannot be read; the last ones: {detail}")
            self.refused.add_records(batch.table, batch.suffix, batch.records[rows], detail)

        for column in ("patient", "measurement"):
            refuse(_which(texts[column], lambda text: not text), f"no {column}")
        gap = _which(texts["value"], lambda text: not text)
        if source.with_gaps:
            self.gaps += int((is_open & gap).sum())
            is_open &= ~gap
        refuse(gap, "no value")
        refuse(np.isnan(time), TIME_RULE)
        if source.with_words:
            refuse(_which(texts["value"], lambda text: text.lower() in _NOT_FINITE), "the value is not a finite number")
            if source.with_letters:
                bare = _which(texts["value"], lambda text: not any(map(str.isalpha, text)))
                refuse(np.isnan(value) & bare, "the value is neither a number nor words")
        else:
            refuse(np.isnan(value), "the value is not a number")
        bad_type = _which(texts["exam_type"], lambda text: not _EXAM_TYPE.fullmatch(text))
        refuse(bad_type, "the type of the exam is not a short name")
        return is_open

    def _note_first(self, patient: np.ndarray, time: np.ndarray) -> None:
        order = np.lexsort((time, patient))
        codes, first = np.unique(patient[order], return_index=True)
        for code, value in zip(codes.tolist(), time[order][first].tolist(), strict=True):
            if value < self.first_seconds.get(code, np.inf):
                self.first_seconds[code] = value


def joined(parts: Iterable[Columns]) -> Columns:
    """Returns the rows of all parts, in their order, as `MeasurementRows.read` gives them."""
    lists: dict[str, list[np.ndarray]] = {}
    for part in parts:
        for name, values in part.items():
            lists.setdefault(name, []).append(values)
    return {name: np.concatenate(lists.pop(name)) for name in list(lists)} or no_rows()


def no_rows() -> Columns:
    """Returns columns of no row, as `MeasurementRows.read` gives them."""
    kinds = dict.fromkeys(CODED, np.int32) | {"seconds": np.float64, "value": np.float64, "record": np.uint32}
    return {name: np.zeros(0, kind) for name, kind in (kinds | {"origin": np.int8}).items()}


def _of_texts(column: pa.DictionaryArray, convert: Callable[[pd.Series], pd.Series]) -> np.ndarray:
    """Converts each different text once: (n,) float64."""
    by_text = convert(pd.Series(column.dictionary.to_pylist(), dtype="str")).to_numpy(dtype=np.float64)
    return by_text[column.indices.to_numpy(zero_copy_only=False)] if len(by_text) else np.zeros(0)


def _times(texts: pd.Series) -> pd.Series:
    return seconds(texts)


def _numbers(texts: pd.Series) -> pd.Series:
    """Converts texts to finite numbers; other text becomes NaN."""
    numbers = pd.to_numeric(texts, errors="coerce").astype("float64")
    return numbers.where(np.isfinite(numbers), np.nan)


def _which(column: pa.DictionaryArray, condition: Callable[[str], bool]) -> np.ndarray:
    """Returns for which values a condition on their text holds, (n,) bool."""
    by_text = np.array([condition(text) for text in column.dictionary.to_pylist()], bool)
    return by_text[column.indices.to_numpy(zero_copy_only=False)] if len(by_text) else np.zeros(0, bool)


def _changed(column: pa.DictionaryArray, change: Callable[[pa.Array], pa.Array]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(column.indices, change(column.dictionary))


def _used(column: pa.DictionaryArray, rows: np.ndarray) -> pa.DictionaryArray:
    """Returns the values at the rows, with a dictionary of these alone."""
    used, codes = np.unique(column.indices.to_numpy(zero_copy_only=False)[rows], return_inverse=True)
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32)), column.dictionary.take(pa.array(used, pa.int32()))
    )
