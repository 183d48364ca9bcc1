"""Warm start: weights, words and scaler of an earlier student; a fresh optimiser; clear refusals."""

import numpy as np
import pytest
import torch

from echoingecg.common import TrainingError
from echoingecg.student.checkpoint import FILENAME
from echoingecg.student.inference import LoadedStudent
from echoingecg.student.store import load, save
from echoingecg.student.train import TrainedStudent, train
from helpers.cases.student_data import ONE_THREAD, settings, training_data

STILL = {"epochs": 1, "learning_rate": 1e-12, "freeze_batch_norm": True}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> TrainedStudent:
    return train(training_data(), settings(epochs=6), ONE_THREAD, tmp_path_factory.mktemp("earlier"))


@pytest.fixture
def earlier(trained, tmp_path) -> LoadedStudent:
    folder = tmp_path / "artefact"
    folder.mkdir()
    save(trained, folder)
    return load(folder)


def test_goes_on_where_the_earlier_student_ended(trained, earlier, tmp_path):
    found = train(training_data(), settings(**STILL), ONE_THREAD, tmp_path / "scratch", earlier=earlier)
    first, best = found.history.to_pylist()[0], trained.history.to_pylist()[trained.best_epoch]
    for name in ("validation_loss_ecg_echo", "validation_loss_ecg_text", "recall_at_5_ecg_to_echo"):
        assert first[name] == pytest.approx(best[name], rel=1e-6)
    assert first["steps"] == 0
    for name, tensor in trained.objective.state_dict().items():
        torch.testing.assert_close(found.objective.state_dict()[name], tensor, rtol=0, atol=1e-7, msg=name)


def test_words_and_scaler_are_the_earlier_ones(earlier, tmp_path):
    other = training_data(patients=50, seed=9)
    found = train(other, settings(**STILL), ONE_THREAD, tmp_path / "scratch", earlier=earlier)
    assert found.tokenizer.to_str() == earlier.tokenizer.to_str()
    assert np.array_equal(found.scaler.scale, earlier.scaler.scale)


def test_the_earlier_student_is_left_as_it_was_and_the_run_repeats(earlier, tmp_path):
    before = {name: tensor.clone() for name, tensor in earlier.objective.state_dict().items()}
    one = train(training_data(), settings(), ONE_THREAD, tmp_path / "one", earlier=earlier)
    for name, tensor in earlier.objective.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    two = train(training_data(), settings(), ONE_THREAD, tmp_path / "two", earlier=earlier)
    for name, tensor in one.objective.state_dict().items():
        assert torch.equal(two.objective.state_dict()[name], tensor), name
    assert not torch.equal(before["criterion.scale"], one.objective.state_dict()["criterion.scale"])


def test_a_checkpoint_from_another_start_is_not_taken_up(earlier, tmp_path):
    cold = train(training_data(), settings(), ONE_THREAD, tmp_path / "scratch")
    assert (tmp_path / "scratch" / FILENAME).exists()
    warm = train(training_data(), settings(), ONE_THREAD, tmp_path / "scratch", earlier=earlier)
    assert warm.history.to_pylist()[0] != cold.history.to_pylist()[0]


def test_another_loss_keeps_the_towers_and_begins_its_own_parameters(earlier, tmp_path):
    recipe = settings(**STILL, loss="infonce")
    found = train(training_data(), recipe, ONE_THREAD, tmp_path / "scratch", earlier=earlier)
    name = "student.ecg_encoder.linear.weight"
    torch.testing.assert_close(found.objective.state_dict()[name], earlier.objective.state_dict()[name])
    assert found.objective.criterion.factor.item() == pytest.approx(1 / recipe.temperature_start, rel=1e-5)
    assert not found.objective.state_dict()["student.ecg_encoder.std_linear.weight"].any(), "it knows no variances"


@pytest.mark.parametrize(
    ("field", "value", "was"),
    [("init_dim", 3, "2"), ("text", "dmis-lab/biobert-v1.1", "built-in"), ("gpo_dim", 4, "8")],
)
def test_another_architecture_is_one_line(field, value, was, earlier, tmp_path):
    model = settings().model.model_copy(update={field: value})
    with pytest.raises(
        TrainingError, match=rf"student\.model\.{field}={was}, the recipe {value}: set it to {was}"
    ) as no:
        train(training_data(), settings(model=model), ONE_THREAD, tmp_path / "scratch", earlier=earlier)
    assert "\n" not in str(no.value)


def test_the_start_of_the_log_variance_may_differ(earlier, tmp_path):
    model = settings().model.model_copy(update={"log_var_start": None})
    found = train(training_data(), settings(model=model, **STILL), ONE_THREAD, tmp_path / "scratch", earlier=earlier)
    assert found.steps > 0
