"""A student without a reading card, as released weights are, answers by zero-shot at once, and says what it lacks."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import echoingecg
from data_contracts.prediction import GAUSSIANS, READINGS
from echoingecg.common import StoreError, UserError
from echoingecg.evaluation.data.embed import GaussianTable, sampled_distances
from echoingecg.recipe import EcgSettings
from flows.operations import evaluate_job
from flows.request import find_recipe
from helpers.cases.command_line import call
from helpers.cases.released_files import write_case
from helpers.cases.stage_runs import Run
from tasks.base.workspace import Workspace
from tasks.operations.search import Cohort, ecgs_like, hits_like
from tasks.operations.students import StudentAlone, find_reader, predict_files
from tasks.pools import PoolSignals
from tasks.store import Artefact, ArtefactStore
from tasks.student import ReleasedFiles, import_released

ENDPOINTS = find_recipe("paper", []).evaluation.endpoints


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtefactStore:
    return ArtefactStore(Workspace(tmp_path_factory.mktemp("released") / "workspace"))


@pytest.fixture(scope="module")
def imported(golden: Path, store: ArtefactStore, tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    case = write_case(golden, tmp_path_factory.mktemp("files"))
    return import_released(store, ReleasedFiles(case.weights, case.scaler, case.text))


@pytest.fixture
def files(recording) -> list[str]:
    return [
        str(recording("ptbxl/records500/00000/00001_hr.hea").with_suffix("")),
        str(recording("ecg_dicom/pydicom/waveform_ecg.dcm")),
        "nowhere.hea",
    ]


def test_scores_are_those_of_the_python_interface(imported: Artefact, store: ArtefactStore, files: list[str]) -> None:
    model = find_reader(store, "")
    assert isinstance(model, StudentAlone), "the only student of the workspace is meant"
    assert model.student == imported
    (predicted,) = predict_files(model, files, questions=ENDPOINTS)
    rows = READINGS.check(predicted.readings).to_pylist()
    assert predicted.numbers.num_rows == 0
    assert [row["reason"] for row in rows] == [None] * 2 * len(ENDPOINTS) + ["missing_file"]
    api = echoingecg.load(imported.folder)
    for endpoint in ENDPOINTS:
        asked = api.zero_shot(files, endpoint.positive_prompts, endpoint.negative_prompts).to_pylist()
        ours = [row for row in rows if row["endpoint"] == endpoint.name]
        assert [row["score"] for row in ours] == pytest.approx([row["score"] for row in asked[:2]], abs=1e-7)
        assert [row["findings"] for row in ours] == [row["findings"] for row in asked[:2]]


def test_nothing_is_said_that_only_a_card_knows(imported: Artefact, store: ArtefactStore, files: list[str]) -> None:
    (predicted,) = predict_files(find_reader(store, str(imported)), files[:2], questions=ENDPOINTS)
    for row in predicted.readings.to_pylist():
        assert (row["protocol"], row["advice"]) == ("zero_shot", "refer")
        assert row["doubts"][-1] == "not calibrated"
        assert 0 < row["score"] < 1
        for name in ("probability", "low", "high", "decision", "uncertainty", "uncertainty_percentile", "typicality"):
            assert row[name] is None, name
    with pytest.raises(UserError, match="needs a reading card"):
        predict_files(find_reader(store, ""), files, "linear_probe", questions=ENDPOINTS)


def test_a_finding_is_among_the_doubts(imported: Artefact, store: ArtefactStore, tmp_path: Path) -> None:
    from echoingecg.simulator.ecg.heart_vector import draw_beats
    from echoingecg.simulator.ecg.record import DURATION, simulate_ecg, write_wfdb
    from echoingecg.simulator.population.patient import sample_heart

    random = np.random.default_rng(1)
    heart = sample_heart(random)
    signal = simulate_ecg(heart, draw_beats(heart, DURATION, random), random)
    signal[7] = 0
    write_wfdb(tmp_path / "flat", signal)
    (predicted,) = predict_files(find_reader(store, ""), [str(tmp_path / "flat")], questions=ENDPOINTS[:1])
    (row,) = predicted.readings.to_pylist()
    assert row["doubts"] == ["finding", "not calibrated"]
    assert "flat" in row["findings"]


def test_a_folder_for_what_is_published_in_the_workspace_is_refused(imported: Artefact, store: ArtefactStore) -> None:
    """A student without a card gets one, which the workspace keeps: a folder given with it would stay empty."""
    with pytest.raises(UserError, match="output: an evaluation with a new card is published in the workspace"):
        evaluate_job("/nowhere", str(imported), "", False, str(store.workspace.root), [], output="out")


@pytest.mark.slow
def test_predict_embed_and_search_on_the_command_line(
    imported: Artefact, store: ArtefactStore, files: list[str], tmp_path: Path
) -> None:
    place = {"ECHOINGECG_WORKSPACE": str(store.workspace.root)}
    shown = call("predict", *files, **place)
    assert shown.returncode == 0, shown.stderr
    flat = " ".join(shown.stdout.split())
    assert "without a reading card: zero-shot scores, not calibrated; no limits, no typicality" in flat
    assert f"'echoingecg evaluate {imported} --export EXPORT' makes a card" in flat
    assert "refer: not calibrated" in flat
    assert "positive" not in flat
    assert "negative" not in flat
    document = json.loads(call("predict", *files, "--json", "--recipe", "findings", **place).stdout)
    assert (document["student"], document["evaluation"]) == (str(imported), "")
    assert "makes a card" in document["note"]
    asked = {endpoint.name for endpoint in find_recipe("findings", []).evaluation.endpoints}
    assert {row["endpoint"] for row in document["readings"] if "endpoint" in row} == asked
    table = tmp_path / "readings.parquet"
    written = call("predict", *files, "--parquet", str(table), **place)
    assert written.returncode == 0, written.stderr
    assert "a score" in written.stdout
    assert READINGS.check(pq.read_table(table)).num_rows == 2 * len(ENDPOINTS) + 1
    gaussians = tmp_path / "gaussians.parquet"
    assert call("embed", *files, "--parquet", str(gaussians), **place).returncode == 0
    assert GAUSSIANS.check(pq.read_table(gaussians))["reason"].to_pylist() == [None, None, "missing_file"]
    nothing = call("search", files[0], **place)
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1), nothing.stderr
    assert f"no sets of ECGs that it can read: 'echoingecg evaluate {imported} --export EXPORT'" in nothing.stderr
    for command in ("stress", "promote"):
        refused = call(command, str(imported), *(["--over", "production"] if command == "promote" else []), **place)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr


@pytest.mark.slow
def test_search_among_the_ecgs_of_a_cohort(golden: Path, copied: Run, tmp_path: Path) -> None:
    """The nearest ECGs by every distance; studies of a teacher that is not the student's are never compared."""
    store = copied.job.store
    (tmp_path / "files").mkdir()
    case = write_case(golden, tmp_path / "files")
    imported = import_released(store, ReleasedFiles(case.weights, case.scaler, case.text))
    cohort = Cohort(store, StudentAlone(imported, copied.job.recipe.ecg))
    assert not cohort.has_studies
    file = next(str(path) for path in sorted((copied.job.export / "mimic-iv-ecg").rglob("*.hea")))
    signals = PoolSignals(store.workspace, copied.artefacts["ecg"])
    student = cohort.model.reader().student
    ecgs = GaussianTable.from_log_var(*student.embed_ecg(signals.read(np.arange(len(signals)))))
    query = GaussianTable.from_log_var(*student.embed_ecg(cohort.model.reader().read([file]).outcomes[0].signal[None]))
    for hits, distance in (
        (hits_like(cohort, file, 4), sampled_distances(query, ecgs)[0]),
        (ecgs_like(cohort, cohort.sentence("LVEF is 25 %."), 4), None),
    ):
        assert len(hits) == 4
        if distance is not None:
            np.testing.assert_allclose([hit.distance for hit in hits], np.sort(distance)[:4], atol=1e-4)
    assert any(" of study s-" in hit.name for hit in hits), "the cohort's pairs name studies"
    done = call("search", file, "--student", str(imported), ECHOINGECG_WORKSPACE=str(store.workspace.root))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), (
        "released weights read edges as published, not mirrored"
    )
    assert "no sets of ECGs that it can read" in done.stderr
    own = call("search", file, "--cohort", str(copied.artefacts["ecg"]), ECHOINGECG_WORKSPACE=str(store.workspace.root))
    judged = find_reader(store, "").reader()
    every = signals.read(np.arange(len(signals)))
    itself = int(np.abs(every - judged.read([file]).outcomes[0].signal).max(axis=(1, 2)).argmin())
    assert own.stdout.split()[1] == signals.record_ids[itself], "a student with a card finds the ECG itself"
    with pytest.raises(StoreError, match="a cohort to search in is an ecg artefact"):
        ecgs_like(Cohort(store, cohort.model, named=str(copied.artefacts["pairs"])), query, 1)
    with pytest.raises(UserError, match="its teacher artefact is not in this workspace"):
        cohort.study("s-0")


def test_ecgs_of_other_settings_are_not_searched(golden: Path, copied: Run, tmp_path: Path) -> None:
    store = copied.job.store
    (tmp_path / "files").mkdir()
    case = write_case(golden, tmp_path / "files")
    imported = import_released(store, ReleasedFiles(case.weights, case.scaler, case.text))
    other = StudentAlone(imported, EcgSettings(band_high=35.0))
    with pytest.raises(StoreError, match="no sets of ECGs that it can read"):
        _ = Cohort(store, other).signals
    with pytest.raises(StoreError, match="its signals are not made as"):
        _ = Cohort(store, other, named=str(copied.artefacts["ecg"])).signals


def test_a_student_trained_here_that_was_not_judged_yet(copied: Run) -> None:
    store = copied.job.store
    store.get(str(copied.artefacts["evaluation"])).folder.rename(copied.job.workspace.root / "away")
    model = find_reader(store, str(copied.artefacts["student"]))
    assert isinstance(model, StudentAlone)
    assert model.settings == copied.job.recipe.ecg
    assert Cohort(store, model).has_studies
