"""The training loop against a bare step: forward, backward, AdamW of the same model on one batch, nothing else.

The loop also reads, standardises and moves the batch, clips gradients, watches for faults, sets the rate
and reports. Loop steps and bare steps take turns, so that a busy machine slows both alike.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.optim import AdamW

from benchmarks.measure import Row, at_most
from benchmarks.pool import published
from echoingecg.recipe import ExecutionSettings, ModelSettings, StudentSettings
from echoingecg.student.data.pairs import EchoPairs, Pairs, TextPairs, TrainingData
from echoingecg.student.loss import Objective
from echoingecg.student.model.gaussian_heads import GaussianTensor
from echoingecg.student.model.student import Student
from echoingecg.student.model.text_encoder import text_tower
from echoingecg.student.train import train
from tasks.base.workspace import Workspace
from tasks.pools import PoolSignals

RECORDS = 1000
DIM = 128
WARM_UP = 4  # turns that are not counted
SETTINGS = StudentSettings(
    model=ModelSettings(embed_dim=DIM, init_dim=16, text="built-in", text_layers=1, log_var_start=-5.0),
    epochs=1,
    batch_size=32,
    text_weight=0.0,
    checkpoint_steps=10_000,
)


def _data(signals: PoolSignals) -> TrainingData:
    random = np.random.default_rng(1)
    mean = random.standard_normal((RECORDS, DIM), dtype=np.float32)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    log_var = np.full_like(mean, -5.0)
    none = np.empty(0, np.int64)
    no_text = TextPairs(none, (), ())
    train_side = Pairs(EchoPairs(np.arange(RECORDS), np.arange(RECORDS)), no_text)
    return TrainingData(signals, mean, log_var, train_side, Pairs(EchoPairs(none, none), no_text))


class _BareStep:
    """A model of its own and one batch that stays."""

    def __init__(self, data: TrainingData) -> None:
        tower = text_tower(SETTINGS.model, [])
        self.objective = Objective(Student(SETTINGS.model, tower.backbone), SETTINGS)
        self.optimizer = AdamW(self.objective.parameters(), lr=SETTINGS.learning_rate, fused=True)
        rows = np.arange(SETTINGS.batch_size)
        self.signal = torch.from_numpy(data.signals.read(rows))
        self.target = GaussianTensor(
            torch.from_numpy(data.target_mean[rows]), torch.from_numpy(data.target_log_var[rows])
        )

    def __call__(self) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            total = self.objective(self.signal, self.target).total
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()


class _Turns:
    """Hears of every loop step; times it, then takes a bare step and times that."""

    def __init__(self, bare: _BareStep) -> None:
        self.bare = bare
        self.resumed = time.perf_counter()
        self.loop_seconds: list[float] = []
        self.bare_seconds: list[float] = []

    def __call__(self, done: int, total: int, note: str = "") -> None:
        stepped = time.perf_counter()
        self.bare()
        self.loop_seconds.append(stepped - self.resumed)
        self.resumed = time.perf_counter()
        self.bare_seconds.append(self.resumed - stepped)


def rows() -> Iterator[Row]:
    """Medians of one epoch. Checkpoints and validation come on top, as often as the recipe asks for them."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        data = _data(PoolSignals(workspace, published(workspace, RECORDS)))
        turns = _Turns(_BareStep(data))
        train(data, SETTINGS, ExecutionSettings(device="cpu"), Path(folder) / "scratch", turns)
    parameters = sum(one.numel() for one in turns.bare.objective.student.ecg_encoder.parameters()) / 1e6
    yield Row(
        f"a step of the training loop, {parameters:.1f} M parameters, batch {SETTINGS.batch_size}, bf16",
        "bare forward, backward, AdamW",
        median(turns.bare_seconds[WARM_UP:]),
        median(turns.loop_seconds[WARM_UP:]),
        at_most(1.05),
    )
