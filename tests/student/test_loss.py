"""PCME++ against golden numbers and against the published formula with its (B, B, D) tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch.nn import functional as F

from echoingecg.recipe import StudentSettings
from echoingecg.student.loss import PcmeLoss
from echoingecg.student.model.gaussian_heads import GaussianTensor, pair_distance

# Rounding of a float32 sum, relative to the sum of its absolute terms; see the same number in test_loss_variants.py.
FLOAT32_SUM = 2**-20


def naive_distance(a: GaussianTensor, b: GaussianTensor) -> torch.Tensor:
    squared = (a.mean[:, None] - b.mean[None]) ** 2
    variance = a.log_var.exp()[:, None] + b.log_var.exp()[None]
    return (squared + variance).sum(-1)


def naive_loss(a: GaussianTensor, b: GaussianTensor, settings: StudentSettings) -> tuple[torch.Tensor, int]:
    """Row by row, as METHOD words it, in the dtype of its inputs."""
    logits = -settings.scale_start * naive_distance(a, b) + settings.shift_start
    size = len(logits)
    match, pseudo, n_pseudo = torch.zeros(()), torch.zeros(()), 0
    for i in range(size):
        for j in range(size):
            positive = i == j
            ab = positive or bool(logits[i, j] >= logits[i, i])
            ba = positive or bool(logits[i, j] >= logits[j, j])
            n_pseudo += int(ab and not positive) + int(ba and not positive)
            loss = {target: F.softplus(-logits[i, j] if target else logits[i, j]) for target in (True, False)}
            match = match + loss[positive]
            pseudo = pseudo + loss[ab] + loss[ba]
    total = (settings.match_weight * match + settings.pseudo_positive_weight * pseudo) / size**2
    for one in (a, b):
        kl = -0.5 * (1 + one.log_var - one.mean**2 - one.log_var.exp()).mean()
        if kl <= settings.kl_limit:
            total = total + settings.kl_weight * kl
    return total, n_pseudo


def gaussian(random: np.random.Generator, size: int, dim: int, centre: float = -3.0) -> GaussianTensor:
    mean = random.normal(size=(size, dim))
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    log_var = centre + 0.3 * random.normal(size=(size, dim))
    return GaussianTensor(*(torch.tensor(one, dtype=torch.float32, requires_grad=True) for one in (mean, log_var)))


def test_golden(golden):
    case = np.load(golden / "pcmepp_loss.npz")
    inputs = {
        name: torch.tensor(case[name], requires_grad=True) for name in ("a_mean", "a_log_var", "b_mean", "b_log_var")
    }
    criterion = PcmeLoss(StudentSettings())
    terms = criterion(
        GaussianTensor(inputs["a_mean"], inputs["a_log_var"]), GaussianTensor(inputs["b_mean"], inputs["b_log_var"])
    )
    terms.total.backward()
    assert terms.total.item() == pytest.approx(float(case["loss"]), rel=1e-5)
    assert int(terms.n_pseudo) == int(case["n_pseudo"])
    found = {name: tensor.grad for name, tensor in inputs.items()}
    found |= {"scale": criterion.scale.grad, "shift": criterion.shift.grad}
    for name, gradient in found.items():
        expected = case[f"g_{name}"]
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**16))
def test_equals_the_formula_with_gradients(size: int, dim: int, seed: int):
    random = np.random.default_rng(seed)
    a, b = gaussian(random, size, dim), gaussian(random, size, dim)
    settings = StudentSettings(kl_weight=0.01)
    terms = PcmeLoss(settings)(a, b)
    terms.total.backward()
    exact = [GaussianTensor(*(part.detach().double().requires_grad_() for part in one)) for one in (a, b)]
    expected, n_pseudo = naive_loss(*exact, settings)
    expected.backward()
    weights = settings.match_weight + 2 * settings.pseudo_positive_weight
    largest_logit = settings.shift_start + 6.5 * settings.scale_start
    assert terms.total.item() == pytest.approx(expected.item(), rel=1e-5, abs=FLOAT32_SUM * weights * largest_logit)
    assert int(terms.n_pseudo) == n_pseudo
    absolute_terms = 4 * settings.scale_start * weights / size  # of a mean's gradient; a log-variance's are smaller
    for part, oracle in zip([*a, *b], [*exact[0], *exact[1]], strict=True):
        bound = FLOAT32_SUM * absolute_terms * (1.0 if part is a.mean or part is b.mean else 0.1)
        np.testing.assert_allclose(part.grad.numpy(), oracle.grad.numpy(), rtol=1e-5, atol=bound)


def test_gradients_follow_the_factor_of_the_loss():
    """Mixed losses and the scaler of float16 multiply the loss: its gradients must be multiplied, too."""
    gradients = []
    for factor in (1.0, 3.0):
        a, b = gaussian(np.random.default_rng(3), 5, 8), gaussian(np.random.default_rng(4), 5, 8)
        (factor * PcmeLoss(StudentSettings())(a, b).total).backward()
        gradients.append(torch.cat([part.grad for part in (*a, *b)]))
    torch.testing.assert_close(gradients[1], 3 * gradients[0])


def test_distance_between_sets_of_different_size():
    random = np.random.default_rng(0)
    a, b = gaussian(random, 4, 7), gaussian(random, 6, 7)
    torch.testing.assert_close(pair_distance(a, b), naive_distance(a, b))


def test_kl_above_the_limit_is_left_out_of_the_sum():
    random = np.random.default_rng(0)
    a, b = gaussian(random, 5, 8), gaussian(random, 5, 8, centre=5.0)
    loose = PcmeLoss(StudentSettings(kl_weight=1.0))(a, b)
    guarded = PcmeLoss(StudentSettings(kl_weight=1.0, kl_limit=20.0))(a, b)
    kl_a = -0.5 * (1 + a.log_var - a.mean**2 - a.log_var.exp()).mean()
    assert loose.kl > 20
    assert guarded.kl.item() == pytest.approx(kl_a.item(), rel=1e-5)
    guarded.total.backward()
    assert torch.isfinite(b.log_var.grad).all()


def test_float32_under_bfloat16_autocast():
    random = np.random.default_rng(1)
    a, b = gaussian(random, 6, 32), gaussian(random, 6, 32)
    criterion = PcmeLoss(StudentSettings())
    plain = criterion(a, b).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert criterion(a, b).total.item() == plain.item()


def test_no_tensor_of_pairs_times_width():
    """B 512, D 512: the formula's (B, B, D) tensor alone would hold 512 MiB."""
    random = np.random.default_rng(2)
    a, b = gaussian(random, 512, 512), gaussian(random, 512, 512)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        PcmeLoss(StudentSettings())(a, b).total.backward()
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert 512 * 512 * 4 <= largest < 64e6
