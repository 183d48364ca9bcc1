"""What `import echoingecg` offers, on a stored workspace and on simulated recordings."""

import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

import echoingecg
from data_contracts.manifest import manifest_in
from data_contracts.prediction import GAUSSIANS, READINGS, SCORES
from echoingecg.common import ContractError, StoreError
from echoingecg.ecg.process import process
from echoingecg.recipe import EcgSettings, TuningSettings
from echoingecg.simulator.ecg.record import write_wfdb
from echoingecg.student.released.layout import export_released
from echoingecg.student.store import load as load_student
from helpers.cases.reading_cards import STORED_EVALUATION as EVALUATION
from helpers.cases.reading_cards import STORED_STUDENT as STUDENT
from helpers.cases.reading_cards import renew_card
from helpers.cases.republished import republish, version_of
from helpers.paths import ROOT


def test_a_student_is_found_by_folder_alias_version_and_evaluation(
    workspace: Path, files: list[Path], model: echoingecg.EcgModel
) -> None:
    folder = workspace / "artefacts" / STUDENT.replace("-", "/")
    expected = model.predict(files[:2])
    assert READINGS.check(expected).num_rows == 6, "three endpoints"
    for name, place in ((folder, None), (STUDENT[:12], workspace), (EVALUATION, workspace)):
        assert echoingecg.load(name, workspace=place).predict(files[:2]).equals(expected)
    given = echoingecg.load(folder, evaluation=workspace / "artefacts" / EVALUATION.replace("-", "/"))
    assert given.predict(files[:2]).equals(expected)
    assert given.predict(files[0])["endpoint"].equals(expected["endpoint"].slice(0, 3)), "one file needs no list"


def test_a_folder_is_read_whole_and_a_refused_file_is_a_row(files: list[Path], model: echoingecg.EcgModel) -> None:
    table = GAUSSIANS.check(model.embed([files[0].parent, "nowhere.hea"]))
    assert table["file"].to_pylist() == [*map(str, files), "nowhere.hea"]
    assert table["reason"].to_pylist() == [None] * 8 + ["missing_file"]


def test_what_names_no_file_is_a_type_error_never_a_row(model: echoingecg.EcgModel, files: list[Path]) -> None:
    one = model.embed(files[0])
    for named in (str(files[0]), [files[0]], (str(files[0]),), np.array([str(files[0])]), iter([files[0]])):
        assert model.embed(named).equals(one)
    for wrong in (np.zeros((2, 12, 5000)), [1], 3, None, [None]):
        with pytest.raises(TypeError):
            model.embed(wrong)  # type: ignore[arg-type]


def test_a_question_of_ones_own_is_asked_in_sentences(files: list[Path], model: echoingecg.EcgModel) -> None:
    yes, no = ["LVEF is 20 %.", "LVEF is 25 %."], "LVEF is 60 %."
    table = SCORES.check(model.zero_shot([*files, "nowhere.hea"], yes, no))
    opposite = model.zero_shot(files, no, yes)
    scores = table["score"].to_pylist()
    assert scores[8] is None
    np.testing.assert_allclose(scores[:8], 1 - np.array(opposite["score"].to_pylist()), atol=1e-9)
    with pytest.raises(echoingecg.UserError, match="at least one positive"):
        model.zero_shot(files, [], no)


def test_the_page_of_an_ecg_is_shown_by_a_notebook(files: list[Path], model: echoingecg.EcgModel) -> None:
    picture = model.plot(files[0])
    assert picture.startswith(b"\x89PNG")
    assert picture._repr_png_() == picture


def test_fine_tuning_gives_a_classifier_and_leaves_the_student(files: list[Path], model: echoingecg.EcgModel) -> None:
    before = model.embed(files)
    labels = {file: int(row % 2) for row, file in enumerate(files)} | {"nowhere.hea": 1}
    quick = TuningSettings(epochs=1, batch_size=2)
    tuned = model.fine_tune(labels, validation=files[:2], method="lora", settings=quick)
    assert list(tuned.refused) == ["nowhere.hea"]
    scores = SCORES.check(tuned.predict(files))["score"].to_pylist()
    assert all(0 < score < 1 for score in scores)
    assert len(set(scores)) == len(scores)
    assert model.embed(files).equals(before)
    assert model.fine_tune(labels, settings=quick, method="lora").epoch == 1, "the validation ECGs are drawn"
    with pytest.raises(echoingecg.UserError, match="label 0 and of label 1"):
        model.fine_tune(dict.fromkeys(files, 1))


def test_released_weights_and_a_hub_repository_embed_as_the_student(
    workspace: Path, files: list[Path], model: echoingecg.EcgModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = model.embed(files[:2])
    student = load_student(workspace / "artefacts" / STUDENT.replace("-", "/"))
    export_released(student, tmp_path / "released")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: tmp_path / name)
    for name in (tmp_path / "released", tmp_path / "released" / "echoingecg.safetensors", "hf-hub:released"):
        released = echoingecg.load(name)
        assert released.embed(files[:2]).equals(expected)
        with pytest.raises(echoingecg.UserError, match="no evaluation here"):
            released.predict(files)


def test_what_cannot_be_loaded_is_said_in_one_line(workspace: Path, tmp_path: Path) -> None:
    folder = workspace / "artefacts" / STUDENT.replace("-", "/")
    with pytest.raises(StoreError, match="no student 'nobody'"):
        echoingecg.load("nobody", workspace=workspace)
    with pytest.raises(StoreError, match="holds no student"):
        echoingecg.load(tmp_path)
    with pytest.raises(StoreError, match="neither a student nor an evaluation"):
        echoingecg.load("teacher-57a535d2ed02b47c", workspace=workspace)
    with pytest.raises(StoreError, match="no artefacts named 'student-ffff'"):
        echoingecg.load("student-ffff", workspace=workspace)
    alone = tmp_path / "student"
    alone.mkdir()
    for file in folder.iterdir():
        (alone / file.name).write_bytes(file.read_bytes())
    with pytest.raises(StoreError, match="give evaluation= or settings="):
        echoingecg.load(alone)
    assert echoingecg.load(alone, settings=EcgSettings()).evaluation is None
    manifest = manifest_in(alone)
    assert manifest is not None
    republish(alone, code_version=99, version=version_of(manifest, code_version=99))
    with pytest.raises(ContractError, match="is an evaluation of"):
        echoingecg.load(alone, workspace=workspace, evaluation=EVALUATION)


def test_a_card_of_another_release_stops_answers_and_nothing_else(files: list[Path], tmp_path: Path) -> None:
    with tarfile.open(ROOT / "tests/data/pinned_workspace.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    model = echoingecg.load(STUDENT, workspace=tmp_path)
    renew_card(tmp_path)
    renewed = echoingecg.load(STUDENT, workspace=tmp_path)
    assert model.embed(files[:2]).equals(renewed.embed(files[:2]))
    assert model.zero_shot(files[:2], "LVEF is 20 %.", "LVEF is 60 %.").num_rows == 2
    with pytest.raises(echoingecg.UserError, match="another release: run stage evaluation again"):
        model.predict(files[:2])
    assert renewed.predict(files[:2]).num_rows == 6


def test_a_card_that_is_named_must_be_of_this_release(tmp_path: Path) -> None:
    with tarfile.open(ROOT / "tests/data/pinned_workspace.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    for name, evaluation in ((EVALUATION, None), (STUDENT, EVALUATION)):
        with pytest.raises(ContractError, match="another release: run stage evaluation again"):
            echoingecg.load(name, workspace=tmp_path, evaluation=evaluation)


def test_an_alias_of_a_workspace_that_shares_is_not_guessed(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "artefacts").symlink_to(workspace / "artefacts")
    (tmp_path / "shared_store").write_text("s3://bucket/prefix\n")
    with pytest.raises(StoreError, match="shares its aliases"):
        echoingecg.load("production", workspace=tmp_path)
    assert echoingecg.load(STUDENT, workspace=tmp_path).evaluation is not None


def test_one_ecg_is_read_as_the_pipeline_reads_it(files: list[Path]) -> None:
    ecg = echoingecg.read_ecg(files[0].with_suffix(""))
    np.testing.assert_array_equal(ecg.signal, process(files[0], EcgSettings()).signal)
    assert (ecg.unit, ecg.format, ecg.recorded_frequency, ecg.start) == ("mV", "WFDB", 500, 0)
    assert ecg.signal.shape == (len(ecg.leads), 10 * ecg.sampling_frequency)


def test_findings_name_their_leads(tmp_path: Path, files: list[Path]) -> None:
    signal = 0.2 * np.random.default_rng(1).normal(size=(12, 5000))
    signal[7] = 0
    write_wfdb(tmp_path / "flat", signal)
    ecg = echoingecg.read_ecg(tmp_path / "flat.hea")
    assert ecg.findings["flat"] == (ecg.leads[7],)
    assert () in ecg.findings.values(), "noise is a finding of the whole recording"
    with pytest.raises(echoingecg.Refusal):
        echoingecg.read_ecg(tmp_path / "nowhere.hea")


def test_frames_of_an_echo(tmp_path: Path) -> None:
    video = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for level in range(6):
        video.write(np.full((48, 64, 3), 40 * level, np.uint8))
    video.release()
    echo = echoingecg.read_echo(tmp_path / "clip.avi", every=2)
    assert echo.frames.shape == (3, 48, 64, 3)
    assert echo.frame_rate == 25
    np.testing.assert_allclose(echo.frames.mean(axis=(1, 2, 3)), [0, 80, 160], atol=3)


def test_a_notebooks_own_tasks_and_flows_do_no_harm(tmp_path: Path, workspace: Path, files: list[Path]) -> None:
    for name in ("tasks", "flows"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('a file of the user')\n")
    code = (
        "import sys, echoingecg; names = 'torch prefect dask distributed matplotlib tasks flows'.split();"
        "assert not {*names} & {*sys.modules};"
        f"model = echoingecg.load('production', workspace={str(workspace)!r}); files = [{str(files[0])!r}];"
        "model.predict(files); model.zero_shot(files, 'a', 'b'); model.plot(files[0]); echoingecg.read_ecg(files[0]);"
        "assert not {'prefect', 'dask', 'tasks', 'flows'} & {*sys.modules};"
        "print(echoingecg.__version__, dir(echoingecg))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = ['']; sys.path.append({str(ROOT)!r}); {code}"],
        cwd=tmp_path, capture_output=True, text=True, env={"PATH": ""}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "read_ecg" in done.stdout


def test_what_is_not_offered_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        echoingecg.nonsense  # noqa: B018
