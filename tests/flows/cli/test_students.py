"""predict, embed, search and the batch flow on the smoke run's student."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import echoingecg
from data_contracts.conventions import SAMPLES
from data_contracts.ecg import RECORDS
from data_contracts.evaluation import ANSWERS, INTERVALS, PREDICTIONS
from data_contracts.prediction import FILENAME, GAUSSIANS, NOTICE, READINGS
from data_contracts.teacher import STUDIES
from echoingecg.common import UserError
from echoingecg.ecg import CODE_VERSION, EQUAL_SIGNALS
from echoingecg.evaluation.data.embed import GaussianTable, sampled_distances
from echoingecg.evaluation.decision.reading_card import LoadedReadingCard
from echoingecg.prediction.predictor import Reader
from flows.cli.main import main
from flows.cli.students import embed
from flows.operations import drift_job, evaluate_job
from flows.request import find_recipe
from helpers.cases.command_line import call
from helpers.cases.stage_runs import Run
from tasks.operations.search import Cohort, ecgs_like, hits_like
from tasks.operations.students import find_reader, find_student
from tasks.pools import PoolSignals
from tasks.teacher import read_targets


@pytest.fixture(scope="module")
def cohort(finished: Run) -> Cohort:
    return Cohort(finished.job.store, find_student(finished.job.store, ""))


@pytest.mark.parametrize("newer", [CODE_VERSION + 1, min(EQUAL_SIGNALS) - 1])
def test_a_student_of_other_signals_is_refused_in_one_line(
    finished: Run, newer: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Stage ecg's code version has changed since the student was made: nobody feeds it the other signals."""
    store, root, student = finished.job.store, finished.job.workspace.root, finished.artefacts["student"]
    judged = find_student(store, "")
    shutil.copytree(student.folder, tmp_path / "elsewhere")
    shutil.copy(judged.evaluation.folder / FILENAME, tmp_path / "elsewhere")
    demo, export = find_recipe("smoke", []), str(finished.job.export)
    uses = (
        lambda: find_reader(store, ""),
        lambda: find_reader(store, str(student)),
        lambda: Reader.load(student.folder, judged.evaluation.folder),
        lambda: Reader.without_card(student.folder, demo.ecg),
        lambda: echoingecg.load(str(student), workspace=root),
        lambda: echoingecg.load(tmp_path / "elsewhere"),
        lambda: drift_job(demo, export, str(student), str(root), True),
        lambda: evaluate_job(export, str(student), "", False, str(root), [], True),
    )
    for use in uses:
        use()
    monkeypatch.setattr("echoingecg.ecg.CODE_VERSION", newer)
    line = rf"made with signals of ecg code version {CODE_VERSION}; this release makes version {newer}, .* train anew"
    for use in uses:
        with pytest.raises(UserError, match=line):
            use()
    monkeypatch.setattr("sys.argv", ["echoingecg", "predict", ecg_files(finished)[0], "-w", str(root)])
    with pytest.raises(SystemExit) as ended:
        main()
    stderr = capsys.readouterr().err
    assert (ended.value.code, stderr.count("\n")) == (2, 1), stderr
    monkeypatch.setattr("echoingecg.ecg.EQUAL_SIGNALS", EQUAL_SIGNALS | {newer})
    for use in uses:
        use()


def test_the_newest_code_version_is_among_those_that_agree() -> None:
    """Whoever raises it says whether signals are equal: adds it to the set, or begins the set anew."""
    assert CODE_VERSION in EQUAL_SIGNALS


def ecg_files(run: Run) -> list[str]:
    return sorted(str(path) for path in (run.job.export / "mimic-iv-ecg").rglob("*.hea"))


def test_the_command_gives_the_evaluations_numbers(finished: Run, tmp_path: Path) -> None:
    place = {"ECHOINGECG_WORKSPACE": str(finished.job.workspace.root)}
    folder = str(finished.job.export / "mimic-iv-ecg" / "files")
    done = call("predict", folder, "nowhere", "--json", **place)
    assert done.returncode == 0, done.stderr
    assert NOTICE in done.stderr
    document = json.loads(done.stdout)
    assert document["student"] == str(finished.artefacts["student"])
    rows = [row for row in document["readings"] if row["file"] != "nowhere"]
    assert {row["file"] for row in rows} >= set(ecg_files(finished))
    found = {(row["endpoint"], round(row["score"], 5)): row for row in rows if "score" in row}
    folder_of_evaluation = finished.artefacts["evaluation"].folder
    judged = PREDICTIONS.read(folder_of_evaluation).to_pandas().merge(ANSWERS.read(folder_of_evaluation).to_pandas())
    (protocol,) = {row["protocol"] for row in rows if "score" in row}
    assert protocol == LoadedReadingCard.load(folder_of_evaluation).card.answered_by
    tested = judged[(judged["protocol"] == protocol) & (judged["split"] == "test")]
    assert len(tested)
    for row in tested.itertuples():
        ours = next(
            found[row.endpoint, near]
            for near in (round(row.score + step, 5) for step in (0, -1e-5, 1e-5))
            if (row.endpoint, near) in found
        )
        expected = {} if np.isnan(row.probability) else {"probability": pytest.approx(row.probability, abs=1e-4)}
        assert {name: ours[name] for name in ("probability",) if name in ours} == expected
        assert (ours["decision"], ours["advice"]) == (row.decision, row.advice)
    told = [row for row in document["numbers"] if "value" in row]
    assert {row["file"] for row in document["numbers"]} == {row["file"] for row in document["readings"]}
    intervals = INTERVALS.read(folder_of_evaluation).to_pylist()
    assert intervals
    for row in intervals:
        assert any(
            (ours["number"], ours["advice"]) == (row["endpoint"], row["advice"])
            and ours["deviation"] == pytest.approx(row["deviation"], rel=1e-5)
            and ours["low"] == pytest.approx(row["low"], rel=1e-5)
            for ours in told
        )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["predict", "x", "--student", "nobody"], "names no artefact"),
        (["search", "--study", "s-0", "--text", "one too many"], "one of FILE, --study and --text"),
    ],
)
def test_faults_are_one_line(finished: Run, arguments: list[str], says: str) -> None:
    done = call(*arguments, ECHOINGECG_WORKSPACE=str(finished.job.workspace.root))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert says in done.stderr


def test_studies_like_an_ecg_against_every_distance(finished: Run, cohort: Cohort) -> None:
    file = ecg_files(finished)[0]
    hits = hits_like(cohort, file, 5)
    read = cohort.model.reader().read([file])
    studies, mean, log_var = read_targets(finished.artefacts["teacher"])
    distance = sampled_distances(
        GaussianTable.from_log_var(read.mean, read.log_var), GaussianTable.from_log_var(mean, log_var)
    )[0]
    order = np.argsort(distance, kind="stable")[:5]
    assert [hit.name for hit in hits] == [studies["study_id"][int(row)].as_py() for row in order]
    np.testing.assert_allclose([hit.distance for hit in hits], distance[order])
    assert any("LVEF" in hit.report or "jection" in hit.report for hit in hits)
    with pytest.raises(UserError, match="refused, missing_file"):
        hits_like(cohort, "nowhere", 5)


def test_ecgs_like_a_study_and_a_sentence_against_every_distance(finished: Run, cohort: Cohort) -> None:
    signals = PoolSignals(finished.job.workspace, finished.artefacts["ecg"])
    values = signals.read(np.arange(len(signals)))
    assert values.shape[2] == SAMPLES
    ecgs = GaussianTable.from_log_var(*cohort.model.reader().student.embed_ecg(values))
    study = STUDIES.read(finished.artefacts["teacher"].folder)["study_id"][3].as_py()
    for query in (cohort.study(study), cohort.sentence("LVEF is 25 %.")):
        distance = sampled_distances(query, ecgs)[0]
        for _ in range(2):  # embedded anew, then from the kept files
            hits = ecgs_like(Cohort(cohort.store, cohort.model), query, 4)
            np.testing.assert_allclose([hit.distance for hit in hits], np.sort(distance)[:4], atol=1e-5)
        names = [hit.name.split()[0] for hit in hits]
        assert names == [signals.record_ids[row] for row in np.argsort(distance, kind="stable")[:4]]
    assert set(names) <= set(RECORDS.read(finished.artefacts["ecg"].folder)["record_id"].to_pylist())
    with pytest.raises(UserError, match="no study s-nobody among"):
        cohort.study("s-nobody")


FLOW = """
import sys
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness
from flows.operations import predict

with prefect_test_harness(server_startup_timeout=300):
    state = predict([sys.argv[1]], sys.argv[2], student=sys.argv[3], workspace=sys.argv[4], return_state=True)
    failed = predict([sys.argv[1]], sys.argv[2], student="nobody", workspace=sys.argv[4], return_state=True)
    with get_client(sync_client=True) as client:
        print(state.message)
        print(failed.type.value, failed.message)
        print([one.data for one in client.read_artifacts() if one.key == "readings"])
"""


@pytest.mark.slow
def test_the_flow_scores_a_folder_and_names_no_file(finished: Run, tmp_path: Path) -> None:
    output, folder = tmp_path / "out.parquet", finished.job.export / "mimic-iv-ecg"
    root = str(finished.job.workspace.root)
    arguments = [str(folder), str(output), str(finished.artefacts["student"]), root]
    done = subprocess.run([sys.executable, "-c", FLOW, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    says, failed, shown = done.stdout.strip().splitlines()[-3:]
    table = READINGS.check(pq.read_table(output))
    refused = table.num_rows - table["reason"].null_count
    read = len(set(table["file"].to_pylist())) - refused
    assert says == f"{read} ECGs read, {refused} files refused"
    assert failed.startswith("FAILED 'nobody' names no artefact")
    assert "LVEF < 40 %" in shown
    assert str(folder) not in shown


def test_embed_writes_every_gaussian(finished: Run, tmp_path: Path) -> None:
    file, output = ecg_files(finished)[0], tmp_path / "out.parquet"
    embed([file], output, workspace=str(finished.job.workspace.root))
    (row,) = GAUSSIANS.check(pq.read_table(output)).to_pylist()
    assert (row["file"], len(row["mean"])) == (file, 128)


@pytest.mark.slow
def test_a_sweep_runs_every_combination_and_compares_the_students(copied: Run, tmp_path: Path) -> None:
    page = tmp_path / "sweep.html"
    arguments = ("smoke", "--over", "student.seed=43,1", "--export", str(copied.job.export), "--public-data")
    done = call("sweep", *arguments, "-o", str(page), "--workspace", str(copied.job.workspace.root))
    assert done.returncode == 0, done.stderr
    first = str(copied.artefacts["evaluation"])
    assert f"{first}: student.seed=43" in done.stdout, "the first is there already"
    other = next(line.partition(":")[0] for line in done.stdout.splitlines() if line.endswith(": student.seed=1"))
    made = copied.job.store.get(other)
    student = copied.job.store.get(f"student-{made.manifest.inputs['student']}")
    assert student.manifest.recipe["seed"] == 1
    assert made.manifest.inputs["teacher"] == copied.artefacts["teacher"].version
    assert other in page.read_text()


def test_a_sweep_checks_every_recipe_before_the_first_run(finished: Run) -> None:
    done = call("sweep", "smoke", "--over", "student.epochs=1,-1", "--workspace", str(finished.job.workspace.root))
    assert (done.returncode, done.stdout) == (2, "")
    assert "student.epochs" in done.stderr
