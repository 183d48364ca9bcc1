"""Training end to end on synthetic pairs: it learns, resumes exactly, stops when it should."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from echoingecg.common import ContractError, Stopped, TrainingError, running
from echoingecg.student.checkpoint import FILENAME, load_checkpoint
from echoingecg.student.data.pairs import EchoPairs, Pairs, TextPairs, TrainingData
from echoingecg.student.store import save
from echoingecg.student.train import TrainedStudent, train
from echoingecg.student.validation import recall_at_k
from helpers.cases.student_data import DIM, ONE_THREAD, ArraySignals, settings, training_data
from helpers.paths import TESTS

NO_ECHO = EchoPairs(np.empty(0, np.int64), np.empty(0, np.int64))
NO_TEXT = TextPairs(np.empty(0, np.int64), (), ())


class Killed(Exception):
    """Stands for a kill: raised out of the progress call after a step."""


def kill_at(step: int):
    def progress(done: int, total: int, note: str = "") -> None:
        if done == step:
            raise Killed

    return progress


def weights_of(trained: TrainedStudent) -> dict[str, torch.Tensor]:
    return trained.objective.state_dict()


def assert_same(one: TrainedStudent, two: TrainedStudent) -> None:
    assert one.history.equals(two.history)
    for name, tensor in weights_of(one).items():
        assert torch.equal(tensor, weights_of(two)[name]), name


def test_learns_what_the_pairs_share(tmp_path):
    data = training_data(patients=160, held_out=40)
    trained = train(data, settings(epochs=18, batch_size=30), ONE_THREAD, tmp_path)
    rows = trained.history.to_pylist()
    assert [row["epoch"] for row in rows] == list(range(19))
    first, best = rows[0], rows[trained.best_epoch]
    assert best["validation_loss_ecg_echo"] < 0.6 * first["validation_loss_ecg_echo"]
    assert best["validation_loss_ecg_text"] < 0.8 * first["validation_loss_ecg_text"]
    assert best["recall_at_5_ecg_to_echo"] > 3 * 5 / 40  # three times chance
    assert best["recall_at_5_echo_to_ecg"] > 3 * 5 / 40
    assert first["train_loss_ecg_echo"] is None
    assert rows[-1]["steps"] == trained.steps == 18 * (120 // 30 + 240 // 30)


def test_shuffled_partners_teach_nothing(tmp_path):
    """The same training on pairs that share nothing stays near chance: recall cannot leak."""
    data = training_data(patients=160, held_out=40)
    wrong = np.random.default_rng(0).permutation(data.train.echo.study)
    shuffled = replace(data, train=Pairs(EchoPairs(data.train.echo.ecg, wrong), NO_TEXT))
    trained = train(shuffled, settings(epochs=5, batch_size=30), ONE_THREAD, tmp_path)
    assert trained.history["recall_at_5_ecg_to_echo"].to_pylist()[-1] < 2.5 * 5 / 40


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> TrainedStudent:
    return train(training_data(), settings(), ONE_THREAD, tmp_path_factory.mktemp("undisturbed"))


def test_a_stop_after_any_step_changes_nothing(undisturbed, tmp_path):
    for step in (1, 2, 7, 10, 11, undisturbed.steps):  # at a checkpoint, between two, at and after an epoch's end
        with pytest.raises(Killed):
            train(training_data(), settings(), ONE_THREAD, tmp_path / str(step), kill_at(step))
        assert_same(train(training_data(), settings(), ONE_THREAD, tmp_path / str(step)), undisturbed)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_training_that_is_asked_to_stop_leaves_a_checkpoint_of_that_step(undisturbed, tmp_path, step):
    """The recipe wants none that early."""

    def ask(done: int, total: int, note: str = "") -> None:
        if done == step:
            running.ask_to_stop()
        running.check_stop()

    data, rare = training_data(), settings(checkpoint_steps=1000)
    try:
        with pytest.raises(Stopped):
            train(data, rare, ONE_THREAD, tmp_path, ask)
    finally:
        running.forget_stop()
    assert load_file(tmp_path / FILENAME)
    steps = []
    resumed = train(data, rare, ONE_THREAD, tmp_path, lambda done, total, note="": steps.append(done))
    assert steps[0] == step + 1
    assert_same(undisturbed, resumed)


def test_torn_and_foreign_checkpoints_are_ignored(undisturbed, tmp_path):
    with pytest.raises(Killed):
        train(training_data(), settings(seed=1), ONE_THREAD, tmp_path, kill_at(5))
    assert_same(train(training_data(), settings(), ONE_THREAD, tmp_path), undisturbed)
    whole = (tmp_path / FILENAME).read_bytes()
    for torn in (b"", whole[:4], whole[: len(whole) // 2], whole[:-1]):
        (tmp_path / FILENAME).write_bytes(torn)
        assert load_checkpoint(tmp_path, "any") is None
    assert_same(train(training_data(), settings(), ONE_THREAD, tmp_path), undisturbed)


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from helpers.cases.student_data import ONE_THREAD, settings, training_data
from echoingecg.student.store import save
from echoingecg.student.train import train
folder = Path(sys.argv[2])
trained = train(training_data(), settings(epochs=int(sys.argv[3])), ONE_THREAD, folder / "scratch")
(folder / "out").mkdir()
save(trained, folder / "out")
"""


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 4])
def test_kill_minus_9_of_a_real_process(kills, tmp_path):
    """Killed at whatever instant it is in, then left alone: bytes equal to an undisturbed run."""
    epochs = 8 * (1 + kills)
    command = [sys.executable, "-c", CHILD, str(TESTS), str(tmp_path), str(epochs)]
    checkpoint = tmp_path / "scratch" / FILENAME
    seen = None
    for _ in range(kills):
        child = subprocess.Popen(command)
        try:
            while _written(checkpoint) == seen and child.poll() is None:
                time.sleep(0.005)
            time.sleep(0.1)
            assert child.poll() is None, "the child ended before it could be killed"
        finally:
            os.kill(child.pid, signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
        seen = _written(checkpoint)
    assert seen is not None
    subprocess.run(command, check=True)
    trained = train(training_data(), settings(epochs=epochs), ONE_THREAD, tmp_path / "other")
    (tmp_path / "expected").mkdir()
    save(trained, tmp_path / "expected")
    for path in sorted((tmp_path / "expected").iterdir()):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes(), path.name


def _die_at(step: int, folder: Path) -> None:
    def progress(done: int, total: int, note: str = "") -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    train(training_data(), settings(epochs=LONG), ONE_THREAD, folder, progress)


LONG = 8


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_steps(kills, tmp_path):
    """SIGKILL after each of some random steps of one run, then left alone: weights and history bit for bit."""
    whole = train(training_data(), settings(epochs=LONG), ONE_THREAD, tmp_path / "whole")
    steps = np.sort(np.random.default_rng(43).choice(np.arange(1, whole.steps + 1), kills, replace=False))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["helpers.cases.student_data", "echoingecg.student.train"])
    for step in steps.tolist():
        child = context.Process(target=_die_at, args=(step, tmp_path / "killed"))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL, f"step {step} was not reached"
    assert_same(train(training_data(), settings(epochs=LONG), ONE_THREAD, tmp_path / "killed"), whole)


def _written(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def test_a_loss_that_is_not_finite_names_step_and_checkpoint(tmp_path):
    data = training_data()
    data.target_mean[data.train.echo.study] = np.nan
    with pytest.raises(TrainingError, match=r"ecg_echo loss .* not finite at step \d+ of 20 .*checkpoint") as caught:
        train(data, settings(), ONE_THREAD, tmp_path)
    assert "\n" not in str(caught.value)


class SpoiltSignals(ArraySignals):
    """Turns to NaN after some reads."""

    def __init__(self, array: np.ndarray, good_reads: int) -> None:
        super().__init__(array)
        self.left = good_reads

    def read(self, rows: np.ndarray) -> np.ndarray:
        self.left -= 1
        return super().read(rows) * np.float32(np.nan if self.left < 0 else 1)


def test_a_run_that_goes_wrong_leaves_the_last_good_checkpoint(tmp_path):
    data = training_data()
    good = 2 + 5  # the scaler, the first validation, five steps
    spoilt = replace(data, signals=SpoiltSignals(data.signals.array, good))
    with pytest.raises(TrainingError, match=r"not finite at step 6 of 20 .*last good checkpoint is of step 4"):
        train(spoilt, settings(), ONE_THREAD, tmp_path)
    weights = load_file(tmp_path / FILENAME)
    assert all(torch.isfinite(tensor).all() for tensor in weights.values() if tensor.is_floating_point())


@pytest.mark.parametrize(("field", "says"), [("loss_limit", "loss of"), ("gradient_limit", "loss's gradient norm of")])
def test_an_exploding_run_stops_at_the_recipes_limit(field, says, tmp_path):
    data = training_data()
    rows = train(data, settings(), ONE_THREAD, tmp_path / "sound").history.to_pylist()
    usual = max(row["train_loss_ecg_echo"] for row in rows[1:])
    low = {field: 1e-3}
    with pytest.raises(TrainingError, match=rf"the ecg_\w+ {says} .* is beyond student.{field}=0.001 at step 1 of 20"):
        train(data, settings(**low), ONE_THREAD, tmp_path / "low")
    assert not (tmp_path / "low" / FILENAME).exists()
    limits = {"loss_limit": None, "gradient_limit": None} | {field: 100 * usual}
    train(data, settings(**limits), ONE_THREAD, tmp_path / "generous")


def test_a_validation_loss_that_is_not_finite_stops_too(tmp_path):
    data = training_data()
    data.target_mean[data.validation.echo.study] = np.nan
    with pytest.raises(TrainingError, match="validation loss is not finite"):
        train(data, settings(), ONE_THREAD, tmp_path)


def test_signals_that_are_not_finite_are_refused(tmp_path):
    data = training_data()
    data.signals.array[data.train.ecgs[0], 3, 5] = np.inf
    with pytest.raises(ContractError, match="not finite"):
        train(data, settings(), ONE_THREAD, tmp_path)


def only(data: TrainingData, train_pairs: Pairs | None = None, validation: Pairs | None = None) -> TrainingData:
    return replace(data, train=train_pairs or data.train, validation=validation or data.validation)


def test_one_kind_alone(tmp_path):
    data = training_data()
    echo = train(only(data, Pairs(data.train.echo, NO_TEXT)), settings(epochs=1), ONE_THREAD, tmp_path / "echo")
    assert echo.history["validation_loss_ecg_text"].null_count == 2
    assert echo.history["train_loss_ecg_echo"].null_count == 1
    text = train(only(data, Pairs(NO_ECHO, data.train.text)), settings(epochs=1), ONE_THREAD, tmp_path / "text")
    assert text.history["recall_at_5_ecg_to_echo"].null_count == 2
    assert text.history["train_loss_ecg_text"].null_count == 1
    weighted = train(data, settings(epochs=1, text_weight=0.0), ONE_THREAD, tmp_path / "weight")
    assert weighted.steps == echo.steps


def test_what_cannot_be_trained_is_refused(tmp_path):
    data = training_data()
    with pytest.raises(TrainingError, match="no training pairs"):
        train(only(data, Pairs(NO_ECHO, NO_TEXT)), settings(), ONE_THREAD, tmp_path)
    with pytest.raises(TrainingError, match="only 30 ecg_echo pairs: lower batch_size"):
        train(data, settings(batch_size=31), ONE_THREAD, tmp_path)
    wide = settings().model.model_copy(update={"embed_dim": DIM + 1})
    with pytest.raises(TrainingError, match=f"embeds in {DIM} dimensions"):
        train(data, settings(model=wide), ONE_THREAD, tmp_path)


def test_without_validation_the_last_epoch_is_best(tmp_path):
    data = only(training_data(), validation=Pairs(NO_ECHO, NO_TEXT))
    trained = train(data, settings(epochs=3, patience=1), ONE_THREAD, tmp_path)
    assert trained.best_epoch == 3
    assert trained.history["validation_loss_ecg_echo"].null_count == 4


def test_validation_smaller_than_a_batch(tmp_path):
    data = training_data(held_out=1)
    trained = train(data, settings(epochs=1), ONE_THREAD, tmp_path)
    assert trained.history["validation_loss_ecg_text"].null_count == 0
    assert trained.history["recall_at_5_ecg_to_echo"].to_pylist() == [1.0, 1.0]


def test_stops_early_and_keeps_the_best_weights(tmp_path):
    changes = {"learning_rate": 0.2, "epochs": 40, "patience": 2}
    reports: list[tuple[int, int, str]] = []
    trained = train(training_data(), settings(**changes), ONE_THREAD, tmp_path, lambda *report: reports.append(report))
    rows = trained.history.to_pylist()
    assert len(rows) - 1 == trained.best_epoch + 2 < 40
    done, total, note = reports[-1]
    assert done == total > trained.steps
    assert note == f"stopped early at epoch {len(rows) - 1}: none was better than epoch {trained.best_epoch}"
    losses = [row["validation_loss_ecg_echo"] + row["validation_loss_ecg_text"] for row in rows]
    assert trained.best_epoch == 1 + int(np.argmin(losses[1:]))
    best = train(training_data(), settings(**changes), ONE_THREAD, tmp_path)  # done already: reads, does not train
    assert_same(best, trained)


def test_the_callers_torch_is_left_as_it_was(tmp_path):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    train(training_data(), settings(epochs=1), ONE_THREAD, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def test_bfloat16(tmp_path):
    trained = train(training_data(), settings(epochs=1, precision="bfloat16"), ONE_THREAD, tmp_path)
    assert all(tensor.dtype != torch.bfloat16 for tensor in weights_of(trained).values())


def test_recall_counts_any_match():
    distance = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    match = torch.tensor([[False, True, True], [False, False, True]])
    assert [recall_at_k(distance, match, k) for k in (1, 2, 3, 9)] == [0.0, 0.5, 1.0, 1.0]
