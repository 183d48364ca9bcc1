"""A student judged on another cohort: with its own card, with a new one, by a label file; and its report."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from sklearn.metrics import roc_auc_score

from data_contracts import catalog, evaluation, evaluation_details, pairs
from data_contracts.conventions import ORIGIN_FILE, UPSTREAM, Stage, origin_in_words
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.common import StoreError, UserError
from echoingecg.evaluation.decision.reading_card import LoadedReadingCard
from echoingecg.prediction.predictor import Reader
from echoingecg.recipe import Recipe, with_overrides
from echoingecg.simulator.export import simulate
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.released_files import write_case
from helpers.cases.stage_runs import Run, copy_of
from tasks.all_stages import WORKS
from tasks.operations.evaluate import JudgedCohort, judge_cohort, student_to_judge
from tasks.operations.students import find_student
from tasks.store import Artefact, ArtefactStore, Job
from tasks.student import ReleasedFiles, import_released

QUICK = ["evaluation.stress_ecgs=0", "evaluation.bootstrap_draws=20", "evaluation.few_shot.cases=[]"]


@pytest.fixture(scope="module")
def finished(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The undisturbed run in a workspace for this file, into which cohorts are judged."""
    return copy_of(finished, tmp_path_factory.mktemp("judging") / "workspace")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another hospital, without any echo clip: its measurements name exams that have none.

    It is simulated, and does not say so: with a public key its data count as public.
    """
    folder = tmp_path_factory.mktemp("cohort") / "export"
    settings = find_recipe("smoke", []).simulator
    assert settings is not None
    simulate(settings.model_copy(update={"patients": 16, "seed": 7}), folder)
    for name in ("echo-record-list.csv", "echo-study-list.csv", "echo_notes.csv"):
        (folder / "mimic-iv-echo" / name).unlink()
    (folder / ORIGIN_FILE).unlink()
    return folder


def judged_by(
    store: ArtefactStore, export: Path, name: str = "", recipe: Recipe | None = None, new_card: bool = False,
    labels: Path | None = None, output: Path | None = None, key: str = "of another hospital",
) -> JudgedCohort:  # fmt: skip
    """Judges; both hospitals number their patients from 1, so that each has a key of its own."""
    base = find_recipe("smoke", [*QUICK, f"catalog.public_key={key}"])
    judged = student_to_judge(store, name, recipe, base, new_card, [f"catalog.public_key={key}"])
    quick = with_overrides(judged.recipe, QUICK)
    judged = type(judged)(judged.student, judged.evaluation, quick)
    job = make_job(quick, str(export), str(store.workspace.root), only=["catalog", "ecg"])
    made = catalog_and_ecg(job)
    return judge_cohort(job, judged, made["catalog"], made["ecg"], labels, output)


def catalog_and_ecg(job: Job) -> dict[Stage, Artefact]:
    made: dict[Stage, Artefact] = {}
    for stage in ("catalog", "ecg"):
        made[stage], _ = WORKS[stage].run(job, {above: made[above] for above in UPSTREAM[stage]})
    return made


@pytest.fixture(scope="module")
def with_its_card(finished: Run, cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> JudgedCohort:
    return judged_by(finished.job.store, cohort, output=tmp_path_factory.mktemp("judged") / "out")


def test_every_ecg_is_a_test_ecg_and_the_card_is_the_students(with_its_card: JudgedCohort, finished: Run) -> None:
    cohort_rows = evaluation_details.COHORT.read(with_its_card.folder).to_pylist()
    assert {row["split"]: row["patients"] > 0 for row in cohort_rows} == {
        "train": False, "validation": False, "test": True,
    }  # fmt: skip
    assert with_its_card.counts["test_ecgs"] == with_its_card.counts["ecgs"] > 10
    own = find_student(finished.job.store, "").evaluation.folder
    kept, theirs = LoadedReadingCard.load(with_its_card.folder), LoadedReadingCard.load(own)
    assert kept.card == theirs.card
    rules = evaluation.RULES.read(with_its_card.folder).to_pylist()
    thresholds = {(entry.reading.endpoint, entry.reading.protocol): entry.reading.referral for entry in theirs.readings}
    assert {(row["endpoint"], row["protocol"]) for row in rows_of(rules)} <= thresholds.keys()
    for row in rules:
        rule = thresholds[row["endpoint"], row["protocol"]]
        assert (row["threshold"], row["one_from"], row["zero_to"]) == (rule.threshold, rule.one_from, rule.zero_to)


def rows_of(rows: list[dict]) -> list[dict]:
    assert rows
    return rows


def test_a_cohort_of_many_short_ecgs_may_be_judged_and_its_signals_stay_those_of_the_student(finished: Run) -> None:
    own = finished.job.recipe.ecg
    for asked, share in ((0.9, 0.9), (0.001, own.max_refused_share)):
        overrides = [f"ecg.max_refused_share={asked}", "ecg.min_duration=3"]
        judged = student_to_judge(finished.job.store, "", None, find_recipe("smoke", overrides), False)
        assert judged.recipe.ecg == own.model_copy(update={"max_refused_share": share})


def test_fields_of_the_students_own_questions_are_replaced_without_a_recipe(finished: Run) -> None:
    """`evaluate --set` holds for the student's own evaluation settings, too, and never for its signals."""
    stated = "evaluation.target_prevalences={LVEF < 40 %: 0.05}"
    overrides = [stated, "evaluation.bootstrap_draws=20", "ecg.band_high=20"]
    judged = student_to_judge(finished.job.store, "", None, find_recipe("demo", []), False, overrides)
    own = finished.job.recipe
    expected = {"target_prevalences": {"LVEF < 40 %": 0.05}, "bootstrap_draws": 20}
    assert judged.recipe.evaluation == own.evaluation.model_copy(update=expected)
    assert judged.recipe.ecg == own.ecg
    with pytest.raises(UserError, match="no endpoint is called 'LVEF < 20 %'"):
        student_to_judge(finished.job.store, "", None, find_recipe("demo", []), False, [stated.replace("40", "20")])


def test_labels_answers_and_metrics_are_what_prediction_and_scikit_learn_give(
    with_its_card: JudgedCohort, finished: Run, cohort: Path
) -> None:
    model = find_student(finished.job.store, "")
    reader = Reader.load(model.student.folder, model.evaluation.folder)
    answered_by = reader.card.card.answered_by
    files = sorted((cohort / "mimic-iv-ecg").rglob("*.hea"))
    read = [row for row in reader.predict(files).readings.to_pylist() if row["reason"] is None]
    predictions = evaluation.PREDICTIONS.read(with_its_card.folder)
    predictions = predictions.filter(pc.equal(predictions["protocol"], answered_by)).to_pylist()
    by_endpoint: dict[str, list[dict]] = {}
    for row in rows_of(predictions):
        by_endpoint.setdefault(row["endpoint"], []).append(row)
    for endpoint, rows in by_endpoint.items():
        scores = np.sort([row["score"] for row in read if row["endpoint"] == endpoint])
        for row in rows:
            assert np.abs(scores - row["score"]).min() < 1e-5, "the same score as prediction gives, to rounding"
        metrics = evaluation.METRICS.read(with_its_card.folder).to_pylist()
        wanted = {"endpoint": endpoint, "protocol": answered_by, "group": "all", "metric": "auroc"}
        (auroc,) = [row["value"] for row in metrics if wanted.items() <= row.items()]
        label, score = ([row[name] for row in rows] for name in ("label", "score"))
        assert auroc is None if len(set(label)) == 1 else auroc == pytest.approx(roc_auc_score(label, score))
    assert any(len({row["label"] for row in rows}) == 2 for rows in by_endpoint.values())
    transfer = evaluation_details.TRANSFER.read(with_its_card.folder).to_pylist()
    shares = {row["endpoint"]: row["value"] for row in transfer if row["metric"] == "prevalence"}
    assert shares == {
        name: pytest.approx(np.mean([row["label"] for row in rows])) for name, rows in by_endpoint.items()
    }


def test_the_report_says_whose_thresholds_these_are(with_its_card: JudgedCohort, finished: Run) -> None:
    page = (with_its_card.folder / evaluation.REPORT).read_text(encoding="utf-8")
    assert f"are those of {find_student(finished.job.store, '').evaluation}, chosen on another cohort" in page
    assert "It is not known which patients" not in page


def test_outputs_say_whose_ecgs_the_student_was_judged_on(with_its_card: JudgedCohort) -> None:
    judged, learned = origin_in_words("public"), origin_in_words("simulated")
    pages = {
        name: " ".join((with_its_card.folder / name).read_text(encoding="utf-8").split())
        for name in (evaluation.REPORT, evaluation.MODEL_CARD)
    }
    assert f"They are {judged}; the student learned from ECGs of {learned}" in pages[evaluation.REPORT]
    assert f"Trained on ECGs of {learned}" in pages[evaluation.MODEL_CARD]
    assert f"The results above are of {judged}." in pages[evaluation.MODEL_CARD]


def test_patients_that_the_student_was_made_with_are_left_out(copied: Run, tmp_path: Path) -> None:
    own_key = copied.job.recipe.catalog.public_key
    judged = judged_by(copied.job.store, copied.job.export, output=tmp_path / "out", key=own_key)
    sides = pairs.PATIENTS.read(copied.artefacts["pairs"].folder).to_pylist()
    tested = {row["patient_id"] for row in sides if row["split"] == "test"}
    assert {row["patient_id"] for row in evaluation.PREDICTIONS.read(judged.folder).to_pylist()} <= tested
    page = (judged.folder / evaluation.REPORT).read_text(encoding="utf-8")
    assert "patients of this cohort are left out: the student or its card was made with them" in page


def test_an_imported_student_gets_a_card_and_then_predicts(
    golden: Path, cohort: Path, copied: Run, tmp_path: Path
) -> None:
    store = ArtefactStore(copied.job.workspace)
    (tmp_path / "released").mkdir()
    case = write_case(golden, tmp_path / "released")
    imported = import_released(store, ReleasedFiles(case.weights, case.scaler, case.text))
    judged = judged_by(store, cohort, str(imported))
    assert judged.artefact is not None
    page = (judged.folder / evaluation.REPORT).read_text(encoding="utf-8")
    assert "It is not known which patients this student was trained on" in page
    assert judged_by(store, cohort, str(imported), new_card=True).artefact == judged.artefact, "found, not made again"
    again = judged_by(store, cohort, str(imported), output=tmp_path / "again")
    chosen_on = {
        row["record_id"]
        for row in evaluation_details.UNCERTAINTY.read(judged.folder).to_pylist()
        if row["split"] != "test"
    }
    assert chosen_on.isdisjoint(evaluation_details.UNCERTAINTY.read(again.folder)["record_id"].to_pylist())
    reader = Reader.load(imported.folder, find_student(store, str(imported)).evaluation.folder)
    table = reader.predict(sorted((cohort / "mimic-iv-ecg").rglob("*.hea"))[:3]).readings
    assert {row["endpoint"] for row in table.to_pylist()} == {
        one.name for one in find_recipe("smoke", []).evaluation.endpoints
    }


def test_a_label_file(finished: Run, cohort: Path, tmp_path: Path) -> None:
    with (cohort / "mimic-iv-ecg" / "record_list.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    labels = tmp_path / "labels.csv"
    with labels.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["patient_id", "ecg_id", "lvef [%]", "note"])
        for number, row in enumerate(listed):
            table.writerow([row["subject_id"], row["study_id"], 30 if number % 2 else 60, "normal" if number else ""])
    judged = judged_by(finished.job.store, cohort, labels=labels, output=tmp_path / "out")
    (asked,) = [
        row for row in evaluation_details.ASKED.read(judged.folder).to_pylist() if row["endpoint"] == "LVEF < 40 %"
    ]
    usable = len(listed) - asked["absent"]
    assert asked["labelled"] == asked["ecgs"] == usable
    labelled = evaluation_details.LABELLED.read(judged.folder).to_pylist()
    (row,) = [row for row in labelled if (row["endpoint"], row["split"]) == ("LVEF < 40 %", "test")]
    assert 0 < row["positives"] < row["records"]


def with_published_split(export: Path, labels: Path) -> dict[str, str]:
    """A table of labels of each ECG of an export, with a published split; returns the side of each patient's number."""
    with (export / "mimic-iv-ecg" / "record_list.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    patients = sorted({row["subject_id"] for row in listed})
    sides = {patient: ("train", "val", "test")[number % 3] for number, patient in enumerate(patients)}
    with labels.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["patient_id", "ecg_id", "lvef [%]", "split"])
        for number, row in enumerate(listed):
            table.writerow([row["subject_id"], row["study_id"], 30 if number % 2 else 60, sides[row["subject_id"]]])
    return sides


PUBLISHED = "pairs.split_by={measurement: split, validation: [val], test: [test]}"


def sides_in(folder: Path) -> dict[str, str]:
    return {row["record_id"]: row["split"] for row in evaluation_details.UNCERTAINTY.read(folder).to_pylist()}


@pytest.mark.slow
def test_a_new_card_is_chosen_on_the_published_validation_side(copied: Run, cohort: Path, tmp_path: Path) -> None:
    sides = with_published_split(cohort, tmp_path / "labels.csv")
    key = "of another hospital"
    recipe = find_recipe("smoke", [*QUICK, f"catalog.public_key={key}", PUBLISHED])
    judged = judged_by(copied.job.store, cohort, recipe=recipe, new_card=True, labels=tmp_path / "labels.csv")
    names, split_of = Pseudonyms(key.encode()), {"val": "validation"}
    with (cohort / "mimic-iv-ecg" / "record_list.csv").open(newline="") as file:
        truth = {
            names.record(row["subject_id"], row["study_id"]): sides[row["subject_id"]] for row in csv.DictReader(file)
        }
    evaluated = sides_in(judged.folder)
    assert set(evaluated.values()) == {"train", "validation", "test"}
    assert evaluated == {record: split_of.get(truth[record], truth[record]) for record in evaluated}
    own = str(copied.artefacts["evaluation"])
    with_card = judged_by(
        copied.job.store, cohort, own, recipe=recipe, labels=tmp_path / "labels.csv", output=tmp_path / "out"
    )
    assert set(sides_in(with_card.folder).values()) == {"test"}, "with a card every ECG is a test ECG"


def test_who_trained_the_student_never_tests_it_by_a_published_split(copied: Run, tmp_path: Path) -> None:
    """Judged on its own export: the publisher's test patients that the student has trained on are left out."""
    assert copied.job.export is not None
    with_published_split(copied.job.export, tmp_path / "labels.csv")
    own_key = copied.job.recipe.catalog.public_key
    recipe = find_recipe("smoke", [*QUICK, PUBLISHED])
    judged = judged_by(
        copied.job.store, copied.job.export, recipe=recipe, new_card=True, labels=tmp_path / "labels.csv", key=own_key
    )
    theirs = pairs.PATIENTS.read(copied.artefacts["pairs"].folder).to_pylist()
    sides = {row["patient_id"]: row["split"] for row in theirs}
    listed = catalog.ECGS.read(copied.artefacts["catalog"].folder).to_pylist()
    owner = {row["record_id"]: row["patient_id"] for row in listed}
    evaluated = sides_in(judged.folder)
    assert all(sides[owner[record]] == split for record, split in evaluated.items())
    assert "test" in evaluated.values()
    page = (judged.folder / evaluation.REPORT).read_text(encoding="utf-8")
    assert "are left out: the student was made with them on another side of the split" in page


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("ecg_id,lvef\n1,50\n", "no column patient_id"),
        ("patient_id,ecg_id,lvef\n1,1,50\n1,1,60\n", "line 3: names an ECG for the second time"),
        ("patient_id,ecg_id,lvef\n1,,50\n", "line 2: does not fit the header, or names no ECG"),
        ("patient_id,ecg_id,lvef\n1,1,50,60\n", "line 2: does not fit the header, or names no ECG"),
        ("patient_id,ecg_id,note\n1,1," + 81 * "x" + "\n", "over 80 characters, which is no label"),
        ("patient_id,ecg_id,lvef\n9,9,50\n", "no ECG of this cohort has a label"),
    ],
)
def test_bad_label_files_are_one_line(content: str, says: str, finished: Run, cohort: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=says) as fault:
        judged_by(finished.job.store, cohort, labels=labels, output=tmp_path / "out")
    assert "\n" not in str(fault.value)


def test_an_output_that_is_not_empty_is_refused(finished: Run, cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is not empty"):
        judged_by(finished.job.store, cohort, output=tmp_path)
