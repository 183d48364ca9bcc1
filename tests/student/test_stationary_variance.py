"""Where an ECG's variance stands still: the sums of match probabilities of docs/method.md, against the loss."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from echoingecg.recipe import StudentSettings
from echoingecg.student.loss import PcmeLoss, repeated_partners, study_likelihood
from echoingecg.student.model.gaussian_heads import GaussianTensor

SIZE, DIM, ROW = 24, 8, 5
DIFFERENT, REPEATED = torch.arange(SIZE), torch.arange(SIZE) // 3
LOG_VAR = (-12.0, 4.0)  # between which it stands still


class Case:
    """Random Gaussians in one of which, `ROW` of the ECGs, the log-variance is free."""

    def __init__(self, seed: int, settings: StudentSettings, identity: Tensor, likelihood: float = 0.0) -> None:
        random = np.random.default_rng(seed)
        self.settings, self.identity, self.likelihood = settings, identity, likelihood
        self.criterion = PcmeLoss(settings)
        ecg = torch.from_numpy(random.normal(size=(SIZE, DIM)).astype(np.float32)) + torch.tensor([2.0] + 7 * [0.0])
        study = ecg + torch.from_numpy(random.normal(0, 1.5, (SIZE, DIM)).astype(np.float32))
        self.ecg, self.study = F.normalize(ecg, dim=1), F.normalize(study, dim=1)
        self.log_vars = torch.from_numpy(random.uniform(-5, -3, (2, SIZE, DIM)).astype(np.float32))

    def gaussians(self, log_var: Tensor) -> tuple[GaussianTensor, GaussianTensor]:
        own = torch.where((torch.arange(SIZE) == ROW)[:, None], log_var, self.log_vars[0])
        return GaussianTensor(self.ecg, own), GaussianTensor(self.study, self.log_vars[1])

    def gradient(self, value: float) -> float:
        log_var = torch.tensor(value, requires_grad=True)
        ecg, study = self.gaussians(log_var)
        total = self.criterion(ecg, study, repeated_partners(self.identity)).total
        if self.likelihood:
            total = total + self.likelihood * study_likelihood(ecg, study.mean)
        total.backward()
        assert log_var.grad is not None
        return log_var.grad.item()

    def probabilities(self, log_var: float) -> tuple[float, float]:
        """Sum of the row's match probabilities, and where the matching stands still: counted by the docs' words."""
        ecg, study = (
            GaussianTensor(one.mean.double(), one.log_var.double()) for one in self.gaussians(torch.tensor(log_var))
        )
        distance = (ecg.mean[:, None] - study.mean).square().sum(2)
        distance += ecg.log_var.exp().sum(1)[:, None] + study.log_var.exp().sum(1)
        logits = self.settings.shift_start - self.settings.scale_start * distance
        matched = self.identity[ROW] == self.identity
        positive = sum(int((matched | (logits[ROW] >= limit)).sum()) for limit in (logits[ROW, ROW], logits.diagonal()))
        match, pseudo = self.settings.match_weight, self.settings.pseudo_positive_weight
        stationary = (match * int(matched.sum()) + pseudo * positive) / (match + 2 * pseudo)
        return logits[ROW].sigmoid().sum().item(), stationary


def rising_zero(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function passes from below to above 0. Downward jumps, as a pseudo-positive's, are none such."""
    assert function(low) < 0 < function(high)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return (low + high) / 2


@pytest.mark.parametrize("identity", [DIFFERENT, REPEATED], ids=["different", "repeated"])
@pytest.mark.parametrize(("match", "pseudo"), [(2.0, 0.1), (1.0, 0.5), (2.0, 0.0)])
def test_probabilities_sum_to_the_weighted_positives(match: float, pseudo: float, identity: Tensor):
    settings = StudentSettings(kl_weight=0, match_weight=match, pseudo_positive_weight=pseudo)
    sums = []
    for seed in range(16):
        case = Case(seed, settings, identity)
        if case.probabilities(LOG_VAR[0])[0] < case.probabilities(LOG_VAR[0])[1]:
            continue  # too few candidates lie near: the variance falls without end
        found, stationary = case.probabilities(rising_zero(case.gradient, *LOG_VAR))
        assert found == pytest.approx(stationary, abs=2e-4)
        sums.append(found)
    matches = int((identity == identity[ROW]).sum())
    assert len(sums) >= 4
    if pseudo == 0:
        assert sums == pytest.approx([matches] * len(sums), abs=2e-4), "the row's matches: one, if partners differ"
    else:
        assert max(sums) > matches + 0.1, "pseudo-positives are no small matter"


def test_published_weights_by_the_published_numbers():
    settings = StudentSettings(kl_weight=0)
    assert (settings.match_weight, settings.pseudo_positive_weight) == (2.0, 0.1)
    case = Case(0, settings, DIFFERENT)
    _, stationary = case.probabilities(rising_zero(case.gradient, *LOG_VAR))
    positive = stationary * 2.2 - 2
    assert positive / 0.1 == pytest.approx(round(positive / 0.1))
    assert positive / 0.1 >= 2, "the matched pair is positive in its row and in its column"


@pytest.mark.parametrize("weight", [1.0, 10.0])
def test_likelihood_and_matching_together(weight: float):
    settings = StudentSettings(kl_weight=0)
    for seed in range(4):
        case = Case(seed, settings, DIFFERENT, likelihood=weight)
        log_var = rising_zero(case.gradient, *LOG_VAR)
        found, stationary = case.probabilities(log_var)
        variance = DIM * np.exp(log_var)
        error = (case.ecg[ROW] - case.study[ROW]).square().sum().item()
        pull = 2 * 2.2 * settings.scale_start * variance * (found - stationary) / (weight * SIZE)
        assert error / variance == pytest.approx(1 - pull, rel=1e-3, abs=1e-3)
