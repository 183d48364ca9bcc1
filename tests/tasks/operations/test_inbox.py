"""Which exports are finished, and that each is met once."""

import os
import time
from pathlib import Path

import pytest

from data_contracts.monitoring import ExportRecord
from echoingecg.common import StoreError
from tasks.base.workspace import Workspace
from tasks.operations.retrain import MAX_TRIES, ExportRecords, finished_exports, retrain_lock

DAY = 86_400


def put(inbox: Path, name: str, file: str, age: float) -> Path:
    (inbox / name).mkdir(exist_ok=True)
    path = inbox / name / file
    path.touch()
    os.utime(path, (time.time() - age,) * 2)
    return path


def names(inbox: Path, marker: str = "_COMPLETE", quiet_minutes: float = 0) -> list[str]:
    return [one.folder.name for one in finished_exports(inbox, marker, quiet_minutes)]


def test_finished_by_marker_or_by_quiet_oldest_first(tmp_path: Path) -> None:
    put(tmp_path, "new", "_COMPLETE", 10)
    put(tmp_path, "old", "_COMPLETE", DAY)
    put(tmp_path, "still", "a.csv", 300)
    put(tmp_path, "moving", "a.csv", 300)
    put(tmp_path, "moving", "b.csv", 1)
    put(tmp_path, "half.partial", "_COMPLETE", DAY)
    (tmp_path / "empty").mkdir()
    assert names(tmp_path) == ["old", "new"]
    assert names(tmp_path, quiet_minutes=2) == ["old", "still", "new"]
    assert names(tmp_path, marker="", quiet_minutes=10) == ["old"]
    with pytest.raises(StoreError, match="not a folder"):
        finished_exports(tmp_path / "nowhere", "_COMPLETE", 0)


def test_an_export_waits_until_it_is_brought_to_an_end_or_tried_too_often(tmp_path: Path) -> None:
    (inbox := tmp_path / "inbox").mkdir()
    marker = put(inbox, "may", "_COMPLETE", DAY)
    records = ExportRecords(Workspace(tmp_path / "workspace"))
    (may,) = finished_exports(inbox, "_COMPLETE", 0)
    assert records.waiting([may]) == [may]
    records.keep(may, ExportRecord(export="may", tries=MAX_TRIES - 1))
    assert records.waiting([may]) == [may]
    records.keep(may, ExportRecord(export="may", tries=MAX_TRIES))
    assert (records.waiting([may]), records.summary([may])) == ([], "1 set aside")
    records.keep(may, ExportRecord(export="may", state="refused"))
    assert (records.waiting([may]), records.summary([may])) == ([], "1 refused")
    assert records.folder.stat().st_mode & 0o077 == 0
    marker.touch()
    (again,) = finished_exports(inbox, "_COMPLETE", 0)
    assert records.waiting([again]) == [again], "a renewed marker is a new chance"


@pytest.mark.parametrize(("marker", "file"), [("_COMPLETE", "_COMPLETE"), ("", "a.csv")])
def test_an_export_from_the_future_is_one_line(tmp_path: Path, marker: str, file: str) -> None:
    put(tmp_path, "now", file, DAY)
    put(tmp_path, "a clock ahead", file, -60)
    names(tmp_path, marker, quiet_minutes=5)
    put(tmp_path, "tomorrow", file, -DAY)
    with pytest.raises(StoreError, match=r"tomorrow is dated .*later than this machine's clock.*\(touch\)"):
        names(tmp_path, marker, quiet_minutes=5)


def test_an_export_is_met_once_whatever_the_clock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (inbox := tmp_path / "inbox").mkdir()
    put(inbox, "may", "_COMPLETE", DAY)
    records, real = ExportRecords(Workspace(tmp_path / "workspace")), time.time_ns
    (may,) = records.waiting(finished_exports(inbox, "_COMPLETE", 0))
    records.keep(may, ExportRecord(export="may", state="trained"))
    for days in (-0.9, 0, 400):
        monkeypatch.setattr(time, "time_ns", lambda days=days: real() + int(days * DAY * 1e9))
        assert records.waiting(finished_exports(inbox, "_COMPLETE", 0)) == []


def test_one_retrain_at_a_time(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    with retrain_lock(place) as first, retrain_lock(place) as second:
        assert (first, second) == (True, False)
    with retrain_lock(place) as again:
        assert again
