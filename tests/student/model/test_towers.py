"""Towers against golden outputs, released names, and slow obvious oracles."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from transformers import BertConfig

from echoingecg.recipe import ModelSettings
from echoingecg.student.model.gaussian_heads import GaussianHeads, GeneralisedPooling, pool, position_code, rank_weights
from echoingecg.student.model.student import EcgEncoder, Student
from echoingecg.student.model.text_encoder import backbone_from_config, text_tower
from helpers.cases.student_data import settings


def test_golden_outputs_of_the_released_layout(golden):
    folder = golden / "released_layout"
    config = json.loads((folder / "config.json").read_text())
    student = Student(ModelSettings(embed_dim=64, init_dim=8, gpo_dim=32), backbone_from_config(config["bert"]))
    student.load_state_dict(load_file(folder / "state_dict.safetensors"), strict=True)
    case = {name: torch.tensor(array) for name, array in np.load(folder / "io.npz").items()}
    with torch.inference_mode():
        ecg = student.eval().encode_ecg(case["ecg"])
        text = student.encode_text(case["ids"], case["attention_mask"])
    for found, name in (
        *zip(ecg, ("ecg_mean", "ecg_log_var"), strict=True),
        *zip(text, ("text_mean", "text_log_var"), strict=True),
    ):
        torch.testing.assert_close(found, case[name], rtol=0, atol=1e-5)


def test_full_size_has_the_released_names_and_shapes(golden):
    expected = json.loads((golden / "released_layout/full_model_keys.json").read_text())
    with torch.device("meta"):
        student = Student(ModelSettings(), backbone_from_config(BertConfig(vocab_size=28996).to_diff_dict()))
    found = {name: list(tensor.shape) for name, tensor in student.state_dict().items()}
    assert len(found) == 669
    assert found == expected
    assert sum(one.numel() for one in student.ecg_encoder.parameters()) == pytest.approx(126.6e6, rel=1e-3)


def slow_weights(operator: GeneralisedPooling, length: int) -> torch.Tensor:
    """One operator, one length, torch's own GRU."""
    states, _ = operator.gru(position_code(length, operator.gru.input_size, torch.device("cpu"))[None])
    forward, backward = states.chunk(2, dim=2)
    return torch.softmax(operator.linear((forward + backward) / 2)[0, :, 0] / 0.1, dim=0)


@hypothesis_settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(1, 9), st.integers(0, 2**16))
def test_pooling_equals_one_sequence_at_a_time(lengths: list[int], width: int, seed: int):
    torch.manual_seed(seed)
    operators = [GeneralisedPooling(width), GeneralisedPooling(width)]
    length = torch.tensor(lengths)
    features = torch.randn(len(lengths), int(length.max()), 5)
    weights = rank_weights(operators, length)
    for operator, weight in zip(operators, weights, strict=True):
        found = pool(features, weight, length)
        for row, size in enumerate(lengths):
            ranked = torch.sort(features[row, :size], dim=0, descending=True).values
            expected = (slow_weights(operator, size)[:, None] * ranked).sum(0)
            torch.testing.assert_close(found[row], expected, rtol=1e-5, atol=1e-6)


def test_weights_learn_as_the_gru_of_torch_does():
    torch.manual_seed(0)
    operator = GeneralisedPooling(6)
    target = torch.randn(9)
    (rank_weights([operator], torch.tensor([9]))[0, 0] * target).sum().backward()
    fast = {name: one.grad.clone() for name, one in operator.named_parameters()}
    operator.zero_grad()
    (slow_weights(operator, 9) * target).sum().backward()
    for name, one in operator.named_parameters():
        torch.testing.assert_close(fast[name], one.grad, rtol=1e-4, atol=1e-6)


def test_padding_changes_nothing_and_gradients_are_finite():
    torch.manual_seed(0)
    heads = GaussianHeads(6, 4, 8)
    features = torch.randn(3, 10, 6)
    lengths = torch.tensor([10, 1, 4])
    other = features.clone()
    other[1, 1:], other[2, 4:] = 1e6, -1e6
    for one, two in zip(heads.pool(features, lengths), heads.pool(other, lengths), strict=True):
        torch.testing.assert_close(one, two)
    gaussian = heads.pool(other.requires_grad_(), lengths)
    (gaussian.mean.sum() + gaussian.log_var.sum()).backward()
    assert torch.isfinite(other.grad).all()
    assert torch.equal(other.grad[1, 1:], torch.zeros(9, 6))


def test_position_code():
    code = position_code(4, 5, torch.device("cpu")).numpy()
    for position in range(4):
        for column in range(5):
            angle = position / 10_000 ** ((column - column % 2) / 5)
            assert code[position, column] == pytest.approx(np.cos(angle) if column % 2 else np.sin(angle), abs=1e-6)


@hypothesis_settings(max_examples=8, deadline=None)
@given(st.integers(1, 3), st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(1, 6), st.integers(9, 70))
def test_any_size_gives_unit_means(init_dim: int, factors: list[int], embed_dim: int, samples: int):
    model = ModelSettings(
        init_dim=init_dim, width_factors=tuple(factors), blocks=(1,) * len(factors), embed_dim=embed_dim, gpo_dim=3
    )
    encoder = EcgEncoder(model).eval()
    with torch.inference_mode():
        gaussian = encoder(torch.randn(2, 12, samples))
    assert gaussian.mean.shape == gaussian.log_var.shape == (2, embed_dim)
    torch.testing.assert_close(gaussian.mean.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("start", [-4.0, None])
def test_log_variance_starts_where_the_recipe_says(start):
    torch.manual_seed(0)
    model = settings().model.model_copy(update={"log_var_start": start})
    student = Student(model, text_tower(model, ["a b c"]).backbone).eval()
    with torch.inference_mode():
        ecg = student.encode_ecg(torch.randn(4, 12, 300)).log_var
        text = student.encode_text(torch.randint(4, 8, (4, 9)), torch.ones(4, 9, dtype=torch.int64)).log_var
    for log_var in (ecg, text):
        assert log_var.mean().item() == pytest.approx(start or 0.0, abs=0.3)
        assert (log_var.std().item() < 0.1) == (start is not None)


def test_modules_hold_only_parameters_that_are_used():
    """All but BERT's pooler, which the released layout holds too, gets a gradient."""
    student = Student(settings().model, text_tower(settings().model, ["a b"]).backbone)
    ecg, text = (
        student.encode_ecg(torch.randn(2, 12, 100)),
        student.encode_text(*[torch.ones(2, 5, dtype=torch.int64)] * 2),
    )
    sum(((one * torch.randn_like(one)).sum() for one in (*ecg, *text)), torch.zeros(())).backward()
    idle = [name for name, one in student.named_parameters() if one.grad is None]
    assert idle == ["text_encoder.backbone.pooler.dense.weight", "text_encoder.backbone.pooler.dense.bias"]
    assert isinstance(student, nn.Module)
