"""CSV by RFC 4180 before a lenient parser sees it: a record with a lone quotation mark is refused, the rest stands.

A parser that trusts a missing quotation mark reads the following rows, of other patients, into one value. Here a record
whose quotation marks do not fit is replaced by one of too many values, which the parser refuses by its number, and
reading goes on at the next line. So is a record that is not UTF-8, for which the parser would give up the whole table.
"""

import re
from functools import cache
from typing import NamedTuple, Protocol

MALFORMED = "more or fewer values than the header has columns, a lone quotation mark, or not UTF-8"  # of a record
_LINE = re.compile(rb"[^\r\n]*+(?:\r\n|\n|\r|\Z)")
_QUOTED = re.compile(rb'"((?:[^"]++|"")*+)"')


class _Patterns(NamedTuple):
    """Records of a table whose values a separator parts.

    Attributes:
        record, records: one, or as many as follow each other, with their ends.
        last_record: one that ends with the text.
        unfinished: one that more text may end.
        several_lines: a value with a line break; and some values of one line that end in a separator.
        time: a date and time that is a whole value of a line.
    """

    record: re.Pattern[bytes]
    records: re.Pattern[bytes]
    last_record: re.Pattern[bytes]
    unfinished: re.Pattern[bytes]
    several_lines: re.Pattern[bytes]
    time: re.Pattern[bytes]


@cache
def _patterns(separator: str) -> _Patterns:
    part = re.escape(separator.encode())
    field = rb'(?:"(?:[^"]++|"")*+"|[^"%b\r\n]*+)' % part
    end = rb"(?:\r\n|\n|\r(?!\n))"
    record = rb"%b(?:%b%b)*+%b" % (field, part, field, end)
    return _Patterns(
        record=re.compile(record),
        records=re.compile(rb"(?:%b)*+" % record),
        last_record=re.compile(rb"%b(?:%b%b)*+\r?+\Z" % (field, part, field)),
        unfinished=re.compile(rb'(?:%b%b)*+(?:"(?:[^"]++|"")*+|%b)\r?+\Z' % (field, part, field)),
        several_lines=re.compile(rb'[%b\r\n]"(?:[^"\r\n]++|"")*+[\r\n]' % part),
        time=re.compile(rb"(?:\A|%b) *\d{4}-\d\d-\d\d[ T]\d\d:\d\d[^%b]*+(?:%b|\Z)" % (part, part, part)),
    )


class Source(Protocol):
    """What bytes are read from."""

    def read(self, size: int) -> bytes:
        """Returns up to `size` bytes, none at the end."""
        ...


class StrictCsv:
    """A readable stream of a CSV table without records that are badly quoted or not UTF-8. The header is not judged.

    Args:
        source: the table.
        columns: number of its columns.
        most_bytes: of a record; one that does not end within them is badly quoted.
        separator: parts the values of a row.
    """

    closed = False

    def __init__(self, source: Source, columns: int, most_bytes: int, separator: str = ",") -> None:
        self._source, self._most_bytes = source, most_bytes
        self._columns, self._separator, self._patterns = columns, separator.encode(), _patterns(separator)
        self._refused = self._separator * columns + b"\n"
        self._pending, self._ready, self._at_start, self._ended = b"", bytearray(), True, False

    def read(self, size: int = -1) -> bytes:
        """Returns up to `size` bytes, at least one unless the table has ended; with -1 all of them."""
        while not self._ended and (size < 0 or len(self._ready) < size):
            self._fill()
        given = bytes(self._ready[:size] if size >= 0 else self._ready)
        del self._ready[: len(given)]
        return given

    def _fill(self) -> None:
        """Judges the next part of the table."""
        part = self._source.read(self._most_bytes)
        self._ended = not part
        text, position = self._pending + part, 0
        if self._at_start:
            position, self._at_start = _end_of(_LINE, text, 0), False
            self._ready += text[:position]
        if b'"' in text or text.count(b"\r") != text.count(b"\r\n"):
            end = _end_of(self._patterns.records, text, position)
            is_plain = not self._patterns.several_lines.search(text, max(position - 1, 0), end)
            if is_plain and _is_utf8(text[position:end]):
                self._ready += text[position:end]
                position = end
            position = self._judge(text, position)
        else:  # most parts of most tables
            end = len(text) if self._ended else max(text.rfind(b"\n") + 1, position)
            if _is_utf8(text[position:end]):
                self._ready += text[position:end]
                position = end
            else:
                position = self._judge(text, position)
        self._pending = text[position:]

    def _judge(self, text: bytes, position: int) -> int:
        """Takes records from the text, the badly quoted ones replaced; returns where an unfinished one begins."""
        start = position  # of records that stay as they are
        while position < len(text):
            record = self._patterns.record.match(text, position) or (
                self._patterns.last_record.match(text, position) if self._ended else None
            )
            is_one = record is not None and not self._holds_another(record[0])
            if record is not None and is_one and _is_utf8(record[0]):
                position = record.end()
                continue
            may_go_on = record is None and not self._ended and len(text) - position < self._most_bytes
            if may_go_on and self._patterns.unfinished.match(text, position):
                break
            self._ready += text[start:position] + self._refused
            start = position = record.end() if record is not None and is_one else _end_of(_LINE, text, position)
        self._ready += text[start:position]
        return position

    def _holds_another(self, record: bytes) -> bool:
        """Whether a value of several lines holds a whole row: as many values as columns, one of them a date and time.

        So it is where one row lacks its closing mark and a later one its opening mark.
        """
        lines = (line for value in _QUOTED.findall(record) for line in value.splitlines()[1:])
        return any(
            line.count(self._separator) >= self._columns - 1 and self._patterns.time.search(line) for line in lines
        )


def _is_utf8(text: bytes) -> bool:
    try:
        return text.isascii() or bool(text.decode())
    except UnicodeDecodeError:
        return False


def _end_of(pattern: re.Pattern[bytes], text: bytes, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position
