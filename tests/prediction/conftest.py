"""A tiny student that was trained, judged and published as files, with its ECG files; and a stored workspace."""

import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import echoingecg
from echoingecg.common import no_progress
from echoingecg.ecg.process import process
from echoingecg.ecg.quality import strictest_rule
from echoingecg.evaluation.data.inputs import EvaluationInputs, EvaluationPairs
from echoingecg.evaluation.data.models import read_models
from echoingecg.evaluation.decision.answers import answer_ecgs
from echoingecg.evaluation.evaluate import make_card
from echoingecg.evaluation.protocols.classification import decide_endpoints, score_endpoint
from echoingecg.evaluation.protocols.regression import RegressionResult, evaluate_regression, with_answers
from echoingecg.evaluation.protocols.trust import CohortTrust
from echoingecg.evaluation.tables.build import answer_columns, prediction_columns
from echoingecg.prediction.predictor import Reader
from echoingecg.recipe import EcgSettings, EvaluationSettings
from echoingecg.simulator.ecg.heart_vector import draw_beats
from echoingecg.simulator.ecg.record import DURATION, simulate_ecg, write_wfdb
from echoingecg.simulator.population.patient import sample_heart
from echoingecg.student.store import load, save
from echoingecg.student.train import train
from helpers.cases.evaluation_case import LVEF, NO_FEW_SHOT, ArraySignals, lvef_below, make_inputs
from helpers.cases.reading_cards import STORED_STUDENT, renew_card
from helpers.cases.student_data import ONE_THREAD, settings, training_data
from helpers.paths import ROOT

PATIENTS = 40
ECG = EcgSettings(band_high=35.0)  # not the default: a reader must take the card's


@dataclass(frozen=True)
class Judgement:
    """Two artefact folders, what the evaluation was given and gave, and file i of its ECG i."""

    student: Path
    evaluation: Path
    inputs: EvaluationInputs
    files: list[str]
    predictions: pd.DataFrame
    numbers: list[RegressionResult]

    def reader(self) -> Reader:
        return Reader.load(self.student, self.evaluation)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stored workspace, with an alias. Read only."""
    root = tmp_path_factory.mktemp("api") / "work [old]"
    with tarfile.open(ROOT / "tests/data/pinned_workspace.tar.xz") as archive:
        archive.extractall(root, filter="data")
    aliases = root / "artefacts" / "aliases"
    aliases.mkdir()
    (aliases / "production").write_text(f"{STORED_STUDENT}\n")
    renew_card(root)
    return root


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """WFDB headers of eight simulated ECGs."""
    folder = tmp_path_factory.mktemp("ecgs")
    for seed in range(8):
        random = np.random.default_rng(seed)
        heart = sample_heart(random)
        write_wfdb(folder / str(seed), simulate_ecg(heart, draw_beats(heart, DURATION, random), random))
    return [folder / f"{seed}.hea" for seed in range(8)]


@pytest.fixture(scope="session")
def model(workspace: Path) -> echoingecg.EcgModel:
    return echoingecg.load("production", workspace=workspace)


@pytest.fixture(scope="session")
def judgement(tmp_path_factory: pytest.TempPathFactory) -> Judgement:
    root = tmp_path_factory.mktemp("reading")
    student, evaluation = root / "student", root / "evaluation"
    for folder in (student, evaluation):
        folder.mkdir()
    save(train(training_data(samples=1000), settings(), ONE_THREAD, root / "scratch"), student)
    files = [root / "ecgs" / f"{number}" for number in range(2 * PATIENTS)]
    hearts = [_heart(seed) for seed in range(8)]
    for number, file in enumerate(files):
        signal = np.roll(hearts[number % 8], 37 * number, axis=1) * (0.8 + number / 200)
        signal[7] *= number % 9 > 0  # every ninth has a flat lead
        write_wfdb(file, signal)
    processed = [process(file, ECG) for file in files]
    use = [strictest_rule(ecg.quality, ecg.findings, ECG) for ecg in processed]
    assert use.count("refer") == 9
    signals = ArraySignals(np.stack([ecg.signal for ecg in processed]))
    inputs = make_inputs(PATIENTS, student=load(student), signals=signals, ecg=ECG)
    records = inputs.records.set_column(inputs.records.schema.get_field_index("use"), "use", pa.array(use))
    inputs = replace(inputs, records=records.cast(inputs.records.schema))
    judge = EvaluationSettings(
        endpoints=(lvef_below(50), lvef_below(60)),
        regressions=(LVEF,),
        few_shot=NO_FEW_SHOT,
        miscoverage=0.3,
        calibration="platt",
    )
    pairs = EvaluationPairs.from_inputs(inputs)
    models = read_models(inputs, pairs, judge, no_progress)
    trust = CohortTrust.from_models(inputs, pairs, models, judge)
    scored = [score_endpoint(endpoint, inputs, pairs, models, trust, judge) for endpoint in judge.endpoints]
    number = evaluate_regression(LVEF, inputs, pairs, models, trust, judge)
    assert number.number is not None
    results = decide_endpoints(scored, trust, judge, [number.number])
    card = make_card(results, inputs, trust, judge, [number.number])
    card.save(evaluation)
    said = answer_ecgs(card, "expected_echo", models.ecgs.mean, models.trunk, trust.is_referred)
    predictions = pd.concat(
        pd.DataFrame(prediction_columns(result, of) | answer_columns(result, of)).assign(
            typicality=trust.distance[result.record], is_answerable=result.is_answerable
        )
        for result in results
        for of in result.protocols
    )
    numbers = [with_answers(number, said.numbers)]
    return Judgement(student, evaluation, inputs, [f"{file}.hea" for file in files], predictions, numbers)


@pytest.fixture(scope="session")
def reader(judgement: Judgement) -> Reader:
    return judgement.reader()


def _heart(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    heart = sample_heart(random)
    return simulate_ecg(heart, draw_beats(heart, DURATION, random), random)
