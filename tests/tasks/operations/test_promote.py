"""Which student is meant, and the alias that moves only when the decision has been written down."""

import dataclasses
import time
from pathlib import Path

import pyarrow as pa
import pytest

from data_contracts.evaluation import PREDICTIONS
from data_contracts.monitoring import Decision
from data_contracts.prediction import FILENAME
from echoingecg.common import StoreError, UserError
from echoingecg.recipe.evaluation import PromotionSettings
from helpers.cases.predictions import predictions
from tasks.operations import retrain as promoting
from tasks.operations.retrain import promote
from tasks.operations.students import compare, find_student
from tasks.store import Artefact, ArtefactStore, Built, Plan

RULE = PromotionSettings(draws=50)
STUDENT = Plan("student", 1, 1, {}, {}, {})


def publish(store: ArtefactStore, plan: Plan, table: pa.Table | None = None, card: bool = True) -> Artefact:
    with store.locked(plan), store.building(plan) as folder:
        (folder / "file").write_text(plan.version)
        if table is not None:
            PREDICTIONS.write(table, folder)
            if card:
                (folder / FILENAME).touch()
        return store.publish(plan, folder, Built({}), time.monotonic())


def judged(store: ArtefactStore, name: str, skill: float, card: bool = True) -> Artefact:
    """An evaluation of a student of its own, called so."""
    student = publish(store, dataclasses.replace(STUDENT, recipe={"name": name}))
    plan = Plan("evaluation", 2, 1, {"skill": skill}, {}, {"student": student.version})
    return publish(store, plan, predictions(skill), card)


def test_the_alias_moves_to_the_better_and_stays_otherwise(store: ArtefactStore) -> None:
    first, better, worse = judged(store, "a", 0.5), judged(store, "b", 1.5), judged(store, "c", 0.1)
    outcomes = []
    for one in (first, better, worse):
        decision, path = promote(store, str(one), "production", RULE)
        assert Decision.model_validate_json(path.read_bytes()) == decision
        outcomes.append((decision.verdict, decision.champion, store.aliases()["production"]))
    assert outcomes == [
        ("promote", "", str(first)),
        ("promote", str(first), str(better)),
        ("keep", str(better), str(better)),
    ]
    assert decision.lineage[str(better)]["student"] == better.manifest.inputs["student"]
    assert len(list(store.workspace.decisions.iterdir())) == 3
    with pytest.raises(UserError, match="is 'production' already"):
        promote(store, f"student-{better.manifest.inputs['student']}", "production", RULE)


def test_a_comparison_is_a_page_with_its_figure_whatever_students_are_called(store: ArtefactStore) -> None:
    first, second = judged(store, "a", 0.5), judged(store, "b", 1.5)
    store.set_alias("production", first)
    compared = compare(store, ["production", str(second)], RULE)
    page = compared.page()
    assert page.count("<img ") == 1
    assert "data:image/png;base64," in page
    assert f"<td>{second}</td>" in page
    markdown = compared.page("beside.png", as_markdown=True)
    assert "](beside.png)" in markdown
    (gain,) = (row["difference"] for row in compared.rows if (row["student"], row["metric"]) == (str(second), "auroc"))
    assert f"{gain:+.2f} (" in markdown
    assert f"{gain:+.2f} (" in page
    with pytest.raises(StoreError, match=f"production and {first} are the same evaluation"):
        compare(store, ["production", str(first)], RULE)


def test_a_champion_that_cannot_be_compared_is_frozen_with_a_way_out(store: ArtefactStore) -> None:
    """The next export holds other test patients: promote and retrain say so, and what to type."""
    first, other = judged(store, "a", 0.5), judged(store, "b", 1.5)
    promote(store, str(first), "production", RULE)
    student = publish(store, dataclasses.replace(STUDENT, recipe={"name": "c"}))
    table = predictions(1.5, patient_id=[f"q{number}" for number in range(120)])
    alien = publish(store, Plan("evaluation", 2, 1, {"skill": 3}, {}, {"student": student.version}), table)
    decision, path = promote(store, str(alien), "production", RULE)
    assert (decision.verdict, store.aliases()["production"]) == ("frozen", str(first))
    (labels,) = Decision.model_validate_json(path.read_bytes()).labels
    assert (labels.shared, labels.vanished, labels.absent_patients) == (0, 120, 60)
    outcome = promoting.promote_if_better(store, alien, "production", RULE)
    assert outcome.is_frozen
    assert f"production: {first} is frozen: e: 0 of the champion's 120 test labels are left" in outcome.line
    assert f"'echoingecg artefacts alias production {alien}'" in outcome.line
    assert not promoting.promote_if_better(store, other, "production", RULE).is_frozen


def test_an_alias_that_another_machine_has_moved_meanwhile_stays(
    store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, better, theirs = judged(store, "a", 0.5), judged(store, "b", 1.5), judged(store, "c", 1.0)
    promote(store, str(first), "production", RULE)
    keep = promoting._keep
    monkeypatch.setattr(promoting, "_keep", lambda *given: store.set_alias("production", theirs) or keep(*given))
    with pytest.raises(StoreError, match="'production' has moved meanwhile: promote again, against the new one"):
        promote(store, str(better), "production", RULE)
    assert store.aliases() == {"production": str(theirs)}


def test_no_alias_moves_when_the_decision_cannot_be_written(
    store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, better = judged(store, "a", 0.5), judged(store, "b", 1.5)
    promote(store, str(first), "production", RULE)

    def full(path: Path, *others: object, **named: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StoreError, match="the disk is full"):
        promote(store, str(better), "production", RULE)
    monkeypatch.undo()
    assert store.aliases() == {"production": str(first)}


def test_which_student_is_meant(store: ArtefactStore) -> None:
    with pytest.raises(StoreError, match=r"has no evaluations: run the pipeline first"):
        find_student(store, "")
    only = judged(store, "a", 0.5)
    judged(store, "old", 0.7, card=False)  # of an earlier release: does not say how to read
    assert find_student(store, "").evaluation == only
    assert find_student(store, f"student-{only.manifest.inputs['student']}").evaluation == only
    again = publish(store, Plan("evaluation", 2, 1, {}, {}, only.manifest.inputs), predictions(0.5))
    for name in ("", f"student-{only.manifest.inputs['student']}"):
        with pytest.raises(StoreError, match=rf"2 evaluations: name one of .*{again}"):
            find_student(store, name)
    store.set_alias("production", again)
    assert find_student(store, "").evaluation == again
    assert find_student(store, str(only)).student.version == only.manifest.inputs["student"]
    with pytest.raises(StoreError, match="no artefact named"):
        find_student(store, "student-0000")


@pytest.mark.parametrize("alias", ["../../../evil", "a/b", "/tmp/evil", "..", "student", ""])
def test_a_path_is_no_alias_and_writes_nothing(store: ArtefactStore, alias: str) -> None:
    challenger = judged(store, "a", 0.5)
    before = sorted(store.workspace.root.parent.rglob("*"))
    with pytest.raises(StoreError, match="cannot be an alias"):
        promote(store, str(challenger), alias, RULE)
    assert sorted(store.workspace.root.parent.rglob("*")) == before
