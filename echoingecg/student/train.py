"""Training of the student: checks what it is given, starts the processes, and returns the trained student.

The training loop: readable, killed at any step it goes on exactly.
"""

import math
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch
from lightning_fabric import Fabric
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.optim import AdamW

from data_contracts.student import HISTORY
from echoingecg.common import Progress, TrainingError, fingerprint, no_progress
from echoingecg.common.training_setup import learning_rate, reproducible
from echoingecg.recipe import ExecutionSettings, StudentSettings
from echoingecg.student import CODE_VERSION, checkpoint, checks, distributed, inference, validation, warm_start
from echoingecg.student.data import batches, pairs, transforms
from echoingecg.student.loss import Objective
from echoingecg.student.model.student import Student
from echoingecg.student.model.text_encoder import text_tower

__all__ = ["Trained", "train"]


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
    scaler: transforms.Scaler
    history: pa.Table
    best_epoch: int
    steps: int


class Training:
    """One run: what stays the same through it, and where it stands."""

    def __init__(
        self,
        fabric: Fabric,
        data: pairs.TrainingData,
        settings: StudentSettings,
        scratch: Path,
        earlier: inference.LoadedStudent | None,
        scaler: transforms.Scaler,
        progress: Progress,
    ) -> None:
        self.fabric = fabric
        self.share = distributed.Share(fabric.global_rank, fabric.world_size)
        self.settings = settings
        self.progress = progress if fabric.is_global_zero else no_progress
        self.scratch = scratch
        self.scaler = scaler
        self.weights = checks.loss_weights(settings)
        causes = [CODE_VERSION, settings.model_dump(mode="json"), data.fingerprint(), warm_start.digest(earlier)]
        self.identity = fingerprint(causes)
        kinds = checks.usable_kinds(data, settings)
        self.plan = batches.Planner(data.train, kinds, settings.batch_size, settings.seed)
        self.steps = settings.epochs * sum(self.plan.steps(kind) for kind in kinds)

        tower = (
            warm_start.earlier_tower(earlier)
            if earlier
            else text_tower(settings.model, batches.wrapped(data.train.text))
        )
        self.tokenizer = tower.tokenizer
        self.feed = batches.Feed(data, data.train, scaler, tower, fabric.device)
        self.held_out = batches.Feed(data, data.validation, scaler, tower, fabric.device)
        self.validation = batches.Planner(data.validation, kinds, settings.batch_size, settings.seed).everything()

        self.objective = Objective(Student(settings.model, tower.backbone), settings)
        if earlier is not None:
            warm_start.take_weights(self.objective, earlier, settings.loss)
        if self.share.ranks > 1 and fabric.device.type == "cuda":
            self.objective = nn.SyncBatchNorm.convert_sync_batchnorm(self.objective)
        optimizer = AdamW(
            self.objective.parameters(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.wrapped, self.optimizer = self.fabric.setup(self.objective, optimizer)
        self.position = checkpoint.Position()
        self.best: checkpoint.Weights = {}
        self.saved_step: int | None = None

    def run(self) -> Trained:
        self.scratch.mkdir(parents=True, exist_ok=True)
        found = checkpoint.load_checkpoint(self.scratch, self.identity)
        if not distributed.same_everywhere(self.fabric, found.position.step if found else -1):
            raise TrainingError(
                f"the training processes find different checkpoints in {self.scratch}: the workspace must be one "
                "folder that all machines share"
            )
        if found:
            self._restore(found)
        else:
            self._own_randomness()
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
        mine = (self.share.of(batch) for batch in self.plan.epoch(at.epoch)[at.batch :])
        with closing(self.feed.stream(mine)) as stream:
            for batch, (signal, partner) in stream:
                loss = self._step(batch, signal, partner)
                at.batch += 1
                at.step += 1
                at.loss_sum[batch.kind] = at.loss_sum.get(batch.kind, 0.0) + loss
                at.loss_count[batch.kind] = at.loss_count.get(batch.kind, 0) + 1
                if at.step % self.settings.checkpoint_steps == 0:
                    self._save()
                self.progress(at.step, self.steps, f"epoch {at.epoch}, {batch.kind} loss {loss:.4f}")
        self._end_epoch()

    def _step(self, batch: batches.Batch, signal: Tensor, partner: batches.Partner) -> float:
        """One optimiser step; returns the loss, unweighted, the same in every process."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(self.position.step)
        self.optimizer.zero_grad()
        if self.settings.augment.used:
            signal = self._augmented(signal)
        total = self.wrapped(signal, partner).total
        self.fabric.backward(self.weights[batch.kind] * total)
        norm = self.fabric.clip_gradients(
            self.objective, self.optimizer, max_norm=self.settings.gradient_clip, error_if_nonfinite=False
        )
        loss = float(self.fabric.all_reduce(total.detach(), reduce_op="mean"))
        if fault := checks.step_fault(loss, float(norm), self.settings):
            raise self._stopped(f"{batch.kind} {fault}")
        self.optimizer.step()
        return loss

    def _augmented(self, signal: Tensor) -> Tensor:
        at, settings = self.position, self.settings
        random = transforms.generators(settings.seed, at.epoch, at.batch, self.share.positions(len(signal)))
        return transforms.apply(signal, transforms.draw(settings.augment, random, signal.shape[2]), self.scaler.scale)

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

    def _validate(self) -> validation.Validation:
        with self.fabric.autocast():
            found = validation.validate(self.objective, self.held_out, self.validation)
        # Every process validates, so none waits; the first one's numbers hold, so all decide alike.
        found = self.fabric.broadcast(found)
        for kind, loss in found.loss.items():
            if not math.isfinite(loss):
                raise self._stopped(f"{kind} validation loss is not finite")
        return found

    def _record(self, found: validation.Validation, rate: float, best: bool) -> None:
        at = self.position
        trained = {kind: at.loss_sum[kind] / at.loss_count[kind] for kind in pairs.KINDS if at.loss_count.get(kind)}
        at.history.append(
            {
                "epoch": at.epoch if at.step else 0,
                "steps": at.step,
                "learning_rate": rate,
                **{f"train_loss_{kind}": trained.get(kind) for kind in pairs.KINDS},
                **{f"validation_loss_{kind}": found.loss.get(kind) for kind in pairs.KINDS},
                "recall_at_5_ecg_to_echo": found.recall_ecg_to_echo,
                "recall_at_5_echo_to_ecg": found.recall_echo_to_ecg,
                "best": best,
            }
        )

    def _rate(self, step: int) -> float:
        rates = self.settings
        return learning_rate(step, self.steps, rates.learning_rate, rates.warmup_share, rates.warmup_start)

    def _out_of_patience(self) -> bool:
        return self.position.epoch - 1 - self.position.best_epoch >= self.settings.patience

    def _save(self) -> None:
        if self.fabric.is_global_zero:
            checkpoint.save_checkpoint(
                self.scratch, self.identity, self.position, self.objective, self.optimizer, self.best
            )
        self.saved_step = self.position.step
        self._own_randomness()

    def _restore(self, found: checkpoint.Checkpoint) -> None:
        found.restore(self.objective, self.optimizer)
        self.position, self.best, self.saved_step = found.position, found.best, found.position.step
        self._own_randomness()

    def _own_randomness(self) -> None:
        """Every process but the first, whose random state the checkpoint holds, begins a stream of its own."""
        if self.share.rank:
            torch.manual_seed(checks.apart(self.settings.seed, self.share.rank, self.position.step))

    def _stopped(self, what: str) -> TrainingError:
        return TrainingError(checks.stopped(what, self.position, self.steps, self.saved_step))


def train(
    data: pairs.TrainingData,
    settings: StudentSettings,
    execution: ExecutionSettings,
    scratch: Path,
    progress: Progress = no_progress,
    earlier: inference.LoadedStudent | None = None,
) -> Trained:
    """Trains a student, or goes on with an interrupted training of the same data and settings.

    The same call gives the same weights bit for bit on one kind of machine, number of devices and
    thread count, however often it was killed in between.

    With several devices a batch is shared out over as many processes, started here or by torchrun. Each
    of them must be able to read the scratch folder; the first writes it.

    Args:
        data: signals, targets, pairs; picklable if execution.devices is above 1.
        settings: the recipe's student section.
        execution: device, devices and threads.
        scratch: folder for the checkpoint; made if absent, the caller removes it.
        progress: told the optimiser steps done and of how many.
        earlier: the student that settings.warm_start names, on the CPU.

    Raises:
        TrainingError: no pairs to learn from, settings that do not fit the data or the earlier student,
            a loss that is not finite or beyond its limit, a text model that is not there.
    """
    checks.usable_kinds(data, settings)
    if earlier is not None:
        warm_start.check_architecture(earlier, settings.model)
    scaler = earlier.scaler if earlier is not None else transforms.fit_scaler(data.signals, data.train.ecgs)
    fabric = distributed.make_fabric(settings, execution)
    if fabric.world_size > 1 and not distributed.started_outside():
        distributed.run_processes(fabric, _train, (data, settings, execution, scratch, earlier, scaler), progress)
        fabric = distributed.make_fabric(
            settings, execution, alone=True
        )  # reads what the processes leave: the last checkpoint
    fabric.launch()
    return _train(fabric, data, settings, execution, scratch, earlier, scaler, progress)


def _train(
    fabric: Fabric,
    data: pairs.TrainingData,
    settings: StudentSettings,
    execution: ExecutionSettings,
    scratch: Path,
    earlier: inference.LoadedStudent | None,
    scaler: transforms.Scaler,
    progress: Progress,
) -> Trained:
    with reproducible(settings.seed, execution.threads):
        return Training(fabric, data, settings, scratch, earlier, scaler, progress).run()
