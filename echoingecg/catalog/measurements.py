"""Builds the catalog's table of measurements.

- A result is a number or words; `words.py` says which words are kept.
- A range that an export states as two measurements of one exam, such as `lvef` 50 and `lvef_upper` 55, becomes one row
  with `value` 50 and `upper` 55. The row of the upper end disappears. An upper end without exactly one lower end of the
  same unit in its exam is refused; where it lies below the lower end both are: nobody knows which is right.
- A row of an exam that the export links to a study gets that study's `study_id`, whatever its time. Where an exam is
  that of two studies, each study gets a copy.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa

from data_contracts.catalog import MEASUREMENTS
from echoingecg.catalog import words
from echoingecg.catalog.measurement_rows import Columns, MeasurementRows
from echoingecg.catalog.pseudonyms import Pseudonyms

_CONTENT = ("patient", "study", "exam", "ecg", "exam_type", "measurement", "unit", "words", "seconds", "value")
_ROWS_NAMED = 20  # of rows that are refused together, in the private index
_SECONDS_BITS = 35  # 1,000 years
_CODE_BITS = 32
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, as hashes use it

NO_UPPER_END = np.nan


def usable_rows(rows: MeasurementRows, names: tuple[str, ...]) -> Columns:
    """Reads the rows, refuses those that repeat or may name a person, joins ranges and sets studies.

    Args:
        rows: the export's measurements.
        names: measurements to keep; empty for all.

    Returns:
        Columns as `MeasurementRows.read` gives them, and `upper`, float64, NaN where the result is no range.

    Raises:
        ExportError: see `MeasurementRows.read`.
    """
    return made_usable(rows, rows.read(names))


def made_usable(rows: MeasurementRows, columns: Columns) -> Columns:
    """Does what `usable_rows` does with rows that are read already."""
    columns = _without(rows, columns, _repeats(columns), "repeats an earlier row")
    columns = _without_free_text(rows, columns)
    columns = _with_ranges(rows, columns)
    return _with_studies(rows, columns)


def build_table(rows: MeasurementRows, columns: Columns, first: pd.Series, pseudonyms: Pseudonyms) -> pa.Table:
    """Builds the MEASUREMENTS table, sorted by its values.

    Args:
        rows: the export's measurements.
        columns: from `usable_rows`; emptied on the way, since each table of millions of rows counts.
        first: `seconds` of each patient's first event.
        pseudonyms: of the workspace.
    """
    texts = {name: codes.texts for name, codes in rows.codes.items()}
    first_by_code = first.reindex(texts["patient"]).to_numpy(dtype=np.float64)
    after = np.round(columns.pop("seconds") - first_by_code[columns["patient"]]).astype(np.int64)
    patient, exam, study, ecg = (columns.pop(name) for name in ("patient", "exam", "study", "ecg"))
    person = texts["patient"]
    coded = {
        "patient_id": _Text.of_codes(patient, person, pseudonyms.patient),
        "exam_id": _Text.of_pairs(patient, exam, person, texts["exam"], pseudonyms.exam),
        "study_id": _Text.of_pairs(patient, study, person, texts["study"], pseudonyms.study),
        "record_id": _Text.of_pairs(patient, ecg, person, texts["ecg"], pseudonyms.record),
    }
    del patient, exam, study, ecg
    for name in ("exam_type", "measurement", "words", "unit"):
        coded[name] = _Text.of_codes(columns.pop(name), texts[name], is_null_if_empty=name in ("exam_type", "words"))
    value, upper = columns.pop("value"), columns.pop("upper")
    moment = (coded["patient_id"].rank.astype(np.int64) << _SECONDS_BITS) | after
    kind = (coded["measurement"].rank.astype(np.int64) << _CODE_BITS) | coded["unit"].rank
    last = [coded[name].rank for name in ("exam_type", "words", "exam_id", "record_id")]
    order = np.lexsort((*last[:2], last[3], upper, last[2], coded["study_id"].rank, value, kind, moment))
    del moment, kind, last
    arrays = {"hours": pa.array(after[order] / 3600), "value": _floats(value[order]), "upper": _floats(upper[order])}
    del after, value, upper
    for name in list(coded):
        arrays[name] = coded.pop(name).array(order)
    return MEASUREMENTS.check(
        pa.Table.from_arrays([arrays[name] for name in MEASUREMENTS.schema.names], schema=MEASUREMENTS.schema)
    )


def _keep(columns: Columns, chosen: np.ndarray) -> Columns:
    """Returns the chosen rows: a mask or positions."""
    return {name: columns.pop(name)[chosen] for name in list(columns)}


def _without(rows: MeasurementRows, columns: Columns, bad: np.ndarray, detail: str) -> Columns:
    """Returns the columns without the bad rows, (n,) bool, and refuses these."""
    if not bad.any():
        return columns
    rows.refuse(columns, np.flatnonzero(bad), detail)
    return _keep(columns, ~bad)


def _repeats(columns: Columns) -> np.ndarray:
    """Returns which rows repeat an earlier one, (n,) bool."""
    digest = np.zeros(len(columns["value"]), np.uint64)
    for name in _CONTENT:
        digest = (digest ^ _bits(columns[name])) * _MULTIPLIER
        digest ^= digest >> np.uint64(29)
    order = np.argsort(digest, kind="stable")
    digest = digest[order]
    later = np.flatnonzero(digest[1:] == digest[:-1]) + 1
    del digest
    here, before = order[later], order[later - 1]
    equal = np.ones(len(later), bool)
    for name in _CONTENT:
        equal &= _bits(columns[name][here]) == _bits(columns[name][before])
    repeated = np.zeros(len(columns["value"]), bool)
    repeated[here[equal]] = True
    return repeated


def _bits(values: np.ndarray) -> np.ndarray:
    return values.view(np.uint64) if values.dtype == np.float64 else values.astype(np.uint64)


def _without_free_text(rows: MeasurementRows, columns: Columns) -> Columns:
    """Returns the columns without words that could name a person; one refusal counts those of a measurement."""
    texts = rows.codes["words"].texts
    is_short = np.array([words.is_short(text) for text in texts])
    is_safe = np.array([words.is_vocabulary(text) for text in texts]) & is_short
    other = np.flatnonzero(~is_safe[columns["words"]])
    if not len(other):
        return columns
    pairs = np.unique(_pair(columns["words"][other], columns["patient"][other])) >> _CODE_BITS
    code, patients = np.unique(pairs, return_counts=True)
    is_shared = np.zeros(len(texts), bool)
    is_shared[code[patients >= words.LEAST_PATIENTS]] = True
    bad = ~(is_safe | (is_shared & is_short))[columns["words"]]
    for measurement in np.unique(columns["measurement"][bad]):
        chosen = np.flatnonzero(bad & (columns["measurement"] == measurement))
        rows.refuse_together(
            columns, chosen, _ROWS_NAMED, rows.codes["measurement"].texts[measurement],
            f"{len(chosen)} results in words that are over {words.MAX_WORDS_CHARACTERS} characters, or outside the "
            f"vocabulary and of fewer than {words.LEAST_PATIENTS} patients", "free_text",
        )  # fmt: skip
    return _keep(columns, ~bad)


def _with_ranges(rows: MeasurementRows, columns: Columns) -> Columns:
    """Adds `upper`; rows of upper ends disappear."""
    columns["upper"] = np.full(len(columns["value"]), NO_UPPER_END)
    for upper_name, lower_name in rows.source.upper_ends.items():
        upper_code, lower_code = (rows.codes["measurement"].code(name) for name in (upper_name, lower_name))
        ends = np.flatnonzero(columns["measurement"] == upper_code)
        if not len(ends):
            continue
        lower = np.flatnonzero((columns["measurement"] == lower_code) & np.isfinite(columns["value"]))
        lower, partner = _partners(columns, lower, ends)
        value, end_value = columns["value"][lower[partner]], columns["value"][ends]
        is_alone = partner < 0
        differs = columns["unit"][lower[partner]] != columns["unit"][ends]
        is_below = end_value < value
        faults = {
            "the upper end of a range is not a number": np.isnan(end_value),
            "an upper end that has not exactly one lower end in its exam": is_alone,
            "the unit of an upper end is not that of its lower end": differs,
            "the upper end of a range is below the lower end": is_below,
        }
        good = np.ones(len(ends), bool)
        for detail, bad in faults.items():
            rows.refuse(columns, ends[good & bad], detail)
            if bad is is_below:
                rows.refuse(columns, lower[partner[good & bad]], detail)
            good &= ~bad
        columns["upper"][lower[partner[good]]] = end_value[good]
        left_out = np.zeros(len(columns["value"]), bool)
        left_out[ends] = True
        left_out[lower[partner[~is_alone & ~differs & is_below]]] = True
        columns = _keep(columns, ~left_out)
    return columns


def _partners(columns: Columns, lower: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lower ends in the order of their exams, and for each upper end the place of its own there, or -1.

    An upper end has a partner only if its exam is named and has one upper and one lower end.
    """
    lower_exam, end_exam = (_pair(columns["patient"][at_rows], columns["exam"][at_rows]) for at_rows in (lower, ends))
    order = np.argsort(lower_exam, kind="stable")
    lower, lower_exam = lower[order], lower_exam[order]
    start, stop = (np.searchsorted(lower_exam, end_exam, side) for side in ("left", "right"))
    _, inverse, count = np.unique(end_exam, return_inverse=True, return_counts=True)
    is_pair = (stop - start == 1) & (count[inverse] == 1) & (columns["exam"][ends] > 0)
    return (lower, np.where(is_pair, start, -1)) if len(lower) else (ends, np.full(len(ends), -1))


def _with_studies(rows: MeasurementRows, columns: Columns) -> Columns:
    """Sets the study of each row whose exam is that of a study, with a copy for each further study."""
    links = rows.source.links
    if links.empty or not len(columns["value"]):
        return columns
    codes = rows.codes
    patient = np.array([codes["patient"].code(text) for text in links["patient"]], np.int64)
    exam = np.array([codes["exam"].code(text) for text in links["exam"]], np.int64)
    study = codes["study"].encode(pa.array(links["study"].astype("str"), pa.string()).dictionary_encode())
    known = (patient > 0) & (exam > 0)
    linked_exam, study = _pair(patient[known], exam[known]), study[known]
    order = np.argsort(linked_exam, kind="stable")
    linked_exam, study = linked_exam[order], study[order]
    own_exam = _pair(columns["patient"], columns["exam"])
    start, stop = (np.searchsorted(linked_exam, own_exam, side) for side in ("left", "right"))
    del own_exam
    copies = np.maximum(stop - start, 1)
    row = np.repeat(np.arange(len(copies)), copies)
    number = np.arange(len(row)) - np.repeat(np.cumsum(copies) - copies, copies)
    link = np.where(stop[row] > start[row], start[row] + number, -1)
    if len(row) > len(copies):
        columns = _keep(columns, row)
    is_linked = link >= 0
    columns["study"][is_linked] = study[link[is_linked]]
    return columns


def _pair(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Returns two codes as one int64."""
    return (high.astype(np.int64) << _CODE_BITS) | low.astype(np.int64)


class _Text:
    """A column of texts as ranks: the order of ranks is that of the texts, a null comes last."""

    def __init__(self, rank: np.ndarray, texts: list[str], null: bool) -> None:
        order = np.argsort(np.array(texts, dtype=object), kind="stable") if texts else np.zeros(0, np.int64)
        position = np.empty(len(texts) + 1, np.int32)
        position[order] = np.arange(len(texts), dtype=np.int32)
        position[-1] = len(texts)  # -1 stands for null
        self.rank = position[rank]
        self._texts = [texts[index] for index in order]
        self._null = null

    @classmethod
    def of_codes(
        cls, code: np.ndarray, texts: list[str], make: Callable[[str], str] = str, is_null_if_empty: bool = False
    ) -> "_Text":
        """Texts by code, changed by `make`."""
        used, position = np.unique(code, return_inverse=True)
        made = [make(texts[number]) for number in used]
        if is_null_if_empty and len(used) and used[0] == 0:
            return cls(position - 1, made[1:], null=True)
        return cls(position, made, null=False)

    @classmethod
    def of_pairs(
        cls, first: np.ndarray, second: np.ndarray, texts: list[str], others: list[str], make: Callable[[str, str], str]
    ) -> "_Text":
        """Texts by two codes, made by `make`; null where the second text is empty."""
        used, position = np.unique(np.where(second > 0, _pair(first, second), -1), return_inverse=True)
        made = [
            make(texts[key >> _CODE_BITS], others[key & ((1 << _CODE_BITS) - 1)]) for key in used.tolist() if key >= 0
        ]
        has_null = len(made) < len(used)
        return cls(position - 1 if has_null else position, made, has_null)

    def array(self, order: np.ndarray) -> pa.Array:
        """Returns the texts in another order, as pa.string()."""
        rank = self.rank[order]
        mask = rank == len(self._texts) if self._null else None
        indices = pa.array(rank, pa.int32(), mask=mask)
        return pa.DictionaryArray.from_arrays(indices, pa.array(self._texts, pa.string())).cast(pa.string())


def _floats(values: np.ndarray) -> pa.Array:
    return pa.array(values, pa.float64(), mask=np.isnan(values))
