"""What an experiment tracker gets, read back by its own library; and what happens where it fails or is missing."""

import sys
from pathlib import Path
from typing import Any

import pytest

from data_contracts import evaluation, pairs
from data_contracts.student import HISTORY
from echoingecg.common import Stopped, UserError
from flows.request import find_recipe
from helpers.cases.command_line import call
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from helpers.privacy.searching import Words, contents
from tasks import student
from tasks.base.progress import Reporter
from tasks.store import Artefact, Job

TRACKERS = ("mlflow", "tensorboard")
TRAINING = ("catalog", "ecg", "teacher", "pairs", "student")
each = pytest.mark.parametrize("tracker", TRACKERS)


class MLflowRun:
    """The only run of the store, by MLflow's own client."""

    def __init__(self, folder: Path) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        experiment = self.client.get_experiment_by_name("echoingecg")
        assert experiment is not None
        (self.run,) = self.client.search_runs([experiment.experiment_id])
        self.name, self.end, self.names = self.run.info.run_name, self.run.info.status, set(self.run.data.metrics)

    def values(self, metric: str) -> list[tuple[int, float]]:
        return [(one.step, one.value) for one in self.client.get_metric_history(self.run.info.run_id, metric)]

    def text(self) -> str:
        """All that is no number."""
        from mlflow.artifacts import download_artifacts

        data, run = self.run.data, self.run.info.run_id
        files = [one.path for one in self.client.list_artifacts(run)]
        uri = self.run.info.artifact_uri
        cards = [Path(download_artifacts(artifact_uri=f"{uri}/{file}")).read_text() for file in files]
        return "\n".join([*(f"{name}-{value}" for name, value in data.tags.items()), str(data.params), *cards])


class TensorBoardRun:
    """The only run of the folder, by TensorBoard's own reader."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        (place,) = (folder / "tensorboard").iterdir()
        self.reader = EventAccumulator(str(place)).Reload()
        self.name, self.names = place.name, set(self.reader.Tags()["scalars"])
        self.end = "KILLED" if "KILLED" in self.text() else "FINISHED"

    def values(self, metric: str) -> list[tuple[int, float]]:
        return [(one.step, one.value) for one in self.reader.Scalars(metric)]

    def text(self) -> str:
        events = (one for tag in self.reader.Tags()["tensors"] for one in self.reader.Tensors(tag))
        return "\n".join(one.tensor_proto.string_val[0].decode() for one in events)


def read_back(tracker: str, job: Job) -> MLflowRun | TensorBoardRun:
    return (MLflowRun if tracker == "mlflow" else TensorBoardRun)(job.workspace.tracking)


def tracked_job(run: Run, tracker: str, *overrides: str) -> Job:
    recipe = find_recipe("smoke", [f"execution.tracking={tracker}", *overrides])
    return make_job(recipe, str(run.job.export), str(run.job.workspace.root))


def check_epochs(tracked: MLflowRun | TensorBoardRun, artefact: Artefact) -> None:
    """Every epoch once, with the numbers of the history; TensorBoard keeps them as float32."""
    history = HISTORY.read(artefact.folder).to_pylist()
    for name in (name for name in HISTORY.schema.names if name not in ("epoch", "best")):
        expected = [(row["epoch"], row[name]) for row in history if row[name] is not None]
        values = tracked.values(name)
        assert [step for step, _ in values] == [step for step, _ in expected], name
        assert [value for _, value in values] == pytest.approx([value for _, value in expected], rel=1e-6), name


@pytest.fixture
def own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


@each
@pytest.mark.usefixtures("own_store")
def test_a_training_that_goes_on_is_one_run(tracker: str, copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    job = tracked_job(copied, tracker, "student.epochs=5", "student.patience=9")
    reported = Reporter.__call__

    def stopped_at(self: Reporter, done: int, total: int, note: str = "") -> None:
        reported(self, done, total, note)
        if self.stage == "student" and 2 * done > total:
            raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(student, "REPORT_SECONDS", 0.0)
        patched.setattr(student, "_MOST_SECONDS", 0.0)
        patched.setattr(Reporter, "__call__", stopped_at)
        with pytest.raises(Stopped):
            run_stages(job, *TRAINING)
    begun = read_back(tracker, job)
    assert begun.end == "KILLED"
    assert 1 < len(begun.values("learning_rate")) < 6

    run = run_stages(job, *TRAINING)
    assert [stage for stage in TRAINING if not run.cached[stage]] == ["student"]
    ended = read_back(tracker, job)
    assert ended.name == begun.name
    if tracker == "mlflow":  # TensorBoard's text keeps that there was a stop
        assert ended.end == "FINISHED"
    check_epochs(ended, run.artefacts["student"])
    assert all(f"{stage}-{version}" in ended.text() for stage, version in run.versions.items())
    assert "student.model.embed_dim" in ended.text()


@each
@pytest.mark.usefixtures("own_store")
def test_no_version_depends_on_the_tracker(tracker: str, copied: Run) -> None:
    run = run_stages(tracked_job(copied, tracker))
    assert all(run.cached.values())
    assert run.versions == copied.versions
    assert not run.job.workspace.tracking.exists()


@each
def test_a_tracker_that_fails_costs_one_line(
    tracker: str, copied: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somebody:secret@127.0.0.1:9")  # nobody listens
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    copied.job.workspace.tracking.write_text("a file where TensorBoard needs a folder")
    run = run_stages(tracked_job(copied, tracker, "student.epochs=1"), *TRAINING)
    assert not run.cached["student"]
    (line,) = (one.getMessage() for one in caplog.records if "tracking" in one.getMessage())
    assert line.startswith(f"execution.tracking: {tracker} failed and gets no more of this stage: ")
    assert "\n" not in line
    assert "secret" not in line


@each
def test_a_tracker_that_is_not_installed_is_named_with_its_extra(
    tracker: str, copied: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)  # as Python sees a package that is absent
    with pytest.raises(UserError, match=rf"{tracker} is not installed: pip install 'echoingecg\[tracking\]'"):
        tracked_job(copied, tracker)


@pytest.mark.slow
@each
@pytest.mark.usefixtures("own_store")
def test_a_run_is_read_back_and_holds_nothing_of_a_patient(tracker: str, copied: Run) -> None:
    """By the command line: a new training and its evaluation; then the same run again, which adds nothing."""
    root, text = copied.job.workspace.root, ""
    settings = ("--set", f"execution.tracking={tracker}", "--set", "student.epochs=2")
    for _ in range(2):
        done = call("run", "smoke", "-e", str(copied.job.export), "--public-data", "-w", str(root), *settings)
        assert done.returncode == 0, done.stderr
        assert "execution.tracking" not in done.stderr + done.stdout
        job = tracked_job(copied, tracker, "student.epochs=2")
        made = run_stages(job)
        assert all(made.cached.values())
        tracked = read_back(tracker, job)
        assert (tracked.name, tracked.end) == (str(made.artefacts["evaluation"]), "FINISHED")
        check_epochs(tracked, made.artefacts["student"])
        judged = made.artefacts["evaluation"].folder
        check_metrics(tracked, evaluation.METRICS.read(judged).to_pylist())
        assert (judged / evaluation.MODEL_CARD).read_text() in tracked.text()
        assert (judged / evaluation.REPORT).as_uri() in tracked.text()
        assert text in ("", tracked.text()), "the second run adds nothing"
        text = tracked.text()

    folder = made.artefacts["pairs"].folder
    names: list[str] = pairs.PATIENTS.read(folder)["patient_id"].to_pylist()
    names += pairs.ECG_ECHO.read(folder)["record_id"].to_pylist()
    names += pairs.ECG_TEXT.read(folder)["text"].to_pylist()
    words, kept = Words(names), list(contents(job.workspace.tracking))
    assert {name: word for name, data in kept if (word := words.found(data))} == {}
    assert any(b"auroc" in data for _, data in kept), "the search reads what the tracker holds"
    assert not any(path.suffix in (".png", ".html") for path in job.workspace.tracking.rglob("*"))


def check_metrics(tracked: MLflowRun | TensorBoardRun, rows: list[dict[str, Any]]) -> None:
    expected = {
        (row["endpoint"], row["protocol"], row["metric"]): row["value"]
        for row in rows
        if row["group"] == "all" and row["value"] is not None
    }
    words = {"LVEF < 40 %": "LVEF_lt_40_percent", "SLVH: septal wall >= 15 mm": "SLVH_septal_wall_ge_15_mm"}
    known = [(endpoint, *rest) for endpoint, *rest in expected if endpoint in words]
    assert len(known) > 20
    for endpoint, protocol, metric in known:
        (value,) = tracked.values(f"{words[endpoint]}/{protocol}/{metric}")
        assert value[1] == pytest.approx(expected[endpoint, protocol, metric], rel=1e-6)
    assert len(tracked.names) > len(expected)
