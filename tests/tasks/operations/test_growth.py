"""What a retrain says an export brought."""

from helpers.cases.stage_runs import Run
from tasks.operations.retrain import growth


def test_an_export_that_the_champion_has_seen_whole_brings_nothing(finished: Run) -> None:
    store, made = finished.job.store, finished.artefacts
    first, again = growth(store, made, None), growth(store, made, made["evaluation"])
    assert [row["what"] for row in first] == ["ECGs", "echo clips", "patients in pairs"]
    assert all(row["new"] == row["in the export"] > 0 for row in first)
    assert all((row["new"], row["reused"]) == (0, row["in the export"]) for row in again)
