"""Training of the student: a plain loop that can be killed at any step and goes on exactly."""

import math
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from lightning_fabric import Fabric
from tokenizers import Tokenizer
from torch.optim import AdamW

from data_contracts.student import HISTORY
from echoingecg.errors import TrainingError
from echoingecg.fingerprint import fingerprint
from echoingecg.progress import Progress, silent
from echoingecg.recipe import ExecutionSettings, StudentSettings
from echoingecg.student import CODE_VERSION
from echoingecg.student.checkpoint import Checkpoint, Position, Weights, load_checkpoint, save_checkpoint
from echoingecg.student.conditions import accelerator, loss_weights, reproducible, usable_kinds
from echoingecg.student.data import KINDS, Kind, TrainingData
from echoingecg.student.feed import Feed, wrapped
from echoingecg.student.model import Student
from echoingecg.student.objective import Objective
from echoingecg.student.plan import Batch, Planner
from echoingecg.student.scaler import Scaler, fit_scaler
from echoingecg.student.schedule import learning_rate
from echoingecg.student.text import text_tower
from echoingecg.student.validate import Validation, validate

PRECISION = {"float32": "32-true", "bfloat16": "bf16-mixed"}


@dataclass(frozen=True)
class Trained:
    """A trained student, on the CPU, with the weights of its best epoch.

    Attributes:
        settings: it was trained with.
        objective: student and loss.
        tokenizer: of the text tower.
        scaler: fitted on the training ECGs.
        history: table of contract student.HISTORY.
        best_epoch: from 1.
        steps: optimiser steps taken.
    """

    settings: StudentSettings
    objective: Objective
    tokenizer: Tokenizer
    scaler: Scaler
    history: pa.Table
    best_epoch: int
    steps: int


def train(
    data: TrainingData,
    settings: StudentSettings,
    execution: ExecutionSettings,
    scratch: Path,
    progress: Progress = silent,
) -> Trained:
    """Trains a student, or goes on with an interrupted training of the same data and settings.

    The same call gives the same weights bit for bit on one kind of machine and thread count, however
    often it was killed in between.

    Args:
        data: signals, targets, pairs.
        settings: the recipe's student section.
        execution: device and threads.
        scratch: folder for the checkpoint; made if absent, the caller removes it.
        progress: told the optimiser steps done and of how many.

    Raises:
        TrainingError: no pairs to learn from, settings that do not fit the data, a loss that is not
            finite, a text model that is not there.
    """
    kinds = usable_kinds(data, settings)
    with reproducible(settings.seed, execution):
        return _Training(data, settings, execution, scratch, progress, kinds).run()


class _Training:
    """One run: what stays the same through it, and where it stands."""

    def __init__(
        self,
        data: TrainingData,
        settings: StudentSettings,
        execution: ExecutionSettings,
        scratch: Path,
        progress: Progress,
        kinds: tuple[Kind, ...],
    ) -> None:
        self.settings = settings
        self.progress = progress
        self.scratch = scratch
        self.weights = loss_weights(settings)
        self.identity = fingerprint([CODE_VERSION, settings.model_dump(mode="json"), data.fingerprint()])
        self.plan = Planner(data.train, kinds, settings.batch_size, settings.seed)
        self.steps = settings.epochs * sum(self.plan.steps(kind) for kind in kinds)

        self.fabric = Fabric(accelerator=accelerator(execution), devices=1, precision=PRECISION[settings.precision])
        tower = text_tower(settings.model, wrapped(data.train.text))
        self.tokenizer = tower.tokenizer
        self.scaler = fit_scaler(data.signals, data.train.ecgs)
        self.feed = Feed(data, data.train, self.scaler, tower, self.fabric.device)
        self.held_out = Feed(data, data.validation, self.scaler, tower, self.fabric.device)
        self.validation = Planner(data.validation, kinds, settings.batch_size, settings.seed).everything()

        self.objective = Objective(Student(settings.model, tower.backbone), settings)
        optimizer = AdamW(
            self.objective.parameters(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.wrapped, self.optimizer = self.fabric.setup(self.objective, optimizer)
        self.position = Position()
        self.best: Weights = {}
        self.saved_step: int | None = None

    def run(self) -> Trained:
        self.scratch.mkdir(parents=True, exist_ok=True)
        if found := load_checkpoint(self.scratch, self.identity):
            self._restore(found)
        else:
            self._record(self._validate(), self._rate(0), best=True)
        while self.position.epoch <= self.settings.epochs and not self._out_of_patience():
            self._epoch()
        self.objective.load_state_dict(self.best)
        return Trained(
            self.settings,
            self.objective.cpu().eval(),
            self.tokenizer,
            self.scaler,
            HISTORY.build(self.position.history),
            self.position.best_epoch,
            self.position.step,
        )

    def _epoch(self) -> None:
        at = self.position
        self.objective.train()
        for batch in self.plan.epoch(at.epoch)[at.batch :]:
            loss = self._step(batch)
            at.batch += 1
            at.step += 1
            at.loss_sum[batch.kind] = at.loss_sum.get(batch.kind, 0.0) + loss
            at.loss_count[batch.kind] = at.loss_count.get(batch.kind, 0) + 1
            if at.step % self.settings.checkpoint_steps == 0:
                self._save()
            self.progress(at.step, self.steps, f"epoch {at.epoch}, {batch.kind} loss {loss:.4f}")
        self._end_epoch()

    def _step(self, batch: Batch) -> float:
        """One optimiser step; returns the loss, unweighted."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(self.position.step)
        self.optimizer.zero_grad()
        total = self.wrapped(*self.feed.batch(batch)).total
        self.fabric.backward(self.weights[batch.kind] * total)
        norm = self.fabric.clip_gradients(
            self.objective, self.optimizer, max_norm=self.settings.gradient_clip, error_if_nonfinite=False
        )
        loss = total.item()
        if not (math.isfinite(loss) and math.isfinite(float(norm))):
            raise TrainingError(self._diverged(f"{batch.kind} loss or its gradient"))
        self.optimizer.step()
        return loss

    def _end_epoch(self) -> None:
        """Validates, keeps the weights if they are the best so far, and saves."""
        at = self.position
        found = self._validate()
        loss = found.weighted(self.weights)
        # Untrained weights are never the student, so the first epoch is always better than none.
        best = loss is None or at.best_loss is None or loss < at.best_loss
        if best:
            at.best_epoch, at.best_loss = at.epoch, loss
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.objective.state_dict().items()}
        self._record(found, self._rate(at.step - 1), best)
        at.epoch, at.batch, at.loss_sum, at.loss_count = at.epoch + 1, 0, {}, {}
        self._save()

    def _validate(self) -> Validation:
        with self.fabric.autocast():
            found = validate(self.objective, self.held_out, self.validation)
        for kind, loss in found.loss.items():
            if not math.isfinite(loss):
                raise TrainingError(self._diverged(f"{kind} validation loss"))
        return found

    def _record(self, found: Validation, rate: float, best: bool) -> None:
        at = self.position
        trained = {kind: at.loss_sum[kind] / at.loss_count[kind] for kind in KINDS if at.loss_count.get(kind)}
        at.history.append(
            {
                "epoch": at.epoch if at.step else 0,
                "steps": at.step,
                "learning_rate": rate,
                **{f"train_loss_{kind}": trained.get(kind) for kind in KINDS},
                **{f"validation_loss_{kind}": found.loss.get(kind) for kind in KINDS},
                "recall_at_5_ecg_to_echo": found.recall_ecg_to_echo,
                "recall_at_5_echo_to_ecg": found.recall_echo_to_ecg,
                "best": best,
            }
        )

    def _rate(self, step: int) -> float:
        return learning_rate(self.settings, step, self.steps)

    def _out_of_patience(self) -> bool:
        return self.position.epoch - 1 - self.position.best_epoch >= self.settings.patience

    def _save(self) -> None:
        save_checkpoint(self.scratch, self.identity, self.position, self.objective, self.optimizer, self.best)
        self.saved_step = self.position.step

    def _restore(self, found: Checkpoint) -> None:
        found.restore(self.objective, self.optimizer)
        self.position, self.best, self.saved_step = found.position, found.best, found.position.step

    def _diverged(self, what: str) -> str:
        saved = "there is no checkpoint yet"
        if self.saved_step is not None:
            saved = f"the last good checkpoint is of step {self.saved_step}"
        return (
            f"the {what} is not finite at step {self.position.step + 1} of {self.steps} (epoch {self.position.epoch}); "
            f"{saved}. Lower student.learning_rate, set student.model.log_var_start, or use student.precision=float32"
        )
