"""Looks for words in everything that a run leaves behind, however it is packed."""

import base64
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import cv2
import icechunk
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b\x08"
_STRIPPED = " (UTF-16)"
_PNG = b"\x89PNG\r\n\x1a\n"
_IN_PAGE = re.compile(rb"data:image/png;base64,((?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2,3}={1,2})?)")
_SECONDS = (1, 10**3, 10**6, 10**9)  # a date as a number counts s, ms, us or ns


class Words:
    """Some words, in any case. One of digits alone counts only where it is no part of a longer number."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = sorted({word.lower().encode() for word in words})

    def found(self, data: bytes) -> str:
        """The first of the words that the data hold; empty for none."""
        lower = data.lower()
        for word in self._words:  # a search a word is quicker than one for all of them
            if word in lower and (not word.isdigit() or re.search(rb"(?<![0-9.])" + word + rb"(?![0-9])", lower)):
                return word.decode()
        return ""


def contents(root: Path) -> Iterator[tuple[str, bytes]]:
    """Everything below a folder as readable bytes, each with its name: files as they are and unpacked."""
    for path in sorted(one for one in root.rglob("*") if one.is_file()):
        data, name = path.read_bytes(), str(path.relative_to(root))
        yield f"path of {name}", name.encode()
        yield name, data
        yield f"{name}{_STRIPPED}", data.replace(b"\0", b"")
        for magic, codec in ((_ZSTD, "zstd"), (_GZIP, "gzip")):
            for at in (found.start() for found in re.finditer(re.escape(magic), data)):
                yield f"{name} ({codec} at {at})", _unpacked(data[at:], codec)
        if data[:4] == b"PAR1":
            yield f"{name} (rows)", str(pq.read_table(path).to_pylist()).encode()
        if data[:15] == b"SQLite format 3":
            with sqlite3.connect(path) as database:
                yield f"{name} (rows)", "\n".join(database.iterdump()).encode(errors="replace")
    for folder in sorted({one.parent.parent for one in root.rglob("snapshots/*")}):
        for name, array in _arrays(folder):
            yield f"{folder.relative_to(root)}: {name}", array.tobytes()


def _unpacked(data: bytes, codec: str) -> bytes:
    """As much as there is of a stream: what looked like one may be none, and more may follow it."""
    stream, found = pa.CompressedInputStream(pa.BufferReader(data), codec), b""
    try:
        while some := stream.read(1 << 16):
            found += some
    except OSError:
        pass
    return found


def _arrays(pool: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every array of an Icechunk repository, and its attributes."""
    session = icechunk.Repository.open(icechunk.local_filesystem_storage(str(pool))).readonly_session("main")
    group = zarr.open_group(session.store, mode="r")
    yield "attributes", np.frombuffer(str(dict(group.attrs)).encode(), np.uint8)
    for name, array in group.arrays():
        yield name, np.asarray(array[:])


def numbers(root: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every column of numbers in a Parquet file, and every array of a pool."""
    for path in sorted(root.rglob("*.parquet")):
        table = pq.read_table(path)
        for one in table.schema:
            if pa.types.is_integer(one.type) or pa.types.is_floating(one.type):
                yield f"{path.relative_to(root)}: {one.name}", table[one.name].drop_null().to_numpy()
    for folder in sorted({one.parent.parent for one in root.rglob("snapshots/*")}):
        for name, array in _arrays(folder):
            yield f"{folder.relative_to(root)}: {name}", array


def as_numbers(times: Iterable[str]) -> np.ndarray:
    """Dates and times as computers count them from 1970."""
    seconds = [datetime.fromisoformat(one).replace(tzinfo=UTC).timestamp() for one in times]
    return np.outer(seconds, _SECONDS).ravel()


def pictures(root: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every PNG: files, and those within pages and database rows; uint8 (height, width)."""
    for name, data in contents(root):
        found = [data] if data.startswith(_PNG) and not name.endswith(_STRIPPED) else []
        found += [base64.b64decode(one) for one in _IN_PAGE.findall(data)]
        for one in found:
            picture = cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_GRAYSCALE)
            if picture is not None:  # in a database's bytes it lies in pieces; its rows have it whole
                yield name, picture


NEEDS_OCR = pytest.mark.skipif(
    shutil.which("tesseract") is None, reason="needs tesseract: apt-get install tesseract-ocr"
)
_FRAGMENT, _ENLARGED, _LIMITS = 5, 4, (120, 170, 210)  # letters in a row; times; grey levels of print


def is_legible(word: str, picture: np.ndarray) -> bool:
    """Whether Tesseract reads five letters of a word in a row, as it is or in what is bright; uint8 (height, width)."""
    views = [picture, *(np.where(picture > limit, 0, 255).astype(np.uint8) for limit in _LIMITS)]
    fragments = {word[at : at + _FRAGMENT].lower() for at in range(len(word) - _FRAGMENT + 1)}
    for view in views:
        large = cv2.resize(view, None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_CUBIC)
        for layout in ("6", "11"):  # a block of text, and scattered text
            call = ["tesseract", "-", "-", "--psm", layout]
            png = cv2.imencode(".png", large)[1].tobytes()
            done = subprocess.run(
                call, input=png, capture_output=True, check=True, env=os.environ | {"OMP_THREAD_LIMIT": "1"}
            )
            text = "".join(letter for letter in done.stdout.decode().lower() if letter.isalpha())
            if any(fragment in text for fragment in fragments):
                return True
    return False


def likeness(picture: np.ndarray, lines: Iterable[np.ndarray]) -> float:
    """Largest correlation of a picture's parts with any of the lines, uint8 (height, width)."""
    best = 0.0
    for line in lines:
        if line.shape[0] <= picture.shape[0] and line.shape[1] <= picture.shape[1]:
            found = cv2.matchTemplate(picture, line, cv2.TM_CCOEFF_NORMED)
            best = max(best, float(found[np.isfinite(found)].max(initial=0)))
    return best
