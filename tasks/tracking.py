"""Tells an experiment tracker, MLflow or TensorBoard, what a pipeline run trains and reaches. Off by default.

A run of the tracker is called after the evaluation that the pipeline run leads to, `evaluation-VERSION`, which is known
before the training: a run that goes on after a kill goes on there, too. The tracker gets numbers, settings of the
student, versions, the model card and the report's address: no row, no picture and no pseudonym of a patient.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from data_contracts import evaluation, student
from data_contracts.conventions import Stage
from echoingecg.common import Stopped, UserError
from tasks import stage
from tasks.base import progress
from tasks.store import Artefact, Inputs, Job

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_EXPERIMENT = "echoingecg"
_MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # MLflow does not know DO_NOT_TRACK=1
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # by itself it tries for minutes, which the training would wait
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # s
}
_BATCH = 100  # values in a request; MLflow takes 100 parameters
_EVERY_EPOCH = "learning_rate"  # the column of the history that is never empty
_NOT_NUMBERS = {"epoch", "best"}
_SIGNS = {"<=": "le", ">=": "ge", "<": "lt", ">": "gt", "%": "percent", "@": "of"}  # trackers' names lack them

End = Literal["FINISHED", "FAILED", "KILLED"]


def check_installed(tracking: str) -> None:
    """Raises UserError, in one line, unless the package of a tracker, of the same name, is installed."""
    if tracking != "none" and find_spec(tracking) is None:
        raise UserError(f"execution.tracking: {tracking} is not installed: pip install 'echoingecg[tracking]'")


class _Tracker(Protocol):
    """One run of a tracker, opened: a new one, or one that goes on."""

    def last_epoch(self) -> int:
        """Number of the last epoch that it has; -1 without any."""

    def is_described(self) -> bool:
        """Whether it has the model card and the report's address, and so the evaluation."""

    def add(self, values: Mapping[str, float], epoch: int) -> None:
        """Adds numbers of an epoch."""

    def describe(self, card: Path, report: str) -> None:
        """Adds the model card and the report's address."""

    def close(self, end: End) -> None:
        """Says how the work ended."""


class TrackedRun:
    """The tracker's run of a pipeline run. A tracker that fails costs one line of the log, and gets nothing more.

    Args:
        job: its recipe names the tracker; with `none` nothing happens.
        inputs: artefacts ecg, teacher and pairs; for `add_evaluation` the student, too.
        version: of the student.
    """

    _tracker: _Tracker  # once `is_on` has led to `_open`

    def __init__(self, job: Job, inputs: Inputs, version: str) -> None:
        self.job = job
        self.inputs = inputs
        self.version = version
        self.kind = job.recipe.execution.tracking
        self.is_on = self.kind != "none"
        self._next_epoch = 0

    def __enter__(self) -> Self:
        self._tell(self._open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        end: End = "FINISHED"
        if fault is not None:
            end = "FAILED" if isinstance(fault, Exception) and not isinstance(fault, Stopped) else "KILLED"
        self._tell(lambda: self._tracker.close(end))

    def add_epochs(self, history: list[dict[str, Any]]) -> None:
        """Adds the epochs that the tracker does not have yet; rows of data_contracts.student.HISTORY, none left out."""
        self._tell(lambda: self._add_epochs(history))

    def add_evaluation(self, artefact: Artefact) -> None:
        """Adds what an evaluation has reached, and the epochs of its student, unless the tracker has them."""
        self._tell(lambda: self._add_evaluation(artefact))

    def _tell(self, act: Callable[[], None]) -> None:
        """Calls a function while the tracker works. A fault of the tracker ends that, not the training."""
        if not self.is_on:
            return
        try:
            act()
        except Exception as fault:  # noqa: BLE001 - whatever a tracker raises, days of training go on
            self.is_on = False
            line = re.sub(r"//[^/\s]+@", "//", " ".join(f"{type(fault).__name__}: {fault}".split()))  # no password
            progress.logger().warning(f"execution.tracking: {self.kind} failed and gets no more of this stage: {line}")

    def _add_epochs(self, history: list[dict[str, Any]]) -> None:
        for row in history[self._next_epoch :]:
            numbers = {name: value for name, value in row.items() if name not in _NOT_NUMBERS and value is not None}
            self._tracker.add(numbers, row["epoch"])
            self._next_epoch = row["epoch"] + 1

    def _add_evaluation(self, artefact: Artefact) -> None:
        self._add_epochs(student.HISTORY.read(self.inputs["student"].folder).to_pylist())
        if self._tracker.is_described():
            return
        for table in (evaluation.METRICS, evaluation.REGRESSION_METRICS):
            self._tracker.add(_named(table.read(artefact.folder).to_pylist()), self._next_epoch - 1)
        report = stage.link_to(artefact, evaluation.REPORT)
        self._tracker.describe(artefact.folder / evaluation.MODEL_CARD, report)

    def _open(self) -> None:
        from tasks.all_stages import WORKS  # the stages know this file

        versions: dict[Stage, str] = {name: artefact.version for name, artefact in self.inputs.items()}
        versions["student"] = self.version
        versions["evaluation"] = WORKS["evaluation"].plan(self.job, versions).version
        lineage = self.job.store.lineage(self.inputs["pairs"]) | versions
        settings = dict(_flat("student", self.job.recipe.part("student")))
        check_installed(self.kind)
        tracker = _MLflow if self.kind == "mlflow" else _TensorBoard
        self._tracker = tracker(self.job.workspace.tracking, {str(name): lineage[name] for name in lineage}, settings)
        self._next_epoch = self._tracker.last_epoch() + 1


class _MLflow:
    """The server at MLFLOW_TRACKING_URI, or SQLite in the workspace."""

    def __init__(self, folder: Path, versions: dict[str, str], settings: Mapping[str, str]) -> None:
        for name, value in _MLFLOW_SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        server = os.environ.get("MLFLOW_TRACKING_URI", "")
        if not server:
            folder.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(server or f"sqlite:///{folder / 'mlflow.db'}")
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
        known = self.client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self.client.create_experiment(
            name, None if server else (folder / "mlflow").as_uri()
        )  # fmt: skip
        runs = self.client.search_runs([experiment], f"tags.evaluation = '{versions['evaluation']}'", max_results=1)
        run = runs[0] if runs else self.client.create_run(
            experiment, tags=versions, run_name=f"evaluation-{versions['evaluation']}"
        )  # fmt: skip
        self.run = run.info.run_id
        self.tags = run.data.tags
        if runs:
            self.client.update_run(self.run, "RUNNING")
        for part in _batches([Param(key, value) for key, value in settings.items()]):
            self.client.log_batch(self.run, params=part)

    def last_epoch(self) -> int:
        return max((metric.step for metric in self.client.get_metric_history(self.run, _EVERY_EPOCH)), default=-1)

    def is_described(self) -> bool:
        return "report" in self.tags

    def add(self, values: Mapping[str, float], epoch: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        for part in _batches([Metric(name, value, now, epoch) for name, value in values.items()]):
            self.client.log_batch(self.run, metrics=part)

    def describe(self, card: Path, report: str) -> None:
        self.client.log_artifact(self.run, str(card))
        self.client.set_tag(self.run, "report", report)

    def close(self, end: End) -> None:
        self.client.set_terminated(self.run, end)


class _TensorBoard:
    """A folder of event files in the workspace."""

    def __init__(self, folder: Path, versions: dict[str, str], settings: Mapping[str, str]) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        self.place = folder / "tensorboard" / f"evaluation-{versions['evaluation']}"
        self.place.mkdir(parents=True, exist_ok=True)
        self.before = EventAccumulator(str(self.place)).Reload()
        if not self.before.Tags()["tensors"]:
            self.writer.add_text("versions", "\n".join(f"- {name}-{version}" for name, version in versions.items()))
            self.writer.add_text("settings", "\n".join(f"- {name}: {value}" for name, value in settings.items()))

    @cached_property
    def writer(self) -> "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.place))

    def last_epoch(self) -> int:
        known = self.before.Tags()["scalars"]
        return max((event.step for event in self.before.Scalars(_EVERY_EPOCH)), default=-1) if known else -1

    def is_described(self) -> bool:
        return "report/text_summary" in self.before.Tags()["tensors"]

    def add(self, values: Mapping[str, float], epoch: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def describe(self, card: Path, report: str) -> None:
        self.writer.add_text("model card", card.read_text(encoding="utf-8"))
        self.writer.add_text("report", report)

    def close(self, end: End) -> None:
        if end != "FINISHED":
            self.writer.add_text("end", end)
        if "writer" in vars(self):
            self.writer.close()


def _batches(values: list[Any]) -> Iterator[list[Any]]:
    return (values[start : start + _BATCH] for start in range(0, len(values), _BATCH))


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Fields of a recipe's section, such as `student.model.embed_dim`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    else:
        yield name, str(value)


def _named(metrics: list[dict[str, Any]]) -> dict[str, float]:
    """Values by `endpoint/protocol/metric`, over all test ECGs."""
    return {
        "/".join(_plain(row[part]) for part in ("endpoint", "protocol", "metric")): row["value"]
        for row in metrics
        if row["value"] is not None and row.get("group", "all") == "all"
    }


def _plain(name: str) -> str:
    """A part of a metric's name that every tracker takes: `LVEF_lt_40_percent`."""
    for sign, word in _SIGNS.items():
        name = name.replace(sign, f"_{word}_")
    return re.sub(r"_?[^\w.-]+_?|_{2,}", "_", name).strip("_")
