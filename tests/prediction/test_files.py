"""Which files are meant, and what is written of them."""

import io
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_contracts.prediction import NOTICE, NUMBERS, READINGS
from echoingecg.common import UserError
from echoingecg.prediction.files import ReadingCounts, list_ecgs, write_json, write_predicted
from echoingecg.prediction.predictor import Reader


def test_a_folder_gives_each_recording_once(tmp_path: Path) -> None:
    for name in (
        "b.hea",
        "b.dat",
        "b.atr",
        "1.2.840.hea",
        "1.2.840.dat",
        "a.xml",
        ".hidden",
        "notes.txt",
        "deep/c.dcm",
        ".git/x.dcm",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [os.path.relpath(file, tmp_path) for file in list_ecgs([str(tmp_path), str(tmp_path / "a.xml")])]
    assert found == ["1.2.840.hea", "a.xml", "b.hea", "notes.txt", "deep/c.dcm"]
    assert list_ecgs(["not there", "not there"]) == ["not there"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no file to read"):
        list_ecgs([str(tmp_path / "empty")])


def test_what_is_written_is_what_was_read(judgement, reader: Reader, tmp_path: Path) -> None:
    files = [*judgement.files[:5], "nowhere"]
    blocks = [reader.predict(files[:3]), reader.predict(files[3:])]
    path, tally = tmp_path / "out.parquet", ReadingCounts()
    for block in write_predicted(blocks, path, with_numbers=True):
        tally.add(block)
        assert not path.exists()
    write_json(blocks, {"student": "s"}, stream := io.StringIO())
    document = json.loads(stream.getvalue())
    assert (document["notice"], document["student"]) == (NOTICE, "s")
    refused = {"file": "nowhere", "reason": "missing_file", "detail": "the file is not there"}
    for contract, file, rows in ((READINGS, path, 11), (NUMBERS, tmp_path / "out.numbers.parquet", 6)):
        written = contract.check(pq.read_table(file))
        assert written.to_pylist() == [row for block in blocks for row in getattr(block, contract.name).to_pylist()]
        assert written.schema.metadata[b"notice"].decode() == NOTICE
        assert len(document[contract.name]) == rows
        assert document[contract.name][-1] == refused
        for row, expected in zip(document[contract.name], written.to_pylist(), strict=True):
            assert row == {name: value for name, value in expected.items() if value is not None}
    assert tally.answers.total() == 10 + 5
    assert sum(count for (name, reads, _), count in tally.answers.items() if (name, reads) == ("LVEF", "a value")) == 5
    assert dict(tally.refusals) == {"missing_file": 1}


def test_without_numbers_there_is_one_file_and_an_empty_list(judgement, reader: Reader, tmp_path: Path) -> None:
    block = reader.predict(judgement.files[:2])
    block = block._replace(numbers=block.numbers.slice(0, 0))
    list(write_predicted([block], tmp_path / "out.parquet", with_numbers=False))
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
    write_json([block], {}, stream := io.StringIO())
    assert json.loads(stream.getvalue())["numbers"] == []


def test_a_run_that_breaks_leaves_no_half_file(judgement, reader: Reader, tmp_path: Path) -> None:
    def breaking():
        yield reader.predict(judgement.files[:2])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(write_predicted(breaking(), tmp_path / "out.parquet", with_numbers=True))
    assert list(tmp_path.iterdir()) == []
