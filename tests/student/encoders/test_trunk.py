"""The pipeline's signal becomes an encoder's input, and tuning moves what it says."""

from typing import Literal

import numpy as np
import pytest
import torch
from scipy.signal import resample_poly
from torch import Tensor, nn

from data_contracts.conventions import LEADS
from echoingecg.common import RecipeError, UserError
from echoingecg.student.encoders.kind import CLINICAL_LEADS, EncoderInput, Normalisation, encoder_kind
from echoingecg.student.encoders.trunk import LowRank, Preparation, Trunk, add_low_rank
from helpers.encoders.own import Tiny

OWN = "helpers.encoders.own:Tiny"
TUNINGS: tuple[Literal["full", "frozen", "lora"], ...] = ("full", "frozen", "lora")


def signals(samples: int = 1000) -> np.ndarray:
    random = np.random.default_rng(samples)
    wave = np.sin(np.arange(samples) / 100 * 2 * np.pi * random.uniform(1, 10, (3, 12, 1)))
    return (wave + random.normal(0, 0.1, (3, 12, samples)) + random.normal(0, 1, (3, 12, 1))).astype(np.float32)


def by_hand(ecgs: np.ndarray, declared: EncoderInput) -> np.ndarray:
    """What an encoder is given, lead by lead in float64."""
    up, down = declared.rate.as_integer_ratio()
    every = []
    for ecg in ecgs.astype(np.float64):
        leads = [ecg[LEADS.index(lead)] for lead in declared.leads]
        if up != down:
            leads = [resample_poly(lead, up, down, padtype="edge") for lead in leads]
        x = np.array(leads)
        if declared.normalisation == "ecg":
            x = (x - x.mean()) / (x.std() + 1e-8)
        elif declared.normalisation == "lead":
            x = np.array([(lead - lead.mean()) / (lead.std() or 1) for lead in x])
        elif declared.normalisation == "ecg_range":
            x = (x - x.min()) / (x.max() - x.min() + 1e-8)
        elif declared.normalisation == "lead_range":
            x = np.array([2 * (lead - lead.min()) / (lead.max() - lead.min() + 1e-8) - 1 for lead in x])
        windows = max(x.shape[1] // declared.samples, 1)
        padded = np.pad(x, ((0, 0), (0, max(declared.samples - x.shape[1], 0))))
        parts = [padded[:, k * declared.samples : (k + 1) * declared.samples] for k in range(windows)]
        every.append(np.stack(parts))
    return np.stack(every)


@pytest.mark.parametrize("normalisation", ["none", "training", "ecg", "lead", "ecg_range", "lead_range"])
@pytest.mark.parametrize(("rate", "samples"), [(500, 5000), (500, 2500), (100, 500), (250, 400), (128, 2000), (40, 90)])
def test_input_is_resampled_reordered_normalised_and_cut(normalisation: Normalisation, rate: int, samples: int) -> None:
    declared = EncoderInput(rate, samples, normalisation, CLINICAL_LEADS)
    made = Preparation(declared)(torch.from_numpy(signals()))
    expected = by_hand(signals(), declared)
    assert made.shape == expected.shape
    assert made.dtype == torch.float32
    np.testing.assert_allclose(made.numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("normalisation", ["ecg", "lead", "ecg_range", "lead_range"])
def test_leads_that_are_not_there_stay_constant(normalisation: Normalisation) -> None:
    ecgs = signals()
    ecgs[:, 3:] = 0
    ecgs[2] = 0  # nothing at all
    declared = EncoderInput(500, 2500, normalisation, LEADS)
    made = Preparation(declared)(torch.from_numpy(ecgs))
    assert made.isfinite().all()
    assert (made[:, :, 3:].std(dim=3) < 1e-6).all()
    np.testing.assert_allclose(made.numpy(), by_hand(ecgs, declared), atol=2e-5)
    if normalisation == "lead":
        assert (made[:, :, 3:] == 0).all()


def test_the_input_is_exact_under_autocast() -> None:
    trunk = Trunk(encoder_kind(OWN, OWN), {}, Spy(), "full", 1)
    ecgs = torch.from_numpy(signals())
    plain = trunk(ecgs)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(trunk(ecgs), plain)


class Spy(nn.Module):
    """Returns its input as features: time steps of as many channels as there are leads."""

    width = 8

    def forward(self, ecg: Tensor) -> Tensor:
        return ecg.transpose(1, 2)


def test_windows_follow_one_another_in_time() -> None:
    trunk = Trunk(encoder_kind(OWN, OWN), {}, Spy(), "full", 1)
    features = trunk(torch.from_numpy(signals()))
    windows = by_hand(signals(), Tiny.encoder_input)
    assert windows.shape == (3, 2, 8, 250)
    np.testing.assert_allclose(features.numpy(), windows.transpose(0, 1, 3, 2).reshape(3, 500, 8), atol=2e-5)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((0, 100, "lead"), "a rate that is to 100 Hz"),
        ((100, 0, "lead"), "it needs samples"),
        ((101.03, 100, "lead"), "a rate that is to 100 Hz"),
        ((100, 100, "z"), "normalisation 'z'"),
        ((100, 100, "lead", ("I", "I")), "name each once"),
        ((100, 100, "lead", ("X",)), "name each once"),
        ((100, 100, "lead", ()), "name each once"),
    ],
)
def test_impossible_inputs_are_refused(values: tuple, says: str) -> None:
    with pytest.raises(UserError, match=says):
        EncoderInput(*values)


@pytest.mark.parametrize("tuning", TUNINGS)
def test_tuning_moves_what_it_says(tuning: Literal["full", "frozen", "lora"]) -> None:
    torch.manual_seed(0)
    trunk = Trunk(encoder_kind(OWN, OWN), {}, Tiny(), tuning, 2).train()
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    ecgs = torch.from_numpy(signals())
    optimizer = torch.optim.AdamW([one for one in trunk.parameters() if one.requires_grad] or [nn.Parameter(ecgs)])
    for _ in range(3):
        optimizer.zero_grad()
        features = trunk(ecgs)
        if features.requires_grad:
            features.square().mean().backward()
        optimizer.step()
    moved = {name for name, value in trunk.state_dict().items() if not torch.equal(value, before[name])}
    assert features.requires_grad == (tuning != "frozen")
    if tuning == "frozen":
        assert moved == set()
        assert torch.equal(trunk(ecgs), features), "dropout is off"
    elif tuning == "lora":
        adapters = {name for name in before if ".down." in name or ".up." in name}
        assert moved == adapters
        assert {name.rpartition(".down")[0] for name in adapters if "down" in name} == {
            f"network.{layer}" for layer in ("stem", "deep", "out")
        }
    else:
        assert {"network.stem.weight", "network.norm.running_mean", "network.attention.in_proj_weight"} <= moved


def test_adapters_begin_as_nothing() -> None:
    plain, adapted = Tiny().eval(), Tiny().eval()
    adapted.load_state_dict(plain.state_dict())
    add_low_rank(adapted, 3)
    x = torch.randn(2, 8, 250)
    torch.testing.assert_close(adapted(x), plain(x))
    add_low_rank(adapted, 3)  # once more: no adapter beside an adapter
    assert sum(isinstance(one, LowRank) for one in adapted.modules()) == 3
    assert {name for name, one in adapted.named_parameters() if one.requires_grad} == {
        f"{layer}.{side}.weight" for layer in ("stem", "deep", "out") for side in ("down", "up")
    }
    with pytest.raises(RecipeError, match="no layer takes a low-rank adapter"):
        add_low_rank(nn.Sequential(nn.BatchNorm1d(3)), 2)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("helpers.encoders.own:Nobody", "has no attribute 'Nobody'"),
        ("helpers.encoders.nowhere:Tiny", "No module named"),
        ("helpers.encoders.own:NoInput", r"must be an nn\.Module with `encoder_input`"),
        ("helpers.encoders.own:CLINICAL", "has no attribute"),
        ("helpers.encoders.layouts:ecgfounder", r"must be an nn\.Module"),
    ],
)
def test_what_is_no_encoder_is_one_line(name: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as refusal:
        encoder_kind(name, name)
    assert "\n" not in str(refusal.value)


def test_features_must_be_a_sequence() -> None:
    name = "helpers.encoders.own:Flat"
    with pytest.raises(RecipeError, match=r"maps \(2, 8, 250\) to \(2, 8\); it must be \(2, time, width\)"):
        encoder_kind(name, name).load("")
