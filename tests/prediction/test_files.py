"""Which files are meant, and what is written of them."""

import io
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_contracts.prediction import NOTICE, READINGS
from echoingecg.common import UserError
from echoingecg.prediction.files import ReadingCounts, list_ecgs, write_json, write_parquet
from echoingecg.prediction.predictor import Reader


def test_a_folder_gives_each_recording_once(tmp_path: Path) -> None:
    for name in ("b.hea", "b.dat", "b.atr", "a.xml", ".hidden", "notes.txt", "deep/c.dcm", ".git/x.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [os.path.relpath(file, tmp_path) for file in list_ecgs([str(tmp_path), str(tmp_path / "a.xml")])]
    assert found == ["a.xml", "b.hea", "notes.txt", "deep/c.dcm"]
    assert list_ecgs(["not there", "not there"]) == ["not there"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no file to read"):
        list_ecgs([str(tmp_path / "empty")])


def test_what_is_written_is_what_was_read(judgement, reader: Reader, tmp_path: Path) -> None:
    files = [*judgement.files[:5], "nowhere"]
    tables = [reader.predict(files[:3]), reader.predict(files[3:])]
    path, tally = tmp_path / "out.parquet", ReadingCounts()
    for table in write_parquet(READINGS, tables, path):
        tally.add(table)
        assert not path.exists()
    written = READINGS.check(pq.read_table(path))
    assert written.to_pylist() == [row for table in tables for row in table.to_pylist()]
    assert written.schema.metadata[b"notice"].decode() == NOTICE
    assert tally.answers.total() == 10
    assert dict(tally.refusals) == {"missing_file": 1}
    write_json(tables, {"student": "s"}, stream := io.StringIO())
    document = json.loads(stream.getvalue())
    assert (document["notice"], document["student"]) == (NOTICE, "s")
    assert len(document["readings"]) == 11
    assert document["readings"][-1] == {"file": "nowhere", "reason": "missing_file", "detail": "the file is not there"}
    for row, expected in zip(document["readings"], written.to_pylist(), strict=True):
        assert row == {name: value for name, value in expected.items() if value is not None}


def test_a_run_that_breaks_leaves_no_half_file(judgement, reader: Reader, tmp_path: Path) -> None:
    def breaking():
        yield reader.predict(judgement.files[:2])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(write_parquet(READINGS, breaking(), tmp_path / "out.parquet"))
    assert list(tmp_path.iterdir()) == []
