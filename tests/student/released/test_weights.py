"""Released weights in and out: golden outputs, bit for bit, every key accounted for, nothing run."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, DistilBertConfig

from data_contracts.student import HISTORY
from echoingecg.common import ContractError, StoreError
from echoingecg.recipe import ModelSettings
from echoingecg.student.data.transforms import Scaler
from echoingecg.student.inference import LoadedStudent
from echoingecg.student.loss import Objective
from echoingecg.student.model.student import Student
from echoingecg.student.model.text_encoder import text_tower
from echoingecg.student.released.layout import (
    check_layout,
    expected_layout,
    export_released,
    implied_architecture,
    read_released,
    read_weights,
    save_released,
)
from echoingecg.student.released.text_tower import BertSizes, sizes_of
from echoingecg.student.store import load
from helpers.cases.released_files import Case, line_of
from helpers.cases.student_data import settings


def imported(case: Case) -> LoadedStudent:
    folder = case.folder / "student"
    folder.mkdir()
    save_released(case.read(), folder)
    return load(folder)


def test_golden_outputs_through_the_artefact(case, golden):
    student = imported(case)
    io = np.load(golden / "released_layout/io.npz")
    standardised, scaler = io["ecg"], student.scaler
    millivolt = (standardised * scaler.scale[:, None] + scaler.mean[:, None]).astype(np.float32)
    mean, log_var = student.embed_ecg(millivolt)
    np.testing.assert_allclose(mean, io["ecg_mean"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(log_var, io["ecg_log_var"], rtol=0, atol=1e-5)
    with torch.inference_mode():
        text = student.objective.student.encode_text(
            torch.from_numpy(io["ids"]), torch.from_numpy(io["attention_mask"])
        )
    np.testing.assert_allclose(text.mean, io["text_mean"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(text.log_var, io["text_log_var"], rtol=0, atol=1e-5)


def test_the_artefact_is_whole_and_says_what_the_files_lacked(case):
    student = imported(case)
    mean, _ = student.embed_text(["LVEF is 45 %.", "the echo report " * 40], "ECHO")
    np.testing.assert_allclose(np.linalg.norm(mean, axis=1), 1, rtol=1e-5)
    assert (student.scale, student.shift) == (5.0, 5.0)
    assert student.settings.model == ModelSettings(init_dim=8, embed_dim=64, text="imported", text_tokens=64)
    folder = case.folder / "student"
    assert HISTORY.read(folder).num_rows == 0
    note = json.loads((folder / "released.json").read_text())
    assert (note["scale"], note["shift"], note["tensors"]) == (5.0, 5.0, 509)
    assert "published starts" in note["note"]


def test_out_equals_in_bit_for_bit_and_goes_in_again(case):
    student = imported(case)
    out = case.folder / "out"
    names = [path.name for path in export_released(student, out)]
    assert sorted(names) == sorted(path.name for path in out.iterdir())
    found = load_file(out / "echoingecg.safetensors")
    assert found.keys() == case.state.keys()
    for name, tensor in case.state.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert found[name].numpy().tobytes() == tensor.numpy().tobytes(), name
    again = read_released(out / "echoingecg.safetensors", out / "ecg_scaler.json", str(out))
    first = case.read()
    assert again.settings == first.settings
    assert again.digests() == first.digests()
    assert np.array_equal(again.scaler.mean, first.scaler.mean)
    assert np.array_equal(again.scaler.scale, first.scaler.scale)
    with pytest.raises(StoreError, match="not empty"):
        export_released(student, out)


def test_an_export_as_a_torch_file_is_what_came_in(case):
    """The two lines of docs/released.md."""
    out = case.folder / "out"
    export_released(imported(case), out)
    torch.save(load_file(out / "echoingecg.safetensors"), out / "echoingecg.pt")
    again = torch.load(out / "echoingecg.pt", weights_only=True)
    assert again.keys() == case.state.keys()
    assert all(again[name].equal(tensor) for name, tensor in case.state.items())


def test_a_student_of_ours_goes_out_and_in(tmp_path):
    """Another architecture than the published one: the exported config.json says which."""
    chosen = settings()
    tower = text_tower(chosen.model, ["one two three"])
    scaler = Scaler(np.arange(12.0), np.arange(1.0, 13.0))
    objective = Objective(Student(chosen.model, tower.backbone), chosen).eval()
    student = LoadedStudent(chosen, objective, tower.tokenizer, scaler, torch.device("cpu"))
    export_released(student, tmp_path / "out")
    weights = tmp_path / "out/echoingecg.safetensors"
    again = read_released(weights, tmp_path / "out/ecg_scaler.json", str(tmp_path / "out"))
    assert again.settings.model == chosen.model
    state = objective.student.state_dict()
    assert again.weights.keys() == state.keys()
    assert all(again.weights[name].equal(tensor) for name, tensor in state.items())
    (tmp_path / "out/config.json").unlink()
    with pytest.raises(ContractError, match="--text-config"):
        read_released(weights, tmp_path / "out/ecg_scaler.json", str(tmp_path / "out"))


def test_a_tower_that_is_no_bert_has_no_released_names():
    with torch.device("meta"):
        assert sizes_of(AutoModel.from_config(BertConfig())) == BertSizes(vocab_size=30_522)
        with pytest.raises(ContractError, match="distilbert"):
            sizes_of(AutoModel.from_config(DistilBertConfig(n_layers=1)))


def test_views_of_one_block_of_memory_are_taken_apart(case):
    """As cuDNN leaves a GRU's weights, and a transposed one."""
    names = [name for name in case.state if ".gru." in name]
    block = torch.cat([case.state[name].flatten() for name in names])
    pieces = block.split([case.state[name].numel() for name in names])
    views = {name: piece.view_as(case.state[name]) for name, piece in zip(names, pieces, strict=True)}
    linear = "ecg_encoder.linear.weight"
    case.write({**case.state, **views, linear: case.state[linear].T.contiguous().T})
    assert not read_weights(case.weights)[linear].is_contiguous()
    export_released(imported(case), case.folder / "out")
    found = load_file(case.folder / "out/echoingecg.safetensors")
    assert all(found[name].equal(tensor) for name, tensor in case.state.items())


def test_every_key_of_the_full_size_is_accounted_for(golden):
    keys = json.loads((golden / "released_layout/full_model_keys.json").read_text())
    layout = expected_layout(ModelSettings(), BertSizes(vocab_size=28_996))
    assert {name: list(tensor.shape) for name, tensor in layout.items()} == keys
    assert len(keys) == 669
    assert {tensor.device.type for tensor in layout.values()} == {"meta"}
    path = golden / "echoingecg.pt"
    assert implied_architecture(layout, {}, path, path) == (ModelSettings(), BertSizes(vocab_size=28_996))
    # One stored number stands for each whole tensor: full shapes without a gigabyte.
    whole = {name: torch.zeros((), dtype=one.dtype).expand(one.shape) for name, one in layout.items()}
    for name in keys:
        one_less = {other: tensor for other, tensor in whole.items() if other != name}
        implied = implied_architecture(one_less, {}, path, path)
        assert implied == (ModelSettings(), BertSizes(vocab_size=28_996)), name
        with pytest.raises(ContractError, match=f"of 669 keys: 1 missing, first '{name}'$"):
            check_layout(one_less, layout, path)
        misshaped = whole | {name: torch.zeros(*whole[name].shape, 2)[:0]}
        with pytest.raises(ContractError, match=f"of 669 keys: 1 misshaped, first '{name}' is "):
            check_layout(misshaped, layout, path)


def test_no_key_of_the_small_model_may_miss_or_change(case):
    shortest = min(case.state, key=len)
    for name in ("ecg_encoder.conv1.weight", "ecg_encoder.linear.bias", "text_encoder.gpool.linear.weight", shortest):
        case.write({other: tensor for other, tensor in case.state.items() if other != name})
        assert f"of 509 keys: 1 missing, first '{name}'" in line_of(case)
        case.write({**case.state, name: case.state[name][..., :-1]})
        assert f"of 509 keys: 1 misshaped, first '{name}' is (" in line_of(case)


def test_faults_are_counted_and_the_first_is_named(case):
    last = [name for name in case.state if name.startswith("ecg_encoder.layer3.22.")]
    kept = {name: tensor for name, tensor in case.state.items() if name not in last}
    case.write({**kept, "criterion.scale": torch.ones(1), "a\nb" * 100: torch.ones(1)})
    line = line_of(case)
    assert f"{len(last)} missing, first 'ecg_encoder.layer3.22." in line, "no smaller model is made of it"
    assert "2 unknown, first 'criterion.scale'" in line
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in case.state.items()}
    case.write(half)
    assert "of another dtype, first 'ecg_encoder.linear.weight' is torch.float16" in line_of(case)
    case.write({**case.state, "ecg_encoder.bn1.bias": torch.full((8,), torch.nan)})
    assert "1 not finite, first 'ecg_encoder.bn1.bias'" in line_of(case)


@pytest.mark.parametrize(
    ("wrap", "says"),
    [
        (lambda state: {"state_dict": state}, "wrapped under 'state_dict'"),
        (lambda state: {f"module.{name}": tensor for name, tensor in state.items()}, "starts with 'module.'"),
        (lambda state: list(state.values()), "holds a list, not a state dict"),
        (lambda state: {**state, "epoch": 3}, "'epoch' is no dense tensor"),
        (lambda state: {**state, 7: torch.ones(1)}, "7 is no dense tensor"),
        (lambda state: {**state, "x": torch.eye(2).to_sparse()}, "'x' is no dense tensor"),
        (lambda state: {**state, "x": torch.zeros(1).expand(10**9)}, "promises more numbers"),
        (lambda state: {}, "of 669 keys: 669 missing"),
    ],
    ids=["state_dict", "module", "list", "number", "key", "sparse", "promise", "empty"],
)
def test_only_a_plain_state_dict(case, wrap, says):
    case.write(wrap(case.state))
    if says.endswith("669 missing"):
        (case.folder / "config.json").unlink()  # the published sizes then
    assert says in line_of(case)


class Hostile:
    """Makes a folder when unpickled."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_torch_file_runs_nothing(case, zipped):
    canary = case.folder / "canary"
    torch.save({**case.state, "x": Hostile(canary)}, case.weights, _use_new_zipfile_serialization=zipped)
    assert "nothing was run" in line_of(case)
    assert not canary.exists()
    torch.load(case.weights, weights_only=False)
    assert canary.exists(), "the file was hostile"


def test_older_torch_files_are_read(case):
    torch.save(case.state, case.weights, _use_new_zipfile_serialization=False)
    assert case.read().counts()["tensors"] == 509


@pytest.mark.parametrize("name", ["echoingecg.pt", "echoingecg.safetensors"])
def test_damaged_and_missing_files_are_one_line(case, name):
    path = case.folder / name
    save_file(case.state, path) if path.suffix == ".safetensors" else case.write(case.state)
    whole = path.read_bytes()
    junk = np.random.default_rng(0).bytes(500)
    for content in (
        b"",
        b"PK",
        junk,
        whole[: len(whole) // 2],
        whole[:200],
        junk + whole[500:],
        pickle.dumps({"a": 1}),
    ):
        path.write_bytes(content)
        with pytest.raises((ContractError, StoreError)) as caught:
            read_released(path, case.scaler, case.text)
        assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(StoreError, match="No such file"):
        read_released(path, case.scaler, case.text)
