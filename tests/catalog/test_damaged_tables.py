"""Tables of an export, damaged at random: no crash, and no row of a patient changes by damage to another's rows.

A table has no checksum: a changed value that is still a value is read as it stands, a lost end looks like a shorter
table, and a column that no layout knows is not read. All else is refused, by row or in one line for the whole table.
"""

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from echoingecg.catalog.build import build
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.catalog.scan import scan
from echoingecg.common import ExportError
from echoingecg.recipe import CatalogSettings
from helpers.cases.damage import damaged_once
from helpers.cases.hospital import KEY, generic_export, mimic_export

PATIENTS, SECONDS = 6, 20.0
Rows = dict[str, list[dict[str, Any]]]  # by pseudonym of the patient, each with its table's name


def rows_of(export: Path) -> tuple[Rows, int]:
    """Every row of the catalog by patient, and how many were refused."""
    tables = build(scan(export, CatalogSettings(), KEY), KEY)
    refused, rows = tables.pop("quarantine").num_rows, defaultdict(list)
    owners = dict(zip(*(tables["ecgs"][name].to_pylist() for name in ("record_id", "patient_id")), strict=True))
    for name, table in tables.items():
        for row in table.to_pylist():
            rows[row["patient_id"] if "patient_id" in row else owners[row["record_id"]]].append({"table": name} | row)
    return dict(rows), refused


def records_of(content: bytes) -> list[tuple[int, int]]:
    """Start and end of each record of a sound table; the header is the first."""
    ends = [mark.end() for mark in re.finditer(rb'(?:[^"\n]|"[^"]*")*\n', content)]
    return list(zip([0, *ends], ends, strict=False))


def values(text: str) -> set[str]:
    return set(re.split(r'[,"\r\n]+', text))


class Owners:
    """Whose row a value stands in: those that stand in the rows of one patient alone, in any table."""

    def __init__(self, tables: list[Path]) -> None:
        owners: dict[str, set[str]] = defaultdict(set)
        for path in tables:
            for row in csv.DictReader(io.StringIO(path.read_text(), newline="")):
                patient = row.get("patient_id") or row["subject_id"]
                for value in row.values():
                    owners[value].add(patient)
        self._owner = {value: min(patients) for value, patients in owners.items() if len(patients) == 1}

    def of(self, text: str) -> set[str]:
        """The patients, by number, whose values stand in a text."""
        return {self._owner[value] for value in values(text) if value in self._owner}


def touched(content: bytes, damaged: bytes, owners: Owners) -> tuple[set[str], bool]:
    """The patients in whose records the two differ, and whether the header does."""
    shorter = min(len(content), len(damaged))
    first = next((at for at in range(shorter) if content[at] != damaged[at]), shorter)
    same = next((at for at in range(shorter - first) if content[-1 - at] != damaged[-1 - at]), shorter - first)
    hit = [(start, end) for start, end in records_of(content) if start <= len(content) - same and end >= first]
    if not hit:
        return set(), False
    start, end = hit[0][0], hit[-1][1]
    text = content[start:end] + b"\n" + damaged[start : len(damaged) - (len(content) - end)]
    return owners.of(text.decode(errors="replace")), start == 0


def outcomes(export: Path, count: int, seed: int) -> Iterator[str]:
    tables = sorted(export.rglob("*.csv"))
    owners, (whole, _) = Owners(tables), rows_of(export)
    names = Pseudonyms(KEY)
    for number in range(count):
        path = tables[number % len(tables)]
        content = path.read_bytes()
        damaged, _ = damaged_once(content, np.random.default_rng((seed, number)))
        path.write_bytes(damaged)
        start = monotonic()
        try:
            rows, refused = rows_of(export)
        except ExportError:
            yield "the table is refused"
            continue
        finally:
            path.write_bytes(content)
            assert monotonic() - start < SECONDS
        if rows == whole:
            yield "as it was" if not refused else "a row is refused that stood for nothing"
            continue
        patients, is_header = touched(content, damaged, owners)
        if is_header:
            yield "a name in the header"
            continue
        hit = {names.patient(patient) for patient in patients}
        others = {patient for patient in whole if rows.get(patient) != whole[patient]} - hit
        assert not others, (export.name, path.name, seed, number)
        yield "rows that are hit are refused" if refused else "values that are hit, or a lost end"


@pytest.mark.parametrize("make", [generic_export, mimic_export])
@pytest.mark.parametrize(("count", "seed"), [(60, 1), pytest.param(750, 10, marks=pytest.mark.slow)])
def test_damage_stays_with_its_patients(
    tmp_path: Path, make: Callable[..., Path], count: int, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path, PATIENTS)
    counts = Counter(outcomes(tmp_path, count, seed))
    assert {"the table is refused", "rows that are hit are refused"} <= set(counts)
    if count > 100:
        with capsys.disabled():
            for outcome, tables in sorted(counts.items()):
                print(f"\n{make.__name__:15} {outcome:45} {tables}", end="")  # noqa: T201 - a run of minutes
