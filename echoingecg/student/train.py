"""Training of the student: it checks the data, starts the processes and runs the loop.

A training that is killed at any step resumes exactly from its last checkpoint.
"""

import math
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.optim import AdamW

from data_contracts.student import HISTORY
from echoingecg.common import Progress, Stopped, TrainingError, fingerprint, no_progress
from echoingecg.common.training_setup import learning_rate, reproducible
from echoingecg.recipe import ExecutionSettings, StudentSettings
from echoingecg.student import CODE_VERSION, checkpoint, checks, distributed, inference, validation
from echoingecg.student.data import batches, pairs, transforms
from echoingecg.student.encoders.kind import encoder_identity
from echoingecg.student.encoders.trunk import takes_training_scale
from echoingecg.student.loss import Objective
from echoingecg.student.model.student import Student
from echoingecg.student.model.text_encoder import text_tower

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class TrainedStudent:
    """A trained student, on the CPU, with the weights of its best epoch.

    Attributes:
        settings: of the training.
        objective: student and loss.
        tokenizer: of the text tower.
        scaler: fitted on the training ECGs.
        history: table of contract student.HISTORY.
        best_epoch: from 1.
        steps: number of optimiser steps.
    """

    settings: StudentSettings
    objective: Objective
    tokenizer: Tokenizer
    scaler: transforms.Scaler
    history: pa.Table
    best_epoch: int
    steps: int


def train(
    data: pairs.TrainingData,
    settings: StudentSettings,
    execution: ExecutionSettings,
    scratch: Path,
    progress: Progress = no_progress,
    earlier: inference.LoadedStudent | None = None,
) -> TrainedStudent:
    """Trains a student, or resumes an interrupted training of the same data and settings.

    The same call gives the same weights bit for bit on one kind of machine with one number of devices and
    threads, also if it was killed and started again.

    With several devices each batch is divided among as many processes, started here or by torchrun. All of
    them must be able to read the scratch folder; the first writes to it.

    Args:
        data: signals, targets, pairs; picklable if execution.devices is above 1.
        settings: the recipe's student section.
        execution: device, devices and threads.
        scratch: folder for the checkpoint; made if absent, removed by the caller.
        progress: called with the number of optimiser steps done and their total; at an early stop all count as done.
        earlier: the student that settings.warm_start names, on the CPU.

    Raises:
        TrainingError: there are no training pairs; settings do not fit the data or the earlier student; a loss is
            not finite or beyond its limit; the text model cannot be loaded.
    """
    checks.usable_kinds(data, settings)
    if earlier is not None:
        inference.check_architecture(earlier, settings)
        scaler = earlier.scaler
    elif takes_training_scale(settings):
        scaler = transforms.fit_scaler(data.signals, data.train.ecgs)
    else:
        scaler = transforms.Scaler.millivolts()
    scaler = replace(scaler, fewer_leads=settings.leads.share > 0)
    fabric = distributed.make_fabric(settings, execution)
    if fabric.world_size > 1 and not distributed.started_by_torchrun():
        distributed.run_processes(fabric, _train, (data, settings, execution, scratch, earlier, scaler), progress)
        # One process then reads the student from the last checkpoint.
        fabric = distributed.make_fabric(settings, execution, alone=True)
    fabric.launch()
    return _train(fabric, data, settings, execution, scratch, earlier, scaler, progress)


def _train(
    fabric: "Fabric",
    data: pairs.TrainingData,
    settings: StudentSettings,
    execution: ExecutionSettings,
    scratch: Path,
    earlier: inference.LoadedStudent | None,
    scaler: transforms.Scaler,
    progress: Progress,
) -> TrainedStudent:
    with reproducible(settings.seed, execution.threads):
        return Training(fabric, data, settings, scratch, earlier, scaler, progress).run()


def _ignore(done: int, total: int, note: str) -> None:
    pass


class Training:
    """One training: its networks, batches and optimiser, and its progress."""

    def __init__(
        self,
        fabric: "Fabric",
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
        self.progress = progress if fabric.is_global_zero else _ignore  # they end with the first one
        self.scratch = scratch
        self.scaler = scaler
        self.weights = checks.loss_weights(settings)
        causes = [
            CODE_VERSION,
            settings.model_dump(mode="json"),
            data.fingerprint(),
            inference.weights_fingerprint(earlier),
            *encoder_identity(settings.encoder, settings.encoder_weights).values(),
        ]
        self.identity = fingerprint(causes)
        kinds = checks.usable_kinds(data, settings)
        self.plan = batches.Planner(data.train, kinds, settings.batch_size, settings.seed)
        self.steps = settings.epochs * sum(self.plan.steps(kind) for kind in kinds)

        tower = (
            inference.text_tower_of(earlier)
            if earlier
            else text_tower(settings.model, batches.prompt_texts(data.train.text))
        )
        self.tokenizer = tower.tokenizer
        self.feed = batches.Feed(data, data.train, scaler, tower, fabric.device)
        self.held_out = batches.Feed(data, data.validation, scaler, tower, fabric.device)
        self.validation = batches.Planner(data.validation, kinds, settings.batch_size, settings.seed).all_batches()

        trunk = inference.trunk_for(settings, earlier)
        self.objective = Objective(Student(settings.model, tower.backbone, trunk), settings)
        if earlier is not None:
            inference.copy_weights(self.objective, earlier, settings.loss)
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

    def run(self) -> TrainedStudent:
        self.scratch.mkdir(parents=True, exist_ok=True)
        saved = checkpoint.load_checkpoint(self.scratch, self.identity)
        if not distributed.is_same_in_all_processes(self.fabric, saved.position.step if saved else -1):
            raise TrainingError(
                f"the training processes find different checkpoints in {self.scratch}: the workspace must be one "
                "folder that all machines share"
            )
        if saved:
            self._restore(saved)
        else:
            self._seed_other_processes()
            self._record(self._validate(), self._rate(0), best=True)
        while self.position.epoch <= self.settings.epochs and not self._out_of_patience():
            self._epoch()
        position = self.position
        if position.epoch <= self.settings.epochs:
            early = f"stopped early at epoch {position.epoch - 1}: none was better than epoch {position.best_epoch}"
            self.progress(self.steps, self.steps, early)
        self.objective.load_state_dict(self.best)
        return TrainedStudent(
            self.settings,
            self.objective.cpu().eval(),
            self.tokenizer,
            self.scaler,
            HISTORY.build(position.history),
            position.best_epoch,
            position.step,
        )

    def _epoch(self) -> None:
        position = self.position
        self.objective.train()
        mine = (self.share.part_of(batch) for batch in self.plan.epoch(position.epoch)[position.batch :])
        with closing(self.feed.stream(mine)) as stream:
            for batch, sides in stream:
                loss = self._step(batch, *sides)
                position.batch += 1
                position.step += 1
                position.loss_sum[batch.kind] = position.loss_sum.get(batch.kind, 0.0) + loss
                position.loss_count[batch.kind] = position.loss_count.get(batch.kind, 0) + 1
                if position.step % self.settings.checkpoint_steps == 0:
                    self._save()
                self._report(f"epoch {position.epoch}, {batch.kind} loss {loss:.4f}")
        self._end_epoch()

    def _report(self, note: str) -> None:
        """Reports progress. A training that is asked to stop leaves a checkpoint of this step."""
        try:
            self.progress(self.position.step, self.steps, note)
        except Stopped:
            if self.saved_step != self.position.step:
                self._save()
            raise

    def _step(self, batch: batches.Batch, signal: Tensor, partner: batches.Partner, identity: Tensor) -> float:
        """Takes one optimiser step; returns the unweighted loss, the same in every process."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(self.position.step)
        self.optimizer.zero_grad()
        if self.settings.augment.used:
            signal = self._augmented(signal)
        if self.settings.leads.share:
            kept = transforms.draw_kept_leads(self.settings.leads, self._generators(len(signal), transforms.MASKS))
            signal = signal * torch.from_numpy(kept).to(signal.device)
        total = self.wrapped(signal, partner, identity).total
        self.fabric.backward(self.weights[batch.kind] * total)
        norm = self.fabric.clip_gradients(
            self.objective, self.optimizer, max_norm=self.settings.gradient_clip, error_if_nonfinite=False
        )
        loss = float(self.fabric.all_reduce(total.detach(), reduce_op="mean"))
        if fault := checks.step_fault(loss, float(norm), self.settings):
            raise self._stop(f"{batch.kind} {fault}")
        self.optimizer.step()
        return loss

    def _augmented(self, signal: Tensor) -> Tensor:
        changes = transforms.draw_changes(self.settings.augment, self._generators(len(signal)), signal.shape[2])
        return transforms.apply_changes(signal, changes, self.scaler.scale)

    def _generators(self, ecgs: int, *stream: int) -> list[np.random.Generator]:
        position, places = self.position, self.share.positions(ecgs)
        return transforms.ecg_generators(self.settings.seed, position.epoch, position.batch, places, *stream)

    def _end_epoch(self) -> None:
        """Validates, keeps the weights if they are the best so far, and saves a checkpoint."""
        position = self.position
        result = self._validate()
        loss = result.weighted(self.weights)
        # Weights before training are never kept: the first epoch is always the best so far.
        best = loss is None or position.best_loss is None or loss < position.best_loss
        if best:
            position.best_epoch, position.best_loss = position.epoch, loss
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.objective.state_dict().items()}
        self._record(result, self._rate(position.step - 1), best)
        position.epoch, position.batch, position.loss_sum, position.loss_count = position.epoch + 1, 0, {}, {}
        self._save()

    def _validate(self) -> validation.Validation:
        with self.fabric.autocast():
            result = validation.validate(self.objective, self.held_out, self.validation)
        # Every process validates, so none waits; all use the first one's numbers, so all decide the same.
        result = self.fabric.broadcast(result)
        for kind, loss in result.loss.items():
            if not math.isfinite(loss):
                raise self._stop(f"{kind} validation loss is not finite")
        return result

    def _record(self, result: validation.Validation, rate: float, best: bool) -> None:
        position = self.position
        trained = {
            kind: position.loss_sum[kind] / position.loss_count[kind]
            for kind in pairs.KINDS
            if position.loss_count.get(kind)
        }
        position.history.append(
            {
                "epoch": position.epoch if position.step else 0,
                "steps": position.step,
                "learning_rate": rate,
                **{f"train_loss_{kind}": trained.get(kind) for kind in pairs.KINDS},
                **{f"validation_loss_{kind}": result.loss.get(kind) for kind in pairs.KINDS},
                "recall_at_5_ecg_to_echo": result.recall_ecg_to_echo,
                "recall_at_5_echo_to_ecg": result.recall_echo_to_ecg,
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
        self._seed_other_processes()

    def _restore(self, saved: checkpoint.Checkpoint) -> None:
        saved.restore(self.objective, self.optimizer)
        self.position, self.best, self.saved_step = saved.position, saved.best, saved.position.step
        self._seed_other_processes()

    def _seed_other_processes(self) -> None:
        """Seeds every process but the first, whose random state the checkpoint holds."""
        if self.share.rank:
            torch.manual_seed(checks.derived_seed(self.settings.seed, self.share.rank, self.position.step))

    def _stop(self, event: str) -> TrainingError:
        return TrainingError(checks.stop_message(event, self.position, self.steps, self.saved_step))
