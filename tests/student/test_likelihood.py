"""The variance by likelihood: torch's own formula, where it acts, and what the variance learns by it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.nn import functional as F

from echoingecg.student.data import batches
from echoingecg.student.data.pairs import EchoPairs, Pairs, TrainingData
from echoingecg.student.data.transforms import fit_scaler
from echoingecg.student.loss import LEAST_VARIANCE, Objective, study_likelihood
from echoingecg.student.model.gaussian_heads import GaussianTensor
from echoingecg.student.model.student import Student
from echoingecg.student.model.text_encoder import text_tower
from echoingecg.student.train import train
from helpers.cases.student_data import ONE_THREAD, settings, training_data


def unit(random: np.random.Generator, *shape: int) -> torch.Tensor:
    return F.normalize(torch.from_numpy(random.normal(size=shape).astype(np.float32)), dim=-1)


def test_equals_torchs_gaussian_likelihood_with_gradients():
    random = np.random.default_rng(0)
    study = unit(random, 7, 12)
    log_var = torch.from_numpy(random.uniform(-6, 1, (7, 12)).astype(np.float32))
    ours, theirs = (GaussianTensor(unit(np.random.default_rng(1), 7, 12), log_var.clone()) for _ in range(2))
    for part in (*ours, *theirs):
        part.requires_grad_()
    loss = study_likelihood(ours, study)
    loss.backward()
    expected = F.gaussian_nll_loss(theirs.mean, study, theirs.log_var.exp(), eps=LEAST_VARIANCE)
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for part, oracle in zip(ours, theirs, strict=True):
        torch.testing.assert_close(part.grad, oracle.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("log_var", [-1e4, -30.0, -14.0])
def test_a_variance_that_vanishes_stays_finite_and_comes_back(log_var: float):
    random = np.random.default_rng(2)
    ecg = GaussianTensor(unit(random, 4, 8), torch.full((4, 8), log_var, requires_grad=True))
    loss = study_likelihood(ecg, -ecg.mean)
    loss.backward()
    bound = study_likelihood(GaussianTensor(ecg.mean, torch.full((4, 8), np.log(LEAST_VARIANCE))), -ecg.mean)
    torch.testing.assert_close(loss, bound)
    assert loss < 2 / LEAST_VARIANCE
    assert torch.isfinite(ecg.log_var.grad).all()
    assert (ecg.log_var.grad < 0).all(), "a step along the gradient raises the variance"


def test_float32_under_bfloat16_autocast():
    random = np.random.default_rng(3)
    ecg, study = GaussianTensor(unit(random, 6, 32), torch.full((6, 32), -4.0)), unit(random, 6, 32)
    plain = study_likelihood(ecg, study)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert study_likelihood(ecg, study).item() == plain.item()


def test_the_least_variance_of_unit_vectors_is_two_less_two_lengths():
    """The best variance is 2 - 2 r in all: the student's mean is of unit length, the expected study's, r, is not."""
    random = np.random.default_rng(4)
    study = unit(random, 20_000, 5) * 0.8 + torch.tensor([1.0, 0, 0, 0, 0])
    study = F.normalize(study, dim=1)
    expected = study.mean(dim=0)
    length = expected.norm()
    log_var = torch.zeros(1, 5, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_var], max_iter=100, tolerance_grad=1e-9)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        mean = (expected / length).expand_as(study)
        loss = study_likelihood(GaussianTensor(mean, log_var.expand_as(study)), study)
        loss.backward()
        return loss

    optimizer.step(closure)
    total = log_var.exp().sum().item()
    assert total == pytest.approx(2 - 2 * length.item(), rel=1e-3)
    variance = study.var(dim=0, correction=0).sum().item()
    assert total == pytest.approx(variance + (1 - length.item()) ** 2, rel=1e-3)
    assert 0.5 < length < 0.9


def test_it_acts_on_ecg_echo_pairs_alone_and_is_off_by_default():
    data = training_data()
    plan = batches.Planner(data.train, ("ecg_echo", "ecg_text"), 8, 0)
    pairs = {batch.kind: batch for batch in plan.epoch(1)}
    totals = {}
    for variance, weight in (("pcmepp", 1.0), ("likelihood", 1.0), ("likelihood", 3.0)):
        torch.manual_seed(0)
        recipe = settings(variance=variance, likelihood_weight=weight)
        tower = text_tower(recipe.model, batches.prompt_texts(data.train.text))
        objective = Objective(Student(recipe.model, tower.backbone), recipe).eval()
        scaler = fit_scaler(data.signals, data.train.ecgs)
        feed = batches.Feed(data, data.train, scaler, tower, torch.device("cpu"))
        for kind, batch in pairs.items():
            terms = objective(*feed.batch(batch))
            totals[variance, weight, kind] = terms.total.item()
            if (variance, kind) == ("likelihood", "ecg_echo"):
                added = weight * terms.likelihood.item()
                assert terms.total.item() == pytest.approx(totals["pcmepp", 1.0, kind] + added, rel=1e-6)
            else:
                assert terms.likelihood is None
    assert len({total for (*_, kind), total in totals.items() if kind == "ecg_echo"}) == 3
    assert len({total for (*_, kind), total in totals.items() if kind == "ecg_text"}) == 1


def unequal_data(seed: int = 0) -> tuple[TrainingData, np.ndarray]:
    """Every second ECG carries a mark, and its study has little to do with it. Also returns which do."""
    data = training_data(patients=240, held_out=80, seed=seed)
    random = np.random.default_rng(seed)
    marked = np.arange(240) % 2 == 1
    data.signals.array[marked, :3] += 4.0
    mean = data.target_mean + marked[:, None] * random.normal(0, 0.5, data.target_mean.shape)
    mean = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)
    train_ids, held_out = np.arange(80, 240), np.arange(80)
    empty = replace(data.train.text, ecg=np.empty(0, np.int64), text=(), method=())
    sides = [Pairs(EchoPairs(ids, ids), empty) for ids in (train_ids, held_out)]
    return TrainingData(data.signals, mean, data.target_log_var, *sides), marked


def test_the_variance_learns_how_well_an_ecg_tells_its_study(tmp_path):
    """With a weight above the default: the matching pulls the variance elsewhere (docs/method.md)."""
    data, marked = unequal_data()
    model = settings().model.model_copy(update={"init_dim": 4})
    recipe = settings(
        model=model,
        variance="likelihood",
        likelihood_weight=10.0,
        epochs=40,
        batch_size=80,
        learning_rate=1e-2,
        text_weight=0.0,
    )
    trained = train(data, recipe, ONE_THREAD, tmp_path / "scratch")
    held_out, marked = np.arange(80), marked[:80]
    signal = torch.from_numpy(trained.scaler.standardise(data.signals.read(held_out)))
    with torch.inference_mode():
        mean, log_var = trained.objective.student.encode_ecg(signal)
    variance = log_var.exp().sum(dim=1).numpy()
    error = ((mean.numpy() - data.target_mean[held_out]) ** 2).sum(axis=1)
    assert np.median(variance[marked]) > 2 * np.median(variance[~marked])
    assert spearmanr(variance, error).statistic > 0.7
