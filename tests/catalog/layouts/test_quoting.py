"""A lone quotation mark costs its own row and no other, and nobody's text stands in another's."""

import csv
import hashlib
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoingecg.catalog.layouts.quoting import StrictCsv
from echoingecg.catalog.layouts.tables import find_tables
from helpers.cases.hospital import tables_of
from helpers.paths import CASES

HEADER = ["patient_id", "report_id", "time", "text"]
TEXT = st.text(alphabet='ab",\n é', max_size=30)
ROWS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=12)


def cells(number: int, row: tuple[str, str]) -> list[str]:
    """The values of a row; both texts carry its number."""
    return [f"P{number}", f"[{number}]{row[0]}", f"2021-03-{number + 1:02d} 08:05:00", f"[{number}]{row[1]}"]


def written(rows: list[tuple[str, str]], ending: str = "\n", quoting: int = csv.QUOTE_MINIMAL) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator=ending, quoting=quoting)
    writer.writerow(HEADER)
    writer.writerows(cells(number, row) for number, row in enumerate(rows))
    return file.getvalue()


def strict(text: str, size: int, most: int = 1 << 20) -> bytes:
    stream, parts = StrictCsv(io.BytesIO(text.encode()), len(HEADER), most), []
    while part := stream.read(size):
        assert len(part) <= size
        parts.append(part)
    return b"".join(parts)


@given(ROWS, st.sampled_from(["\n", "\r\n"]), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.integers(1, 99))
def test_a_sound_table_passes_byte_for_byte(rows: list[tuple[str, str]], ending: str, quoting: int, size: int) -> None:
    text = written(rows, ending, quoting)
    assert strict(text, size) == text.encode()
    assert strict(text, size, most=400) == text.encode(), "in parts, each longer than a record"


@given(ROWS, st.data())
def test_one_mark_that_is_missing_or_too_many_costs_one_row(rows: list[tuple[str, str]], data: st.DataObject) -> None:
    rows = [tuple(text.replace("\n", " ").replace('"', "'") for text in row) for row in rows]  # rows of one line
    lines = written(rows, quoting=csv.QUOTE_ALL).splitlines(keepends=True)
    broken = data.draw(st.integers(1, len(rows)))
    marks = [place for place, letter in enumerate(lines[broken]) if letter == '"']
    place = data.draw(st.sampled_from(marks))
    more = data.draw(st.booleans())
    lines[broken] = lines[broken][:place] + ('"' if more else "") + lines[broken][place + (0 if more else 1) :]
    size = data.draw(st.integers(1, 200))
    kept = list(csv.reader(io.StringIO(strict("".join(lines), size).decode())))[1:]
    sound = {row[0]: row for row in kept if len(row) == len(HEADER)}
    for number, row in enumerate(rows):
        if number != broken - 1:
            assert sound[f"P{number}"] == cells(number, row)
    for name, values in sound.items():
        numbers = {int(number) for value in values for number in re.findall(r"\[(\d+)\]", value)}
        assert numbers <= {int(name[1:])}, "no row holds another's text"


def read(tmp_path: Path, content: bytes) -> tuple[dict[str, str], list[str]]:
    (tmp_path / "reports.csv").write_bytes(content)
    table = find_tables(tmp_path, ["reports.csv"], 0)["reports.csv"]
    assert table.sha256 == hashlib.sha256(content).hexdigest()
    frame, malformed = table.read(HEADER)
    return dict(zip(frame["patient_id"], frame["text"], strict=True)), malformed


def row(number: int, text: str) -> str:
    return f"P{number},R{number},2021-03-0{number} 08:05:00,{text}\n"


@pytest.mark.parametrize(
    ("texts", "kept", "refused"),
    [
        (['"One."', '"Two.', "Three. Call 5.", '"Four."', "Five."], {1, 3, 4, 5}, [3]),  # no closing mark
        (['"One."', 'Two."', "Three.", '"Four."', "Five."], {1, 3, 4, 5}, [3]),  # no opening mark
        (["One.", '"Two.', 'Three."', "Four.", "Five."], {1, 4, 5}, [3, 4]),  # one of each: a whole row in between
        (["One.", 'Two" catheter.', "Three.", "Four.", "Five."], {1, 3, 4, 5}, [3]),
        (["One.", "Two.", "Three.", "Four.", '"Five.'], {1, 2, 3, 4}, [6]),  # to the end of the file
        (["One.", '"Two.\nSecond line, and more."', "Three.", "Four.", "Five."], {1, 2, 3, 4, 5}, []),
        (["One.", '"Two. ""quoted"""', "Three.", "Four.", "Five."], {1, 2, 3, 4, 5}, []),
    ],
)
def test_by_hand(tmp_path: Path, texts: list[str], kept: set[int], refused: list[int]) -> None:
    content = ",".join(HEADER) + "\n" + "".join(row(number + 1, text) for number, text in enumerate(texts))
    frame, malformed = read(tmp_path, content.encode())
    assert set(frame) == {f"P{number}" for number in kept}
    assert malformed == [f"reports.csv#{number}" for number in refused]
    assert all(name in ("P2",) or "\n" not in text for name, text in frame.items())


@pytest.mark.parametrize("texts", [["One.", "Two\xff.", "Three."], ["One.", '"Two\xff.\nMore, of two."', "Three."]])
def test_a_byte_that_is_no_text_costs_its_own_row(tmp_path: Path, texts: list[str]) -> None:
    """Three values too many as well: Arrow, which reports such a row, would print a traceback."""
    for more in ("", ",,,"):
        content = (
            ",".join(HEADER) + "\n" + "".join(row(at + 1, text + more * (at == 1)) for at, text in enumerate(texts))
        )
        frame, malformed = read(tmp_path, content.encode("latin-1"))
        assert (frame, malformed) == ({"P1": "One.", "P3": "Three."}, ["reports.csv#3"])


@pytest.mark.skipif(not CASES.is_dir(), reason="needs '../shared/cases'")
def test_the_cases_of_a_lone_mark_and_of_a_date_without_sense() -> None:
    tables = tables_of(CASES / "safe/csv_quote/export")
    assert (tables["ecgs"].num_rows, tables["quarantine"].num_rows) == (6, 1)
    assert sorted(tables["reports"]["text"].to_pylist()) == [
        "Atrial fibrillation. Call 555-0199.", "Left bundle branch block.", "Sinus bradycardia.", "Sinus rhythm.",
        "Sinus rhythm.",
    ]  # fmt: skip
    tables = tables_of(CASES / "safe/csv_dates")
    assert (tables["ecgs"].num_rows, tables["quarantine"]["reason"].to_pylist()) == (1, ["bad_row"])


def test_carriage_returns_alone_end_rows(tmp_path: Path) -> None:
    content = (",".join(HEADER) + "\n" + row(1, "One.") + row(2, '"Two, too."')).replace("\n", "\r")
    assert read(tmp_path, content.encode()) == ({"P1": "One.", "P2": "Two, too."}, [])


def test_a_mark_without_end_in_a_large_table_is_one_row(tmp_path: Path) -> None:
    rows = [row(1, f"Sinus rhythm, {number}. " + 60 * "x").replace("P1", f"P{number}") for number in range(120_000)]
    rows[7] = rows[7].replace("Sinus", '"Sinus')
    frame, malformed = read(tmp_path, (",".join([*HEADER, "rest"]) + "\n" + "".join(rows)).encode())
    assert (len(frame), malformed) == (119_999, ["reports.csv#9"])


def test_semicolons_part_values_where_the_layout_says_so(tmp_path: Path) -> None:
    content = 'a;b\n1;"x, y"\n2;"z\n3;"w"\n4;v\n'
    (tmp_path / "t.csv").write_text(content)
    frame, malformed = find_tables(tmp_path, ["t.csv"], 0, separator=";")["t.csv"].read(["a", "b"])
    assert dict(zip(frame["a"], frame["b"], strict=True)) == {"1": "x, y", "3": "w", "4": "v"}
    assert malformed == ["t.csv#3"]
