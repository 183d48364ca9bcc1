"""What outputs say of whose data it was: the export decides, whatever the teacher is called."""

import json
import re
import shutil
from pathlib import Path

import pytest

from data_contracts.conventions import ORIGIN_FILE, merged_origins, origin_in_words
from data_contracts.prediction import READINGS
from echoingecg.common import StoreError, read_origin
from echoingecg.prediction.files import list_ecgs
from echoingecg.teacher.networks.open_clip import DEMO_FOLDER
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from tasks.all_stages import WORKS
from tasks.operations.students import find_reader, predict_files, title

QUICK = [
    "student.epochs=1",
    "evaluation.stress_ecgs=0",
    "evaluation.bootstrap_draws=20",
    "evaluation.few_shot.cases=[]",
]


@pytest.mark.parametrize(
    ("origin", "teacher"),
    [
        ("hospital", "simulated"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (("simulated", "simulated"), ("simulated", "not stated"), ("hospital", "not stated"))
        ),
    ],
)
def test_outputs_say_simulated_by_the_export_alone(origin: str, teacher: str, finished: Run, tmp_path: Path) -> None:
    """The teacher is a copy of the demo's, under another name, with or without word of its echoes."""
    shutil.copytree(DEMO_FOLDER, tmp_path / "echo-clip-of-patients")
    shutil.copytree(finished.job.export, tmp_path / "export")
    if teacher == "not stated":
        (tmp_path / "echo-clip-of-patients" / ORIGIN_FILE).unlink()
    if origin == "hospital":
        (tmp_path / "export" / ORIGIN_FILE).unlink()
    settings = [*QUICK, "catalog.public_key=''", f"teacher.model=local-dir:{tmp_path / 'echo-clip-of-patients'}"]
    recipe = find_recipe("smoke", settings)
    run = run_stages(make_job(recipe, str(tmp_path / "export"), str(tmp_path / "workspace")))
    model = find_reader(run.job.store, "")
    student, echoes = origin_in_words(origin), origin_in_words(teacher)
    assert title(model).endswith(
        f"Trained on ECGs of {student}, by a teacher of echoes of {echoes}; thresholds are of {student}."
    )
    ecgs = list_ecgs([str(tmp_path / "export" / "mimic-iv-ecg" / "files")])[:2]
    (predicted,) = predict_files(model, ecgs, "")
    assert set(predicted.readings["trained_on"].to_pylist()) == {origin}
    assert set(predicted.numbers["trained_on"].to_pylist()) == {origin}
    assert "trained_on" in READINGS.schema.names
    for name in ("report.html", "model_card.md"):
        page = " ".join((run.artefacts["evaluation"].folder / name).read_text(encoding="utf-8").split())
        banners = re.findall(r"simulated: not for patients|\*\*Simulated\.\*\*", page)
        assert len(banners) == (origin == "simulated"), name
        assert f"ECGs of {student}, by a teacher of echoes of {echoes}" in page


def test_a_public_key_makes_an_export_public_and_sites_are_named_together(finished: Run, tmp_path: Path) -> None:
    for name, origin in (("a", None), ("b", "hospital"), ("c", "simulated")):
        shutil.copytree(finished.job.export, tmp_path / name)
        (tmp_path / name / ORIGIN_FILE).unlink()
        if origin:
            (tmp_path / name / ORIGIN_FILE).write_text(json.dumps({"origin": origin}))
    recipe, workspace = find_recipe("smoke", ["simulator=null"]), str(tmp_path / "workspace")
    for names, expected in (("a", "public"), ("b", "hospital"), ("abc", "simulated and public and hospital")):
        first, *more = (f"{name}={tmp_path / name}" for name in names)
        job = make_job(recipe, first, workspace, more_exports=more)
        assert WORKS["catalog"].plan(job, {}).source["origin"] == expected
    assert merged_origins(["hospital", "public and simulated"]) == "simulated and public and hospital"


@pytest.mark.parametrize("content", ["", "[]", '{"origin": "somewhere"}', '"simulated"', "\xff"])
def test_a_file_that_states_no_origin_is_refused(content: str, tmp_path: Path) -> None:
    assert read_origin(tmp_path) is None
    (tmp_path / ORIGIN_FILE).write_bytes(content.encode("latin-1"))
    with pytest.raises(StoreError, match=ORIGIN_FILE):
        read_origin(tmp_path)


def test_a_student_without_lineage_says_that_nothing_is_stated(copied: Run) -> None:
    store, student = copied.job.store, copied.artefacts["student"]
    assert store.trained_on(student) == "simulated"
    for stage in ("evaluation", "catalog"):
        shutil.rmtree(store.folder(stage, copied.versions[stage]))
    assert store.trained_on(student) == "not stated"
    assert title(find_reader(store, "")).endswith("Trained on ECGs of patients that are not stated.")
