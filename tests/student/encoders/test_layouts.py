"""Pretrained encoders on random weights in their published layout: equal to an oracle, and refused by key."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from data_contracts.conventions import LEADS
from echoingecg.common import UserError
from echoingecg.student.encoders.kind import CLINICAL_LEADS, EncoderKind, encoder_identity, encoder_kind
from helpers.encoders import layouts, oracles

WIDE = {"stem": 8, "widths": (8, 24, 24, 40), "blocks": (2, 1, 2, 1), "kernel": 16, "group": 4, "classes": 3}
BLOCKS = (2, 1, 2, 1)
SMALL_FM = {"channels": 12, "width": 128, "inner": 96, "layers": 2, "reach": 16, "groups": 4}
SMALL_HUBERT = layouts.HUBERT_BASE | {
    "hidden_size": 48, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2,
    "conv_dim": [16] * 5, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "classifier_proj_size": 8,
}  # fmt: skip
SHAPES = {
    "ecgfounder": layouts.ecgfounder(**WIDE),
    "merl": layouts.merl(4, BLOCKS),
    "ecg-fm": layouts.ecg_fm(**SMALL_FM),
    "hubert-ecg": layouts.hubert_ecg(SMALL_HUBERT),
}
ORACLES: dict[str, Callable[[Any, Any], np.ndarray]] = {
    "ecgfounder": lambda ecg, weights: oracles.ecgfounder(ecg, weights, WIDE["blocks"], WIDE["group"]),
    "merl": lambda ecg, weights: oracles.merl(ecg, weights, BLOCKS),
    "ecg-fm": lambda ecg, weights: oracles.ecg_fm(ecg, weights, 2, 2, SMALL_FM["groups"]),
    "hubert-ecg": lambda ecg, weights: oracles.hubert_ecg(ecg, weights, SMALL_HUBERT),
}
STEPS = {"ecgfounder": 157, "merl": 313, "ecg-fm": 156, "hubert-ecg": 93}  # of one window
NEEDED = {  # a name that the encoder needs, of whose shape others may not differ
    "ecgfounder": "stage_list.1.block_list.0.se_fc1.weight",
    "merl": "layer3.0.shortcut.0.weight",
    "ecg-fm": "encoder.layers.1.self_attn.k_proj.bias",
    "hubert-ecg": "encoder.layers.1.attention.k_proj.bias",
}
NAMES = sorted(SHAPES)


def kind(name: str) -> EncoderKind:
    return encoder_kind(name, "")


def written(name: str, folder: Path, weights: dict[str, torch.Tensor] | None = None) -> Path:
    """A file of random weights in the published layout; with the configuration beside it, where there is one."""
    path = folder / "model.safetensors"
    save_file(layouts.random_weights(SHAPES[name]) if weights is None else weights, path)
    if name == "hubert-ecg":
        (folder / "config.json").write_text(json.dumps(SMALL_HUBERT))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_the_published_architecture(name: str, tmp_path: Path) -> None:
    _, network = kind(name).load(str(written(name, tmp_path)))
    declared = kind(name).declared
    ecg = np.random.default_rng(1).normal(size=(2, 12, declared.samples))
    weights = {key: value.double().numpy() for key, value in layouts.random_weights(SHAPES[name]).items()}
    with torch.inference_mode():
        features = network.eval()(torch.from_numpy(ecg).float())
    assert features.shape == (2, STEPS[name], network.width)
    expected = np.stack([ORACLES[name](one, weights) for one in ecg])
    assert expected.std() > 0.1, "the weights must let something through"
    np.testing.assert_allclose(features.numpy(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_published_size_has_the_published_names(name: str) -> None:
    """Every name and shape of the published configuration, apart from what the kind says that it leaves out."""
    full = {
        "ecgfounder": layouts.ecgfounder(),
        "merl": layouts.merl(),
        "ecg-fm": layouts.ecg_fm(),
        "hubert-ecg": layouts.hubert_ecg(layouts.HUBERT_BASE),
    }[name]
    here = kind(name)
    with torch.device("meta"):
        weights = {key: torch.empty(shape) for key, shape in full.items()}
        needed = {key: value for key, value in weights.items() if not pattern(here).fullmatch(key)}
        if name == "hubert-ecg":
            config = {key: value for key, value in layouts.HUBERT_BASE.items() if key in HUBERT_SIZES}
        else:
            config = here.config(needed, Path("weights.safetensors"))
        network = here.build(config)
    found = {key.removeprefix(here.prefix): tuple(value.shape) for key, value in network.state_dict().items()}
    assert found == {key: tuple(value.shape) for key, value in needed.items()}


def pattern(here: EncoderKind) -> Any:
    import re

    return re.compile(here.not_needed)


HUBERT_SIZES = set(layouts.HUBERT_BASE) - {
    "apply_spec_augment", "architectures", "auto_map", "classifier_proj_size", "ensemble_length", "final_dropout",
    "layerdrop", "mask_time_length", "mask_time_prob", "model_type", "num_feat_extract_layers", "vocab_sizes",
}  # fmt: skip


def test_the_layout_of_ecg_fm_has_the_parameters_that_its_authors_count() -> None:
    """README of bowang-lab/ECG-FM: the base model has 90,883,072."""
    assert sum(int(np.prod(shape)) for shape in layouts.ecg_fm().values()) == 90_883_072


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", ["missing", "unknown", "of another shape", "not finite"])
def test_wrong_layouts_are_refused_by_key(name: str, change: str, tmp_path: Path) -> None:
    weights = layouts.random_weights(SHAPES[name])
    key = NEEDED[name]
    if change == "missing":
        del weights[key]
    elif change == "unknown":
        key = "extra.weight"
        weights[key] = torch.zeros(2)
    elif change == "of another shape":
        weights[key] = torch.zeros(*weights[key].shape, 1)
    else:
        weights[key][0] = torch.nan
    with pytest.raises(UserError) as refusal:
        kind(name).load(str(written(name, tmp_path, weights)))
    line = str(refusal.value)
    assert change in line
    assert f"'{key}'" in line
    assert "\n" not in line
    assert line.startswith(f"student.encoder_weights {tmp_path}")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", NAMES)
def test_a_file_of_another_encoder_is_refused(name: str, other: str, tmp_path: Path) -> None:
    if name == other:
        return
    path = written(other, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(SMALL_HUBERT))
    with pytest.raises(UserError, match=r"student\.encoder_weights .*: (not the layout of|'\S+' is missing, empty)"):
        kind(name).load(str(path))


@pytest.mark.parametrize("name", NAMES)
def test_published_wrappings_and_older_names_give_the_same_network(name: str, tmp_path: Path) -> None:
    weights = layouts.random_weights(SHAPES[name])
    _, plain = kind(name).load(str(written(name, tmp_path)))
    wrapper = {"ecgfounder": "state_dict", "ecg-fm": "model", "hubert-ecg": "model_state_dict"}.get(name)
    older = layouts.older_weight_norm(weights)
    path = tmp_path / "published.pth"
    torch.save({wrapper: older, "step": 3, "lr": 0.1} if wrapper else older, path)
    _, other = kind(name).load(str(path))
    assert plain.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in plain.state_dict().items())


def test_the_whole_model_of_merl_gives_its_encoder(tmp_path: Path) -> None:
    whole = layouts.random_weights(layouts.merl_whole(4, BLOCKS))
    save_file(whole, tmp_path / "whole.safetensors")
    _, network = kind("merl").load(str(tmp_path / "whole.safetensors"))
    for key, value in network.state_dict().items():
        assert torch.equal(value, whole[f"ecg_encoder.{key}"]), key


def test_files_that_hold_more_than_tensors_run_nothing(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (exec, ("raise SystemExit('it ran')",))

    torch.save({"state_dict": layouts.random_weights(SHAPES["merl"]), "config": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(UserError, match=r"bomb\.pth: refused: it holds more than tensors, and nothing was run"):
        kind("merl").load(str(tmp_path / "bomb.pth"))
    torch.save({"conv1.weight": "words"}, tmp_path / "words.pth")
    with pytest.raises(UserError, match=r"'conv1\.weight' is no tensor"):
        kind("merl").load(str(tmp_path / "words.pth"))
    (tmp_path / "torn.safetensors").write_bytes(written("merl", tmp_path).read_bytes()[:500])
    with pytest.raises(UserError, match="damaged"):
        kind("merl").load(str(tmp_path / "torn.safetensors"))
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds a list"):
        kind("merl").load(str(tmp_path / "list.pth"))


def test_missing_files_and_unknown_names_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'merl' has no weights: set student\.encoder_weights"):
        kind("merl").load("")
    with pytest.raises(UserError, match=r"nothing\.pth: no such file"):
        kind("merl").load(str(tmp_path / "nothing.pth"))
    with pytest.raises(UserError, match="'resnet' is unknown: paper, ecg-fm, ecgfounder, hubert-ecg, merl, or package"):
        kind("resnet")
    written("merl", tmp_path).rename(tmp_path / "alone.safetensors")
    save_file(layouts.random_weights(SHAPES["hubert-ecg"]), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"config\.json must stand beside the weights"):
        kind("hubert-ecg").load(str(tmp_path))


def test_a_folder_stands_for_the_weights_in_it_and_content_identifies_them(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        written("hubert-ecg", folder)
    same = [encoder_identity("hubert-ecg", str(place)) for place in (first, second, first / "model.safetensors")]
    assert same[0] == same[1] == same[2]
    assert set(same[0]) == {"encoder_weights", "encoder_config"}
    assert all(len(digest) == 64 for digest in same[0].values())
    weights = layouts.random_weights(SHAPES["hubert-ecg"], seed=1)
    assert encoder_identity("hubert-ecg", str(written("hubert-ecg", first, weights))) != same[0]
    assert encoder_identity("paper", "") == {}
    kind("hubert-ecg").load(str(first))


def test_each_kind_states_the_input_that_its_authors_used() -> None:
    stated = {name: kind(name).declared for name in NAMES}
    assert {name: (one.sampling_frequency, one.samples, one.normalisation) for name, one in stated.items()} == {
        "ecgfounder": (500.0, 5000, "ecg"),
        "merl": (500.0, 5000, "ecg_range"),
        "ecg-fm": (500.0, 2500, "lead"),
        "hubert-ecg": (100.0, 500, "lead_range"),
    }
    assert stated["merl"].leads == LEADS  # of MIMIC-IV-ECG, on which it was trained
    assert {stated[name].leads for name in NAMES if name != "merl"} == {CLINICAL_LEADS}


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        ("ecgfounder", "stage_list.0.block_list.0.conv2.conv.weight", (8, 16, 16)),
        ("ecg-fm", "post_extract_proj.weight", (100, 12)),
        ("merl", "conv1.weight", (0, 12, 7)),
    ],
)
def test_sizes_that_no_network_has_are_one_line(name: str, key: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    weights = layouts.random_weights(SHAPES[name]) | {key: torch.zeros(shape)}
    with pytest.raises(UserError, match=rf"impossible|{key}") as refusal:
        kind(name).load(str(written(name, tmp_path, weights)))
    assert "\n" not in str(refusal.value)
