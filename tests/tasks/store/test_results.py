"""What a list of artefacts says of students and evaluations is what their own tables hold."""

import pyarrow.parquet as pq
import pytest

from flows.cli import main
from helpers.cases.stage_runs import Run
from tasks.store import Artefact, results_of


def test_losses_of_the_best_epoch_and_auroc_of_each_endpoint(finished: Run) -> None:
    student, evaluation = finished.artefacts["student"], finished.artefacts["evaluation"]
    history = pq.read_table(student.folder / "history.parquet").to_pandas()
    best = history[history["best"]].iloc[-1]
    shown = results_of(student)
    assert shown["best epoch"] == f"{best['epoch']} of {history['epoch'].max()}"
    for kind in ("ecg_echo", "ecg_text"):
        assert float(shown[f"validation loss {kind}"]) == pytest.approx(best[f"validation_loss_{kind}"], rel=1e-3)
    metrics = pq.read_table(evaluation.folder / "metrics.parquet").to_pandas()
    answered = metrics.query("protocol == 'expected_echo' and group == 'all' and metric == 'auroc'").dropna(
        subset="value"
    )
    assert len(answered)
    assert {name: value[:5] for name, value in results_of(evaluation).items()} == {
        f"AUROC {row.endpoint}": f"{row.value:.3f}" for row in answered.itertuples()
    }
    assert all(value.endswith(", expected_echo") for value in results_of(evaluation).values())


def test_what_cannot_be_read_has_no_results_and_is_listed(copied: Run, capsys: pytest.CaptureFixture[str]) -> None:
    place = copied.job.workspace
    student = copied.job.store.get(str(copied.artefacts["student"]))
    main.app(["artefacts", "list", "-w", str(place.root)], standalone_mode=False)
    listed = capsys.readouterr().out
    assert "best epoch" in listed
    assert "AUROC" in listed
    table = student.folder / "history.parquet"
    table.write_bytes(table.read_bytes()[:-1])
    assert results_of(student) == results_of(Artefact(place.root / "nowhere", student.manifest)) == {}
    assert results_of(copied.artefacts["pairs"]) == {}
    main.app(["artefacts", "list", "-w", str(place.root)], standalone_mode=False)
    assert student.version in capsys.readouterr().out
