"""A student as a hub's folder: what is loaded from it answers as the student did."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import echoingecg
from data_contracts.evaluation import METRICS
from data_contracts.manifest import DamagedError
from echoingecg.common import StoreError, UserError
from echoingecg.prediction.hub import CARD
from helpers.cases.stage_runs import Run

LICENCE = "cc-by-nc-4.0"


@pytest.fixture(scope="module")
def judged(finished: Run) -> echoingecg.EcgModel:
    folders = (finished.artefacts[stage].folder for stage in ("student", "evaluation"))
    student, evaluation = folders
    return echoingecg.load(student, evaluation=evaluation)


@pytest.fixture(scope="module")
def folder(judged: echoingecg.EcgModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "heart"
    echoingecg.export_hub(judged, folder, name="owner/heart", licence=LICENCE)
    return folder


def test_a_round_trip_answers_the_same(
    judged: echoingecg.EcgModel, folder: Path, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Path(shutil.copytree(folder, tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(elsewhere))
    for name in (str(elsewhere), "hf-hub:owner/heart"):
        loaded = echoingecg.load(name)
        assert loaded.predict(files).equals(judged.predict(files))
        assert loaded.embed(files).equals(judged.embed(files))
        assert loaded.predict_numbers(files).equals(judged.predict_numbers(files))


def test_the_card_is_one_that_the_hub_reads(judged: echoingecg.EcgModel, folder: Path) -> None:
    card = ModelCard.load(folder / CARD)
    assert (card.data.license, card.data.library_name, card.data.model_name) == (LICENCE, "echoingecg", "heart")
    assert judged.evaluation is not None
    answered_by = judged.reader.card.card.answered_by
    table = METRICS.read(judged.evaluation).to_pandas().set_index(["endpoint", "protocol", "group", "metric"])["value"]
    for result in card.data.eval_results:
        endpoint = result.task_name.removesuffix(f" by {answered_by}")
        assert result.metric_value == table[endpoint, answered_by, "all", result.metric_name]
    assert {result.metric_type for result in card.data.eval_results} == {"roc_auc", "balanced_accuracy"}
    assert all("simulated patients" in result.dataset_name for result in card.data.eval_results)
    assert "**Simulated.**" in card.text, "the evaluation's own card follows"
    assert 'echoingecg.load("hf-hub:owner/heart")' in card.text
    assert not {path.suffix for path in folder.iterdir()} - {".safetensors", ".json", ".md"}


def test_a_damaged_copy_is_not_loaded(folder: Path, files: list[Path], tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    weights = broken / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DamagedError, match=r"model\.safetensors is damaged"):
        echoingecg.load(broken)


def test_what_cannot_be_exported_is_said(
    judged: echoingecg.EcgModel, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match="is not empty"):
        echoingecg.export_hub(judged, folder, name="heart", licence=LICENCE)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="owner/heart cannot be written to"):
        echoingecg.push_to_hub(judged, "owner/heart", licence=LICENCE, folder=tmp_path / "pushed")
