"""The smoke recipe with an encoder of one's own, through the real stages: trained, judged, loaded, asked."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import echoingecg
from data_contracts.student import WEIGHTS
from echoingecg.common import UserError
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, copy_of, run_stages
from helpers.encoders.own import Tiny
from tasks.store import Job
from tasks.student import WORK

OWN = "helpers.encoders.own:Tiny"


def weights(path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    save_file(Tiny().state_dict(), path)
    return path


def job_with(run: Run, *overrides: str) -> Job:
    return make_job(find_recipe("smoke", list(overrides)), str(run.job.export), str(run.job.workspace.root))


@pytest.fixture(scope="module")
def frozen(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All stages with a frozen encoder, beside the undisturbed run."""
    root = tmp_path_factory.mktemp("encoders")
    file = weights(root / "tiny.safetensors", 1)
    copy = copy_of(finished, root / "workspace")
    return run_stages(
        job_with(
            copy,
            f"student.encoder={OWN}",
            f"student.encoder_weights={file}",
            "student.encoder_tuning=frozen",
            "evaluation.tuning.methods=[lora]",
        )
    )


def test_it_runs_through_all_stages(frozen: Run, finished: Run) -> None:
    assert [stage for stage, is_cached in frozen.cached.items() if not is_cached] == ["student", "evaluation"]
    made = frozen.artefacts["student"].manifest
    assert made.recipe["encoder"] == OWN
    assert made.source.keys() == {"encoder_weights", "encoder_code"}
    assert finished.artefacts["student"].manifest.source == {}
    stored = load_file(frozen.artefacts["student"].folder / WEIGHTS)
    before = load_file(made.recipe["encoder_weights"])
    assert all(torch.equal(stored[f"ecg_encoder.trunk.network.{name}"], value) for name, value in before.items())


def test_it_answers_where_its_code_is_allowed(frozen: Run) -> None:
    student, evaluation = frozen.artefacts["student"].folder, frozen.artefacts["evaluation"].folder
    with pytest.raises(UserError, match=f"allow_encoder='{OWN}'"):
        echoingecg.load(student, evaluation=evaluation)
    model = echoingecg.load(student, evaluation=evaluation, allow_encoder=OWN)
    files = sorted((frozen.job.export / "mimic-iv-ecg").rglob("*.hea"))[:3]
    answers = model.predict(files).to_pylist()
    assert {Path(row["file"]).name for row in answers} == {file.name for file in files}
    assert any(row["probability"] is not None or row["score"] is not None for row in answers)


def test_the_version_follows_the_weights_and_not_only_their_name(frozen: Run) -> None:
    job = frozen.job
    file = Path(job.recipe.student.encoder_weights)
    inputs = {stage: artefact.version for stage, artefact in frozen.artefacts.items()}
    version = WORK.plan(job, inputs).version
    assert version == frozen.artefacts["student"].version
    kept = file.read_bytes()
    try:
        weights(file, 2)
        assert WORK.plan(job, inputs).version != version
        file.unlink()
        with pytest.raises(UserError, match=r"student\.encoder_weights .*: no such file"):
            WORK.plan(job, inputs)
    finally:
        file.write_bytes(kept)
