"""On a simulated hospital the student knows something of hearts it has never seen; shuffled pairs teach nothing.

Asked by the teacher's texts: the echo loss alone brings the ECGs to the teacher's echoes, beside which these lie.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from sklearn.metrics import roc_auc_score

from data_contracts import pairs
from echoingecg.evaluation.data.embed import GaussianTable
from echoingecg.evaluation.protocols.zero_shot_and_probe import zero_shot_scores
from echoingecg.student.data.pairs import EchoPairs, Pairs, TrainingData
from echoingecg.student.inference import LoadedStudent
from echoingecg.student.store import load, save
from echoingecg.student.train import train
from echoingecg.teacher.networks.kind import load_teacher
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from tasks.student import training_data

RECIPE = (
    "simulator.patients=480",
    "pairs.split={train: 0.6, validation: 0.1, test: 0.3}",
    "student.text_weight=0",
    "student.epochs=16",
    "student.batch_size=16",
    "student.learning_rate=2.0e-3",
    "student.checkpoint_steps=200",
)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Run:
    from echoingecg.simulator.export import simulate

    folder = tmp_path_factory.mktemp("hospital")
    recipe = find_recipe("smoke", list(RECIPE))
    assert recipe.simulator is not None
    simulate(recipe.simulator, folder / "export")
    job = make_job(recipe, str(folder / "export"), str(folder / "workspace"))
    return run_stages(job, "catalog", "ecg", "teacher", "pairs")


def student_of(hospital: Run, data: TrainingData, folder: Path) -> LoadedStudent:
    (folder / "student").mkdir(parents=True)
    save(
        train(data, hospital.job.recipe.student, hospital.job.recipe.execution, folder / "scratch"), folder / "student"
    )
    return load(folder / "student")


def auroc(hospital: Run, data: TrainingData, student: LoadedStudent) -> float:
    """Zero-shot for LVEF < 40 %, over the ECGs of patients outside the training split."""
    endpoint = next(one for one in hospital.job.recipe.evaluation.endpoints if one.measurement == "lvef")
    folder = hospital.artefacts["pairs"].folder
    ecg_echo, labels = pairs.ECG_ECHO.read(folder), pairs.LABELS.read(folder)
    value = {
        row["study_id"]: row["value"]
        for row in labels.filter(pc.equal(labels["measurement"], endpoint.measurement)).to_pylist()
    }
    held_out = ecg_echo.filter(pc.not_equal(ecg_echo["split"], "train")).to_pylist()
    row_of = {name: row for row, name in enumerate(data.signals.record_ids)}  # type: ignore[attr-defined]
    judged = [(row_of[one["record_id"]], value[one["study_id"]]) for one in held_out if one["study_id"] in value]
    rows, lvef = (np.array(part) for part in zip(*judged, strict=True))
    ecgs = GaussianTable.from_log_var(*student.embed_ecg(data.signals.read(rows)))
    teacher = load_teacher(hospital.job.recipe.teacher, "cpu")
    sides = (
        GaussianTable.from_points(teacher.embed_text(list(prompts)))
        for prompts in (endpoint.positive_prompts, endpoint.negative_prompts)
    )
    return float(roc_auc_score(lvef < endpoint.threshold, zero_shot_scores(ecgs, *sides, student.scale)))


def shuffled(data: TrainingData, seed: int) -> TrainingData:
    """Studies dealt out to other ECGs, within the training split."""
    echo = data.train.echo
    dealt = EchoPairs(echo.ecg, np.random.default_rng(seed).permutation(echo.study))
    return replace(data, train=Pairs(dealt, data.train.text))


@pytest.mark.slow
def test_the_student_beats_chance_and_shuffled_pairs_do_not(hospital: Run, tmp_path: Path) -> None:
    data = training_data(hospital.job, hospital.artefacts)
    found = auroc(hospital, data, student_of(hospital, data, tmp_path / "real"))
    chance = [
        auroc(hospital, data, student_of(hospital, shuffled(data, seed), tmp_path / str(seed))) for seed in range(2)
    ]
    assert found > 0.7
    assert np.mean(chance) < 0.62
    assert found > max(chance) + 0.1
