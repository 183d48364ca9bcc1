"""Other students and external embeddings, by name and path, through the evaluation stage."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.ecg import RECORDS
from data_contracts.evaluation import PREDICTIONS, REGRESSIONS, REPORT
from echoingecg.common import StoreError, UserError
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages


def again(run: Run, *overrides: str) -> Run:
    recipe = find_recipe("smoke", ["evaluation.tuning.methods=[]", *overrides])
    return run_stages(make_job(recipe, str(run.job.export), str(run.job.workspace.root)))


@pytest.mark.slow
def test_models_by_name_and_path(copied: Run) -> None:
    first = copied.artefacts["evaluation"]
    tuned = {"fine_tune", "lora", "scratch", "zero_shot_teacher", "zero_shot_teacher_centred", "ecg_measurements"}
    assert tuned <= set(PREDICTIONS.read(first.folder)["protocol"].to_pylist())
    hashes = RECORDS.read(copied.artefacts["ecg"].folder)["content_hash"].to_pylist()
    vectors = np.random.default_rng(0).normal(size=(len(hashes), 4)).tolist()
    path = copied.job.workspace.root / "merl.parquet"
    pq.write_table(pa.table({"content_hash": hashes, "embedding": vectors}), path)
    student = str(copied.artefacts["student"])
    asked = (f"evaluation.compare=[{student}]", f"evaluation.external={{merl: {path}}}")
    both = again(copied, *asked)
    assert all(cached for stage, cached in both.cached.items() if stage != "evaluation")
    predictions = PREDICTIONS.read(both.artefacts["evaluation"].folder).to_pandas()
    scores = predictions.pivot_table(index=["endpoint", "record_id"], columns="protocol", values="score")
    assert scores["zero_shot"].equals(scores[f"zero_shot@{student}"])
    assert "linear_probe@merl" in scores
    assert "ridge@merl" in REGRESSIONS.read(both.artefacts["evaluation"].folder)["protocol"].to_pylist()

    warning = "It is not known which patients these models were trained on: merl."
    pages = [(made.folder / REPORT).read_text() for made in (first, both.artefacts["evaluation"])]
    assert [warning in page for page in pages] == [False, True], "a student of this workspace is known"

    pq.write_table(pa.table({"content_hash": hashes, "embedding": vectors[::-1]}), path)
    other = again(copied, *asked)
    assert other.versions["evaluation"] != both.versions["evaluation"]


def test_models_that_are_not_there_are_named(copied: Run) -> None:
    with pytest.raises(StoreError, match=r"evaluation\.compare: no artefact named 'student-0000'"):
        again(copied, "evaluation.compare=[student-0000]")
    with pytest.raises(StoreError, match="is no student"):
        again(copied, f"evaluation.compare=[{copied.artefacts['pairs']}]")
    with pytest.raises(UserError, match=r"evaluation\.external 'merl': .*No such file"):
        again(copied, "evaluation.external={merl: /nowhere/merl.parquet}")
