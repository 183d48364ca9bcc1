"""Partners that occur twice in a batch: matches, against explicit match matrices and autograd."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch.nn import functional as F

from echoingecg.recipe import StudentSettings
from echoingecg.student.data import batches
from echoingecg.student.data.pairs import EchoPairs, Pairs, TextPairs
from echoingecg.student.data.transforms import fit_scaler
from echoingecg.student.loss import InfoNceLoss, LossTerms, Objective, PcmeLoss, repeated_partners
from echoingecg.student.model.gaussian_heads import GaussianTensor
from echoingecg.student.model.student import Student
from echoingecg.student.model.text_encoder import text_tower
from helpers.cases.student_data import settings, training_data

FLOAT32_SUM = 2**-20  # as in test_loss.py
SETTINGS = {"pcmepp": StudentSettings(kl_weight=0.01), "mean_only": StudentSettings(loss="mean_only"),
            "infonce": StudentSettings(loss="infonce", temperature_start=0.2)}  # fmt: skip


def criterion_of(loss: str) -> PcmeLoss | InfoNceLoss:
    return InfoNceLoss(SETTINGS[loss]) if loss == "infonce" else PcmeLoss(SETTINGS[loss])


def gaussians(seed: int, identity: np.ndarray, dim: int, copies: bool) -> list[GaussianTensor]:
    """ECGs and their partners; with `copies` equal partners have equal Gaussians, as studies have."""
    random, pairs = np.random.default_rng(seed), []
    for rows in (np.arange(len(identity)), identity if copies else np.arange(len(identity))):
        mean = random.normal(size=(len(identity), dim))
        mean /= np.linalg.norm(mean, axis=1, keepdims=True)
        log_var = -3 + 0.3 * random.normal(size=(len(identity), dim))
        pairs.append(GaussianTensor(*(torch.tensor(one[rows], dtype=torch.float32) for one in (mean, log_var))))
    return [GaussianTensor(*(part.requires_grad_() for part in pair)) for pair in pairs]


def explicit(loss: str, a: GaussianTensor, b: GaussianTensor, same: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The loss by its match matrix `same` (B, B) bool, in float64."""
    recipe, bce = SETTINGS[loss], F.binary_cross_entropy_with_logits
    if loss == "infonce":
        logits = F.cosine_similarity(a.mean[:, None], b.mean[None], dim=2) / recipe.temperature_start
        share = same.double() / same.sum(dim=1, keepdim=True)
        ways = [-(share * view.log_softmax(dim=1)).sum(dim=1).mean() for view in (logits, logits.T)]
        return (ways[0] + ways[1]) / 2, 0
    distance = (a.mean[:, None] - b.mean[None]).square().sum(-1)
    if loss == "pcmepp":
        distance = distance + a.log_var.exp().sum(1)[:, None] + b.log_var.exp().sum(1)
    logits = recipe.shift_start - recipe.scale_start * distance
    own = logits.diagonal()
    positive = [same | (logits >= own[:, None]), same | (logits >= own)]
    total = recipe.match_weight * bce(logits, same.double())
    total = total + recipe.pseudo_positive_weight * sum(bce(logits, one.double()) for one in positive)
    if loss == "pcmepp":
        for one in (a, b):
            kl = 0.5 * (one.mean.square() + one.log_var.exp() - 1 - one.log_var).mean()
            total = total + recipe.kl_weight * kl
    return total, sum(int(one.sum()) for one in positive) - 2 * int(same.sum())


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(SETTINGS)), st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**16), st.booleans())
def test_equals_the_explicit_match_matrix_with_gradients(loss: str, size: int, texts: int, seed: int, copies: bool):
    identity = np.random.default_rng(seed).integers(0, min(texts, size), size)
    pair = gaussians(seed, identity, 6, copies)
    terms: LossTerms = criterion_of(loss)(*pair, repeated_partners(torch.from_numpy(identity)))
    terms.total.backward()
    exact = [GaussianTensor(*(part.detach().double().requires_grad_() for part in one)) for one in pair]
    expected, n_pseudo = explicit(loss, *exact, torch.from_numpy(identity[:, None] == identity))
    expected.backward()
    assert int(terms.n_pseudo) == n_pseudo
    assert terms.total.item() == pytest.approx(expected.item(), rel=1e-5, abs=FLOAT32_SUM * 100)
    for one, oracle in zip(pair, exact, strict=True):
        for part, other in zip(one, oracle, strict=True):
            if other.grad is not None:
                np.testing.assert_allclose(part.grad.numpy(), other.grad.numpy(), rtol=1e-5, atol=FLOAT32_SUM * 50)


@pytest.mark.parametrize("loss", sorted(SETTINGS))
def test_where_all_partners_differ_nothing_changes_by_a_bit(loss: str):
    results = []
    for repeats in ((), (repeated_partners(torch.arange(30).flip(0)),)):
        pair = gaussians(1, np.arange(30), 16, copies=False)
        terms = criterion_of(loss)(*pair, *repeats)
        terms.total.backward()
        gradients = [part.grad for one in pair for part in one if part.grad is not None]
        results.append([*(term for term in terms if term is not None), *gradients])
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def test_a_repeated_partner_is_no_negative():
    """Two ECGs with one report: an ECG that lies on it is pushed away as a negative, and not as a match."""
    report = F.normalize(torch.ones(2, 4), dim=1)
    low = torch.full((2, 4), -5.0)
    gradients = []
    for identity in (torch.tensor([0, 1]), torch.tensor([0, 0])):
        log_var = low.clone().requires_grad_()
        pair = (GaussianTensor(report, log_var), GaussianTensor(report, low))
        PcmeLoss(StudentSettings())(*pair, repeated_partners(identity)).total.backward()
        gradients.append(log_var.grad)
    assert (gradients[0] < 0).all(), "more variance would lower the loss"
    assert (gradients[1] > 0).all()


def repeating() -> tuple[batches.Feed, Pairs]:
    """Four reports, one of them three times, once of the other examination; two ECGs of one study."""
    ecg, words = np.arange(6), ("Normal.", "AF.", "Normal.", "Normal.", "Old MI.", "AF.")
    text = TextPairs(ecg, words, ("ECG", "ECG", "ECHO", "ECG", "ECG", "ECG"))
    data = training_data(patients=6, held_out=0)
    data = replace(data, train=Pairs(EchoPairs(ecg, np.array([3, 0, 5, 3, 1, 2])), text))
    tower = text_tower(settings().model, batches.prompt_texts(text))
    scaler = fit_scaler(data.signals, ecg)
    return batches.Feed(data, data.train, scaler, tower, torch.device("cpu")), data.train


def test_equal_texts_and_one_study_are_the_same_partner():
    feed, _ = repeating()
    rows = np.array([5, 3, 2, 1, 0])
    text = feed.identity(batches.Batch("ecg_text", rows))
    assert (text[:, None] == text).nonzero().tolist() == [[0, 0], [0, 3], [1, 1], [1, 4], [2, 2], [3, 0], [3, 3],
                                                          [4, 1], [4, 4]]  # fmt: skip
    echo = feed.identity(batches.Batch("ecg_echo", rows))
    repeats = repeated_partners(echo)
    assert repeats is not None
    assert [index.tolist() for index in repeats] == [[1, 4], [4, 1]]
    assert repeated_partners(echo[:4]) is None


@pytest.mark.parametrize("kind", ["ecg_echo", "ecg_text"])
def test_the_recipe_decides(kind):
    feed, train = repeating()
    batch = batches.Batch(kind, np.arange(6))
    totals = {}
    for rule in ("match", "negative"):
        torch.manual_seed(0)
        recipe = settings(same_partner=rule)
        tower = text_tower(recipe.model, batches.prompt_texts(train.text))
        objective = Objective(Student(recipe.model, tower.backbone), recipe).eval()
        signal, partner, identity = feed.batch(batch)
        totals[rule] = objective(signal, partner, identity).total.item(), objective(signal, partner).total.item()
    assert totals["negative"][0] == totals["negative"][1] == totals["match"][1], "as published: one match a row"
    assert totals["match"][0] != totals["match"][1]
