"""The encoder trained on labels: in full, by adapters, from nothing; stopped by validation alone."""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from echoingecg.common import TrainingError
from echoingecg.recipe import ModelSettings, TuningSettings
from echoingecg.student.data.transforms import Scaler
from echoingecg.student.encoders.trunk import LowRank
from echoingecg.student.fine_tuning import Classifier, add_adapters, balanced_loss, fit_classifier
from echoingecg.student.inference import LoadedStudent
from echoingecg.student.loss import Objective
from echoingecg.student.model.student import EcgEncoder, Student
from echoingecg.student.model.text_encoder import text_tower
from helpers.cases.student_data import settings

Labelled = tuple[np.ndarray, np.ndarray]
METHODS = ("fine_tune", "lora", "scratch")
SPLIT = np.array(["train", "train", "train", "validation", "test"])[np.arange(120) % 5]
TUNING = TuningSettings(epochs=12, patience=4, batch_size=16, fine_tune_rate=3e-3, lora_rate=1e-2, scratch_rate=3e-3)


@pytest.fixture(scope="module")
def student() -> LoadedStudent:
    torch.manual_seed(0)
    section = settings()
    tower = text_tower(section.model, ["LVEF is 25 %.", "Normal."])
    objective = Objective(Student(section.model, tower.backbone), section).eval()
    return LoadedStudent(section, objective, tower.tokenizer, Scaler(np.zeros(12), np.ones(12)), torch.device("cpu"))


@pytest.fixture(scope="module")
def signals() -> Labelled:
    """120 ECGs; label 1 has a faster sine."""
    random = np.random.default_rng(1)
    label = random.integers(0, 2, 120).astype(np.int8)
    time = np.arange(100) / 100
    wave = np.sin(2 * np.pi * ((4 + 4 * label)[:, None] * time + random.random((120, 1))))
    return (wave[:, None] + random.normal(0, 0.7, (120, 12, 100))).astype(np.float32), label


def reader(signal: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rows: signal[rows]


@pytest.mark.parametrize("method", METHODS)
def test_it_learns_and_leaves_the_student_alone(method: str, student: LoadedStudent, signals: Labelled) -> None:
    signal, label = signals
    before = deepcopy(student.objective.state_dict())
    state = torch.get_rng_state()
    score = student.classify(method, reader(signal), label, SPLIT, TUNING, 3)
    test = SPLIT == "test"
    assert roc_auc_score(label[test], score[test]) > 0.9
    assert ((score >= 0) & (score <= 1)).all()
    assert torch.equal(torch.get_rng_state(), state)
    after = student.objective.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("method", METHODS)
def test_test_labels_touch_nothing(method: str, student: LoadedStudent, signals: Labelled) -> None:
    """The canary: with the labels of the test ECGs turned round, every score stays as it was."""
    signal, label = signals
    short = TUNING.model_copy(update={"epochs": 2})
    turned = np.where(SPLIT == "test", 1 - label, label).astype(np.int8)
    once, again = (student.classify(method, reader(signal), one, SPLIT, short, 3) for one in (label, turned))
    np.testing.assert_array_equal(once, again)
    held_out = np.where(SPLIT == "validation", 1 - label, label).astype(np.int8)
    long = TUNING.model_copy(update={"epochs": 8, "patience": 100})
    stopped = (student.classify(method, reader(signal), one, SPLIT, long, 3) for one in (label, held_out))
    assert not np.array_equal(*stopped), "validation labels should decide when to stop"


def test_the_epoch_of_least_validation_loss_is_kept(signals: Labelled) -> None:
    signal, label = signals
    model = settings().model
    arguments = (lambda rows: torch.from_numpy(signal[rows]), label, SPLIT == "train", SPLIT == "validation", 3e-3)
    losses = [
        fit_classifier(
            lambda: Classifier(EcgEncoder(model), model.embed_dim),
            *arguments,
            TUNING.model_copy(update={"epochs": epochs, "patience": 100}),
            5,
        )
        for epochs in (1, 3, 6)
    ]
    assert losses[0].loss >= losses[1].loss >= losses[2].loss
    best = losses[2]
    held_out = SPLIT == "validation"
    assert balanced_loss(label[held_out], best.score[held_out]) == pytest.approx(best.loss, abs=1e-6)


def test_a_training_that_blows_up_is_one_line(student: LoadedStudent, signals: Labelled) -> None:
    signal, label = signals
    with pytest.raises(TrainingError, match=r"not finite after epoch 1 at learning rate 1e\+30: lower it"):
        student.classify("scratch", reader(signal), label, SPLIT, TuningSettings(scratch_rate=1e30), 3)


def test_balanced_loss_is_the_mean_of_both_classes() -> None:
    label, score = np.array([1, 0, 0, 0]), np.array([0.8, 0.1, 0.2, 0.6])
    of_negatives = -np.log(1 - score[1:]).mean()
    assert balanced_loss(label, score) == pytest.approx((-np.log(0.8) + of_negatives) / 2)


def test_adapters_begin_as_nothing_and_stay_of_low_rank() -> None:
    torch.manual_seed(2)
    for base, x in (
        (nn.Linear(10, 7), torch.randn(4, 10)),
        (nn.Conv1d(5, 8, 3, 2, 1, bias=False), torch.randn(2, 5, 40)),
    ):
        adapted = LowRank(base, 2)
        torch.testing.assert_close(adapted(x), base(x))
        nn.init.normal_(adapted.up.weight)
        change = adapted(torch.eye(10)) - base(torch.eye(10)) if isinstance(base, nn.Linear) else None
        if change is not None:
            assert torch.linalg.matrix_rank(change) == 2
        assert adapted(x).shape == base(x).shape


def test_adapters_alone_learn() -> None:
    model = ModelSettings(embed_dim=16, init_dim=4, width_factors=(2, 4), blocks=(1, 2), gpo_dim=8)
    encoder = EcgEncoder(model)
    plain, x = deepcopy(encoder).eval(), torch.randn(3, 12, 100)
    add_adapters(encoder, 3)
    torch.testing.assert_close(encoder.eval()(x).mean, plain(x).mean)
    learned = {name for name, one in encoder.named_parameters() if one.requires_grad}
    assert learned
    assert all(".down." in name or ".up." in name for name in learned)
    convolutions = sum(isinstance(one, nn.Conv1d) for one in plain.modules())
    assert len(learned) == 2 * (convolutions + 1)
