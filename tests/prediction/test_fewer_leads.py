"""A student that was trained on fewer leads reads files of these, and no others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import wfdb
from sklearn.metrics import roc_auc_score

from data_contracts.conventions import LEAD_SETS, LEADS, LeadSet
from data_contracts.evaluation import LEAD_SETS as LEAD_SETS_TABLE
from data_contracts.evaluation import METRICS, PREDICTIONS
from echoingecg.ecg.decode.recording.leads import leads_of_set
from echoingecg.evaluation.decision.reading_card import LoadedReadingCard
from echoingecg.evaluation.evaluate import evaluate
from echoingecg.prediction.predictor import Reader
from echoingecg.recipe import EvaluationSettings
from echoingecg.recipe.ecg import EcgSettings
from echoingecg.recipe.stages import LeadMasking
from echoingecg.student.store import load, save
from echoingecg.student.train import train
from helpers.cases.evaluation_case import NO_FEW_SHOT, lvef_below
from helpers.cases.student_data import ONE_THREAD, settings, training_data
from helpers.paths import Recording

MASKED = LeadMasking(share=0.75, sets=("six", "one"), random=0.3)


@pytest.fixture(scope="module")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, scratch = tmp_path_factory.mktemp("student"), tmp_path_factory.mktemp("scratch")
    save(train(training_data(samples=1000), settings(leads=MASKED), ONE_THREAD, scratch), folder)
    return folder


def written(folder: Path, source: Path, leads: tuple[str, ...]) -> str:
    record = wfdb.rdrecord(str(source.with_suffix("")))
    rows = [[spelling.upper() for spelling in record.sig_name].index(lead.upper()) for lead in leads]
    formats = {"fmt": ["16"] * len(rows), "adc_gain": [1000.0] * len(rows), "baseline": [0] * len(rows)}
    names = {"units": ["mV"] * len(rows), "sig_name": list(leads)}
    wfdb.wrsamp("part", fs=record.fs, p_signal=record.p_signal[:, rows], write_dir=str(folder), **names, **formats)
    return str(folder / "part.hea")


@pytest.mark.parametrize("name", ["twelve", "six", "two", "one"])
def test_records_of_trained_sets_are_embedded_as_masked_twelve_leads_are(
    student_folder: Path, recording: Recording, tmp_path: Path, name: str
) -> None:
    """Slow: the whole record, filtered, standardised by hand, and 0 in the leads that are not there."""
    source = recording("ptbxl/records500/00000/00001_hr.hea")
    reader = Reader.without_card(student_folder, EcgSettings())
    block = reader.read([written(tmp_path, source, LEAD_SETS[name])])
    (whole,) = reader.read([str(source)]).processed
    scaler = reader.student.scaler
    by_hand = ((whole.signal - scaler.mean[:, None]) / scaler.scale[:, None]).astype(np.float32)
    by_hand[[row for row, lead in enumerate(LEADS) if lead not in leads_of_set(name)]] = 0
    unscaled = replace(reader.student, scaler=replace(scaler, mean=np.zeros(12), scale=np.ones(12)))
    mean, _ = unscaled.embed_ecg(by_hand[None])
    np.testing.assert_allclose(block.mean, mean, atol=2e-3 if name == "two" else 1e-5)
    assert reader.is_referred(block.processed).tolist() == [name != "twelve"]


@pytest.mark.parametrize("leads", [("V1",), ("II", "V1", "V2")])
def test_other_leads_are_refused_and_both_are_named(
    student_folder: Path, recording: Recording, tmp_path: Path, leads: tuple[str, ...]
) -> None:
    file = written(tmp_path, recording("ptbxl/records500/00000/00001_hr.hea"), leads)
    (row,) = Reader.without_card(student_folder, EcgSettings()).embed([file]).to_pylist()
    assert row["reason"] == "missing_leads"
    assert f"found {', '.join(leads)}; expected" in row["detail"]
    assert row["detail"].endswith("or six (I, II, III, aVR, aVF, aVL); or one (I)")


def test_a_student_of_twelve_leads_refuses_fewer(reader: Reader, recording: Recording, tmp_path: Path) -> None:
    file = written(tmp_path, recording("ptbxl/records500/00000/00001_hr.hea"), ("I",))
    rows = reader.predict([file]).readings.to_pylist()
    assert [row["reason"] for row in rows] == ["missing_leads"]
    assert "found I; expected I, II, III, aVR, aVF, aVL, V1 to V6" in rows[0]["detail"]


def test_a_reading_of_fewer_leads_is_referred_with_a_score(
    judgement, student_folder: Path, recording: Recording, tmp_path: Path
) -> None:
    """By a card that was made of twelve leads; width and features are the same."""
    reader = judgement.reader()
    fewer = replace(reader, student=load(student_folder))
    file = written(tmp_path, recording("ptbxl/records500/00000/00001_hr.hea"), ("I",))
    for row in fewer.predict([file]).readings.to_pylist():
        assert row["advice"] == "refer"
        assert 0 <= row["score"] <= 1
        assert "absent" in row["findings"]
        assert "finding" in row["doubts"]


@pytest.fixture(scope="module")
def judged(judgement, student_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of the student of fewer leads, on twelve leads and on each of its sets."""
    folder = tmp_path_factory.mktemp("evaluation")
    endpoints = (lvef_below(50), lvef_below(60))
    judge = EvaluationSettings(
        endpoints=endpoints,
        few_shot=NO_FEW_SHOT,
        miscoverage=0.3,
        calibration="platt",
        bootstrap_draws=20,
        stress_ecgs=0,
    )
    evaluate(replace(judgement.inputs, student=load(student_folder)), judge, folder)
    return folder


@pytest.mark.parametrize("name", ["six", "one"])
def test_files_of_a_set_are_answered_as_the_evaluation_of_that_set_says(
    judgement, student_folder: Path, judged: Path, tmp_path: Path, name: LeadSet
) -> None:
    """AUROC and the share answered of files that hold these leads alone, against the evaluation's table."""
    reader = Reader.with_card(load(student_folder), LoadedReadingCard.load(judged))
    number = {record: row for row, record in enumerate(judgement.inputs.record_ids)}
    rows = LEAD_SETS_TABLE.read(judged).to_pylist()
    predictions = [row for row in PREDICTIONS.read(judged).to_pylist() if row["split"] == "test"]
    for endpoint in ("LVEF below 50 %", "LVEF below 60 %"):
        labels = {
            row["record_id"]: row["label"]
            for row in predictions
            if (row["endpoint"], row["protocol"]) == (endpoint, reader.card.card.answered_by)
        }
        answers = {}
        for record in labels:
            place = tmp_path / record
            place.mkdir(exist_ok=True)
            file = written(place, Path(judgement.files[number[record]]), LEAD_SETS[name])
            readings = {row["endpoint"]: row for row in reader.predict([file]).readings.to_pylist()}
            answers[record] = readings[endpoint]
        stated = {
            row["metric"]: row["value"]
            for row in rows
            if (row["endpoint"], row["protocol"], row["leads"]) == (endpoint, reader.card.card.answered_by, name)
        }
        scores = [answers[record]["score"] for record in labels]
        assert stated["auroc"] == pytest.approx(roc_auc_score(list(labels.values()), scores), abs=1e-6)
        is_flat = [number[record] % 9 == 0 for record in labels]  # V2: not among the file's leads
        answered = [answers[record]["advice"] == "predict" for record in labels]
        of_sound = sum(is_told and not flat for is_told, flat in zip(answered, is_flat, strict=True))
        assert stated["answered_share"] == pytest.approx(of_sound / len(labels))
        assert all("absent" in answer["findings"] for answer in answers.values())
        assert not any("finding" in answer["doubts"] for answer in answers.values())


def test_the_sets_of_a_student_are_on_the_report_and_beside_its_card(judged: Path) -> None:
    table = LEAD_SETS_TABLE.read(judged)
    assert list(dict.fromkeys(table["leads"].to_pylist())) == ["twelve", "six", "one"]
    twelve = {
        (row["endpoint"], row["protocol"]): row["value"]
        for row in table.to_pylist()
        if (row["leads"], row["metric"]) == ("twelve", "auroc")
    }
    main = {
        (row["endpoint"], row["protocol"]): row["value"]
        for row in METRICS.read(judged).to_pylist()
        if (row["group"], row["metric"]) == ("all", "auroc")
    }
    assert twelve
    assert twelve == {key: main[key] for key in twelve}
    assert "With fewer leads" in (judged / "report.html").read_text()
    assert set(LoadedReadingCard.load(judged).fewer) == {"six", "one"}


def test_masked_training_helps_where_leads_are_missing(tmp_path: Path) -> None:
    """Mean cosine of six-lead ECGs and their studies, of patients that were held out; three seeds."""
    gains = []
    for seed in range(3):
        data = training_data(patients=160, held_out=40, seed=seed)
        signal = data.signals.read(data.validation.echo.ecg).copy()
        signal[:, 6:] = 0
        cosines = []
        for name, leads in (("plain", LeadMasking()), ("masked", LeadMasking(share=0.7, sets=("six",)))):
            recipe = settings(epochs=15, batch_size=30, leads=leads, echo_weight=1, text_weight=0)
            trained = train(data, recipe, ONE_THREAD, tmp_path / f"{name}{seed}")
            folder = tmp_path / f"{name}{seed}-student"
            folder.mkdir()
            save(trained, folder)
            mean, _ = load(folder).embed_ecg(signal)
            cosines.append(float((mean * data.target_mean[data.validation.echo.study]).sum(axis=1).mean()))
        gains.append(cosines[1] - cosines[0])
    assert min(gains) > 0.02
