"""Students with encoders of others: they train, resume bit for bit, are stored, and are loaded where it is allowed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from data_contracts.student import ARCHITECTURE, SCALER, WEIGHTS
from echoingecg.common import ContractError, TrainingError, UserError
from echoingecg.prediction.locate import open_student
from echoingecg.recipe import StudentSettings, TuningSettings
from echoingecg.recipe.stages import LeadMasking
from echoingecg.student.checkpoint import FILENAME
from echoingecg.student.inference import LoadedStudent
from echoingecg.student.onnx import export_onnx
from echoingecg.student.released.layout import export_released
from echoingecg.student.store import load, save
from echoingecg.student.train import TrainedStudent, train
from helpers.cases.student_data import ONE_THREAD, settings, training_data
from helpers.encoders import layouts
from helpers.encoders.own import Tiny
from helpers.paths import ROOT, TESTS

OWN, SCALED = "helpers.encoders.own:Tiny", "helpers.encoders.own:Standardised"
TUNINGS = ("full", "frozen", "lora")
DATA = training_data(samples=1000)


class Killed(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(Tiny().state_dict(), path)
    return str(path)


def section(weights: str, tuning: str = "full", **changes: Any) -> StudentSettings:
    return settings(encoder=OWN, encoder_weights=weights, encoder_tuning=tuning, lora_rank=2, **changes)


def trunk_weights(student: TrainedStudent | LoadedStudent) -> dict[str, torch.Tensor]:
    own = student.objective.student.ecg_encoder.state_dict()
    prefix = "trunk.network."
    return {name.removeprefix(prefix): value for name, value in own.items() if name.startswith(prefix)}


@pytest.fixture(scope="module", params=TUNINGS)
def trained(request: pytest.FixtureRequest, weights: str, tmp_path_factory: pytest.TempPathFactory) -> TrainedStudent:
    return train(DATA, section(weights, request.param), ONE_THREAD, tmp_path_factory.mktemp("scratch"))


def test_tuning_moves_what_it_says(trained: TrainedStudent, weights: str) -> None:
    before, after, tuning = load_file(weights), trunk_weights(trained), trained.settings.encoder_tuning
    kept = {name: value for name, value in after.items() if ".down." not in name and ".up." not in name}
    assert {name.replace(".base.", ".") for name in kept} == before.keys()
    unmoved = {name for name, value in kept.items() if torch.equal(value, before[name.replace(".base.", ".")])}
    if tuning == "full":
        assert {"stem.weight", "norm.running_mean", "attention.in_proj_weight", "out.bias"}.isdisjoint(unmoved)
    else:
        assert unmoved == kept.keys()
    if tuning == "lora":
        assert all(value.any() for name, value in after.items() if ".up." in name)
    heads = trained.objective.student.ecg_encoder
    assert torch.isfinite(heads.linear.weight).all()
    losses = trained.history["validation_loss_ecg_echo"].to_pylist()
    assert min(losses[1:]) < losses[0]


def test_it_resumes_bit_for_bit(trained: TrainedStudent, tmp_path: Path) -> None:
    def killed(done: int, total: int, note: str = "") -> None:
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        train(DATA, trained.settings, ONE_THREAD, tmp_path, killed)
    resumed = train(DATA, trained.settings, ONE_THREAD, tmp_path)
    assert resumed.history.equals(trained.history)
    own, other = trained.objective.state_dict(), resumed.objective.state_dict()
    assert own.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in own.items())


def test_a_stored_student_is_loaded_where_its_code_is_allowed(trained: TrainedStudent, tmp_path: Path) -> None:
    save(trained, tmp_path)
    for refused in ("", "another.module:Class"):
        with pytest.raises(UserError, match=rf"'{OWN}' is code.*allow_encoder='{OWN}'"):
            load(tmp_path, allow_encoder=refused)
    student = load(tmp_path, allow_encoder=OWN)
    signals = DATA.signals.array[:3]
    with torch.inference_mode():
        expected = trained.objective.student.encode_ecg(torch.from_numpy(signals))
    for found, wanted in zip(student.embed_ecg(signals), expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)
    assert json.loads((tmp_path / ARCHITECTURE).read_text())["encoder"] == {"name": OWN, "config": {}}
    scaler = json.loads((tmp_path / SCALER).read_text())
    assert scaler["mean"] == [0.0] * 12
    assert scaler["scale"] == [1.0] * 12
    assert open_student(tmp_path, "cpu", OWN).trunk is not None


def test_a_refused_student_imports_nothing(weights: str, tmp_path: Path) -> None:
    save(train(DATA, section(weights, "frozen", epochs=1), ONE_THREAD, tmp_path / "scratch"), tmp_path)
    code = (
        "import sys; from pathlib import Path; from echoingecg.student.store import load\n"
        f"try: load(Path({str(tmp_path)!r}))\nexcept ValueError as fault: print(fault)\n"
        "print([name for name in sys.modules if name.startswith('helpers')])"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{TESTS}", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[0].startswith(f"student.encoder '{OWN}' is code")
    assert done.stdout.splitlines()[1] == "[]"


def test_damaged_cards_are_refused(trained: TrainedStudent, tmp_path: Path) -> None:
    save(trained, tmp_path)
    stored = json.loads((tmp_path / ARCHITECTURE).read_text())
    for card in (None, {}, {"name": "merl", "config": {}}, {"name": OWN, "config": 3}, [1]):
        (tmp_path / ARCHITECTURE).write_text(json.dumps(stored | {"encoder": card}))
        with pytest.raises(ContractError, match="the card of encoder"):
            load(tmp_path, allow_encoder=OWN)


def test_signals_reach_the_encoder_as_it_declares(tmp_path: Path) -> None:
    """In mV unless it takes the training ECGs' scale."""
    scaled = train(DATA, settings(encoder=SCALED, epochs=1), ONE_THREAD, tmp_path)
    assert scaled.scaler.scale.std() > 0
    save(scaled, tmp_path)
    assert load(tmp_path, allow_encoder=SCALED).embed_ecg(DATA.signals.array[:2])[0].shape == (2, 16)


def test_other_weights_are_another_training(weights: str, tmp_path: Path) -> None:
    """A checkpoint of other weights is not resumed from, although the recipe is the same."""
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(Path(weights).read_bytes())
    first = train(DATA, section(str(path), "frozen", epochs=1), ONE_THREAD, tmp_path / "a")
    assert (tmp_path / "a" / FILENAME).is_file()
    torch.manual_seed(6)
    save_file(Tiny().state_dict(), path)
    second = train(DATA, section(str(path), "frozen", epochs=1), ONE_THREAD, tmp_path / "a")
    assert not torch.equal(trunk_weights(first)["out.weight"], trunk_weights(second)["out.weight"])


def test_fewer_leads_are_read_by_a_student_that_was_masked(weights: str, tmp_path: Path) -> None:
    masked = section(weights, leads=LeadMasking(share=1.0, sets=("six", "one")))
    save(train(DATA, masked, ONE_THREAD, tmp_path / "scratch"), tmp_path)
    student = load(tmp_path, allow_encoder=OWN)
    assert student.lead_sets == ("six", "one")
    signals = DATA.signals.array[:4].copy()
    cut = signals.copy()
    cut[:, 6:] = 0
    six = student.with_lead_set("six")
    np.testing.assert_array_equal(six.embed_ecg(signals)[0], six.embed_ecg(cut)[0])
    assert not np.allclose(student.embed_ecg(signals)[0], six.embed_ecg(signals)[0])


def loaded(trained: TrainedStudent) -> LoadedStudent:
    return LoadedStudent(trained.settings, trained.objective, trained.tokenizer, trained.scaler, torch.device("cpu"))


@pytest.mark.parametrize("method", ["fine_tune", "lora", "scratch"])
def test_it_is_fine_tuned_on_labels(method: Any, trained: TrainedStudent) -> None:
    label = np.arange(40) % 2
    split = np.array(["train", "train", "validation", "validation"])[np.arange(40) % 4]
    quick = TuningSettings(epochs=1, batch_size=10)
    before = {name: value.clone() for name, value in trained.objective.state_dict().items()}
    score = loaded(trained).classify(method, lambda rows: DATA.signals.array[rows], label, split, quick, 1)
    assert np.isfinite(score).all()
    after = trained.objective.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_it_is_exported_as_onnx(trained: TrainedStudent, tmp_path: Path) -> None:
    import onnxruntime

    student = loaded(trained)
    export_onnx(student, tmp_path / "encoder.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx", providers=["CPUExecutionProvider"])
    signals = DATA.signals.array[:3]
    for found, expected in zip(
        session.run(["mean", "log_var", "features"], {"ecg": signals}),
        student.embed_ecg_with_features(signals),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_released_layout_has_no_place_for_it(trained: TrainedStudent, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=f"holds the paper's encoder, not '{OWN}'"):
        export_released(loaded(trained), tmp_path / "out")


def test_a_warm_start_takes_the_encoder_over(weights: str, tmp_path: Path) -> None:
    frozen = train(DATA, section(weights, "frozen", epochs=1), ONE_THREAD, tmp_path / "a")
    warm = settings(encoder=OWN, encoder_tuning="full", warm_start="a", lora_rank=2, epochs=1)
    second = train(DATA, warm, ONE_THREAD, tmp_path / "b", earlier=loaded(frozen))
    assert not torch.equal(trunk_weights(second)["stem.weight"], trunk_weights(frozen)["stem.weight"])
    still = warm.model_copy(update={"encoder_tuning": "frozen"})
    third = train(DATA, still, ONE_THREAD, tmp_path / "c", earlier=loaded(frozen))
    assert torch.equal(trunk_weights(third)["stem.weight"], trunk_weights(frozen)["stem.weight"])
    for changes, field in (
        ({"encoder": "paper", "encoder_tuning": "full"}, "student.encoder="),
        ({"encoder_tuning": "lora"}, "student.encoder_tuning=full or frozen, the recipe lora"),
        ({"encoder_weights": weights}, "brings the encoder's weights"),
    ):
        with pytest.raises(TrainingError, match=field):
            train(DATA, warm.model_copy(update=changes), ONE_THREAD, tmp_path / "d", earlier=loaded(frozen))


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("name", ["ecgfounder", "ecg-fm", "hubert-ecg", "merl"])
def test_a_pretrained_encoder_trains_and_is_stored_without_permission(name: str, tuning: str, tmp_path: Path) -> None:
    """No code is named: the card's sizes are enough."""
    sizes: dict[str, Any] = layouts.HUBERT_BASE | {
        "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1,
        "conv_dim": [4] * 5, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
    }  # fmt: skip
    shapes = {
        "ecgfounder": layouts.ecgfounder(4, (4, 8), (1, 1), 8, 4, 2),
        "merl": layouts.merl(2, (1, 1, 1, 1)),
        "ecg-fm": layouts.ecg_fm(4, 64, 16, 1, 8, 2),
        "hubert-ecg": layouts.hubert_ecg(sizes),
    }[name]
    save_file(layouts.random_weights(shapes), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    few = training_data(patients=16, held_out=4, samples=1000)
    recipe = settings(encoder=name, encoder_weights=str(tmp_path), encoder_tuning=tuning, epochs=1)
    trained = train(few, recipe, ONE_THREAD, tmp_path / "scratch")
    (tmp_path / "out").mkdir()
    save(trained, tmp_path / "out")
    student = load(tmp_path / "out")
    assert student.trunk is not None
    with torch.inference_mode():
        expected = trained.objective.student.encode_ecg(torch.from_numpy(few.signals.array[:2])).mean
    np.testing.assert_allclose(student.embed_ecg(few.signals.array[:2])[0], expected.numpy(), atol=1e-6)
    stored = json.loads((tmp_path / "out" / ARCHITECTURE).read_text())
    stored["encoder"]["config"] = {"nonsense": 1}
    (tmp_path / "out" / ARCHITECTURE).write_text(json.dumps(stored))
    with pytest.raises(ContractError, match="impossible"):
        load(tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encoder_weights": "x.pth"}, "are for another encoder than 'paper'"),
        ({"encoder_tuning": "frozen"}, "are for another encoder than 'paper'"),
        ({"encoder": "merl", "encoder_tuning": "lora"}, "set encoder_weights"),
        ({"encoder": "no such name"}, "pattern"),
    ],
)
def test_contradictions_of_a_recipe_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        settings(**changes)


def test_the_papers_encoder_leaves_no_trace(tmp_path: Path) -> None:
    """The section, and with it every version, is as it was before there were other encoders."""
    values = settings().model_dump(mode="json")
    assert {"encoder", "encoder_weights", "encoder_tuning", "lora_rank"}.isdisjoint(values)
    save(train(training_data(), settings(epochs=1), ONE_THREAD, tmp_path / "scratch"), tmp_path)
    assert json.loads((tmp_path / ARCHITECTURE).read_text()).keys() == {"student", "text_config"}
    assert not any("trunk" in name for name in load_file(tmp_path / WEIGHTS))
