"""CSV by RFC 4180 before a lenient parser sees it: a record with a lone quotation mark is refused, the rest stands.

A parser that trusts a missing quotation mark reads the following rows, of other patients, into one value. Here a record
whose quotation marks do not fit is replaced by one of too many values, which the parser refuses by its number, and
reading goes on at the next line.
"""

import re
from typing import Protocol

_FIELD = rb'(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)'
_END = rb"(?:\r\n|\n|\r(?!\n))"
_RECORD = re.compile(rb"%b(?:,%b)*+%b" % (_FIELD, _FIELD, _END))
_RECORDS = re.compile(rb"(?:%b(?:,%b)*+%b)*+" % (_FIELD, _FIELD, _END))
_LAST_RECORD = re.compile(rb"%b(?:,%b)*+\r?+\Z" % (_FIELD, _FIELD))
_UNFINISHED = re.compile(rb'(?:%b,)*+(?:"(?:[^"]++|"")*+|%b)\r?+\Z' % (_FIELD, _FIELD))
_LINE = re.compile(rb"[^\r\n]*+(?:\r\n|\n|\r|\Z)")
_SEVERAL_LINES = re.compile(rb'[,\r\n]"(?:[^"\r\n]++|"")*+[\r\n]')  # and some values of one line that end in a comma
_QUOTED = re.compile(rb'"((?:[^"]++|"")*+)"')
_TIME = re.compile(rb"(?:\A|,) *\d{4}-\d\d-\d\d[ T]\d\d:\d\d[^,]*+(?:,|\Z)")


class Source(Protocol):
    """What bytes are read from."""

    def read(self, size: int) -> bytes:
        """Returns up to `size` bytes, none at the end."""
        ...


class StrictCsv:
    """A readable stream of a CSV table without its badly quoted records. The first line, the header, is not judged.

    Args:
        source: the table.
        columns: number of its columns.
        most_bytes: of a record; one that does not end within them is badly quoted.
    """

    closed = False

    def __init__(self, source: Source, columns: int, most_bytes: int) -> None:
        self._source, self._most_bytes = source, most_bytes
        self._columns, self._refused = columns, b"," * columns + b"\n"
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
            end = _end_of(_RECORDS, text, position)
            if not _SEVERAL_LINES.search(text, max(position - 1, 0), end):
                self._ready += text[position:end]
                position = end
            position = self._judge(text, position)
        else:  # most parts of most tables
            end = len(text) if self._ended else max(text.rfind(b"\n") + 1, position)
            self._ready += text[position:end]
            position = end
        self._pending = text[position:]

    def _judge(self, text: bytes, position: int) -> int:
        """Takes records from the text, the badly quoted ones replaced; returns where an unfinished one begins."""
        start = position  # of records that stay as they are
        while position < len(text):
            record = _RECORD.match(text, position) or (_LAST_RECORD.match(text, position) if self._ended else None)
            if record is not None and not self._holds_another(record[0]):
                position = record.end()
                continue
            may_go_on = record is None and not self._ended and len(text) - position < self._most_bytes
            if may_go_on and _UNFINISHED.match(text, position):
                break
            self._ready += text[start:position] + self._refused
            start = position = _end_of(_LINE, text, position)
        self._ready += text[start:position]
        return position

    def _holds_another(self, record: bytes) -> bool:
        """Whether a value of several lines holds a whole row: as many values as columns, one of them a date and time.

        So it is where one row lacks its closing mark and a later one its opening mark.
        """
        lines = (line for value in _QUOTED.findall(record) for line in value.splitlines()[1:])
        return any(line.count(b",") >= self._columns - 1 and _TIME.search(line) for line in lines)


def _end_of(pattern: re.Pattern[bytes], text: bytes, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position
