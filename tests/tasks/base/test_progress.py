"""What is shown never costs a stage."""

import httpx
import pytest

from echoingecg.common import StoreError
from tasks.base import progress


def test_a_server_that_does_not_answer_costs_no_stage_and_is_let_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def refused() -> None:
        calls.append(1)
        raise httpx.ConnectError("nobody there")

    monkeypatch.setattr(progress, "_next_attempt", 0.0)
    for _ in range(3):
        progress.only_shown(refused)
    assert len(calls) == 1
    assert [record.getMessage() for record in caplog.records] == ["not shown in the UI: nobody there"]
    later = progress.time.monotonic() + progress._SERVER_RETRY_SECONDS + 1
    monkeypatch.setattr(progress.time, "monotonic", lambda: later)
    progress.only_shown(lambda: calls.append(2))
    assert calls == [1, 2]
    with pytest.raises(StoreError):
        progress.only_shown(lambda: (_ for _ in ()).throw(StoreError("a fault of the stage")))


def test_rates_have_digits_that_count(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    report = progress.Reporter("student")
    with caplog.at_level("INFO", "echoingecg"):
        for seconds, done, note in ((4, 0, ""), (400, 1, ""), (404, 400, ""), (500, 400, "figures")):
            clock[0] = 100.0 + seconds
            report(done, 400, note)
    assert [record.message for record in caplog.records] == [
        "student: 0/400 (0 %)",
        "student: 1/400 (0 %), 0.0025/s, 159600 s left",
        "student: 400/400 (100 %), 0.99/s",
        "student: 400/400 (100 %), 0.8/s, figures",
    ]
