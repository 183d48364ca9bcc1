"""The artefact's files: round trip, equal bytes, and clear errors for damaged folders."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from data_contracts.student import ARCHITECTURE, HISTORY, SCALER, TOKENIZER, WEIGHTS
from echoingecg.common import ContractError, StoreError
from echoingecg.student.model.text_encoder import TokenisedTexts, wrap
from echoingecg.student.store import load, save
from echoingecg.student.train import TrainedStudent, train
from helpers.cases.student_data import DIM, ONE_THREAD, settings, training_data

TEXTS = ["a 3. b 4.", "Never seen", "c -2."]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> TrainedStudent:
    return train(training_data(), settings(), ONE_THREAD, tmp_path_factory.mktemp("scratch"))


@pytest.fixture
def folder(trained, tmp_path):
    save(trained, tmp_path)
    return tmp_path


def test_embeddings_survive_the_round_trip(trained, folder):
    signals = training_data(patients=70).signals.array
    student = load(folder)
    with torch.inference_mode():
        expected = trained.objective.student.encode_ecg(torch.from_numpy(trained.scaler.standardise(signals)))
    for found, one in zip(student.embed_ecg(signals), expected, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, one.numpy(), atol=1e-6)
    tokens = TokenisedTexts.from_texts(trained.tokenizer, [wrap(text, "ECHO") for text in TEXTS], 0)
    with torch.inference_mode():
        expected = trained.objective.student.encode_text(*tokens.batch(np.arange(3)))
    for found, one in zip(student.embed_text(TEXTS, "ECHO"), expected, strict=True):
        np.testing.assert_allclose(found, one.numpy(), atol=1e-6)
    assert student.settings == trained.settings
    assert student.scale == trained.objective.criterion.scale.item() != 5.0
    assert student.shift == trained.objective.criterion.shift.item()


def test_method_matters_and_batches_do_not(folder):
    student = load(folder)
    assert not np.array_equal(student.embed_text(TEXTS, "ECG")[0], student.embed_text(TEXTS, "ECHO")[0])
    alone = student.embed_text(TEXTS[:1], "ECG")[0]
    np.testing.assert_allclose(student.embed_text(TEXTS, "ECG")[0][:1], alone, atol=1e-6)


def test_nothing_in_nothing_out(folder):
    student = load(folder)
    assert student.embed_text([], "ECG")[0].shape == (0, DIM)
    assert student.embed_ecg(np.empty((0, 12, 1000), np.float32))[1].shape == (0, DIM)
    with pytest.raises(ContractError, match=r"\(3, 1000\)"):
        student.embed_ecg(np.empty((3, 1000), np.float32))


def test_equal_students_equal_bytes(trained, folder, tmp_path_factory):
    again = train(training_data(), settings(), ONE_THREAD, tmp_path_factory.mktemp("again"))
    other = tmp_path_factory.mktemp("other")
    save(again, other)
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted([WEIGHTS, ARCHITECTURE, SCALER, TOKENIZER, HISTORY.filename])
    for name in names:
        assert (folder / name).read_bytes() == (other / name).read_bytes()


def test_towers_are_stored_under_the_released_names(folder):
    names = load_file(folder / WEIGHTS).keys()
    assert {name.split(".")[0] for name in names} == {"ecg_encoder", "text_encoder", "criterion"}
    assert {"criterion.scale", "criterion.shift", "ecg_encoder.conv1.weight"} <= names


def change_weights(folder, change) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)


def test_weights_with_a_missing_unknown_or_misshapen_name(folder):
    change_weights(folder, lambda weights: weights.update(extra=torch.zeros(1)))
    with pytest.raises(ContractError, match="hold unknown 'extra'"):
        load(folder)
    change_weights(folder, lambda weights: (weights.pop("extra"), weights.pop("ecg_encoder.linear.bias")))
    with pytest.raises(ContractError, match=r"lack 'ecg_encoder\.linear\.bias'"):
        load(folder)
    change_weights(folder, lambda weights: weights.update({"ecg_encoder.linear.bias": torch.zeros(2)}))
    with pytest.raises(ContractError, match=r"'ecg_encoder.linear.bias' has shape \(2,\)"):
        load(folder)


@pytest.mark.parametrize("name", [WEIGHTS, ARCHITECTURE, SCALER, TOKENIZER])
@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe junk", b"{}", b"[1]"])
def test_missing_and_damaged_files_are_one_clear_line(folder, name, content):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises((StoreError, ContractError)) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"text_config": None}, {"text_config": {"model_type": "nonsense"}}, {"student": {"epochs": -1}}]
)
def test_an_architecture_that_is_none(folder, change):
    path = folder / ARCHITECTURE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ContractError):
        load(folder)
