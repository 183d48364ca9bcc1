"""A published student judged on another cohort, without a teacher: the labels of its ECGs, the report, a new card."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts import catalog, conventions, ecg, pairs, teacher
from data_contracts import evaluation as contract
from data_contracts import evaluation_details as details
from echoingecg.common import Progress, StoreError, UserError, hash_files, no_progress
from echoingecg.evaluation import CODE_VERSION
from echoingecg.recipe import CatalogSettings, EcgSettings, EvaluationSettings, Recipe, with_overrides
from echoingecg.recipe.stages import PairsSettings, SplitShares
from tasks.base.progress import Outcome, Reporter, as_task
from tasks.base.workspace import writing_to
from tasks.catalog import read_exact
from tasks.evaluation import provenance_of
from tasks.operations.students import find_reader
from tasks.pairs import sides_of
from tasks.pools import PoolSignals
from tasks.store import Artefact, ArtefactStore, Built, Job, Plan

_EVERYBODY_TESTS = SplitShares(train=0, validation=0, test=1)


@dataclass(frozen=True)
class JudgedStudent:
    """A student to judge.

    Attributes:
        student: the artefact, trained here or imported.
        evaluation: holds the reading card whose choices are applied; None to choose anew on a part of the cohort.
        recipe: as the cohort is read and judged.
    """

    student: Artefact
    evaluation: Artefact | None
    recipe: Recipe

    def __str__(self) -> str:
        card = "a new card" if self.evaluation is None else f"the card of {self.evaluation}"
        return f"{self.student} with {card}"


@dataclass(frozen=True)
class JudgedCohort:
    """What came of it.

    Attributes:
        folder: holds tables, report and card.
        counts: of ECGs, patients and so on.
        artefact: the published evaluation, where a new card was made.
    """

    folder: Path
    counts: dict[str, int]
    artefact: Artefact | None


def student_to_judge(
    store: ArtefactStore,
    name: str,
    recipe: Recipe | None,
    base: Recipe,
    new_card: bool,
    overrides: Sequence[str] = (),
) -> JudgedStudent:
    """Finds the student and its card, and the recipe by which another cohort is read as the student's own was.

    Args:
        store: holds the student.
        name: student or evaluation, STAGE-VERSION or alias; empty for production or the only one.
        recipe: whose sections catalog, pairs and evaluation count, and a larger `ecg.max_refused_share`; None for those
            of the student's own evaluation.
        base: where the student has no evaluation.
        new_card: thresholds are to be chosen on a part of the cohort.
        overrides: fields of the student's own evaluation to replace, `section.field=value`.

    Raises:
        StoreError: no such student.
    """
    model = find_reader(store, name)
    student, card = model.student, model.evaluation
    made = {stage: store.in_lineage(student, stage) for stage in ("catalog", "ecg", "pairs")}
    own = recipe or base
    if recipe is None and card is not None:
        own = own.model_copy(update={"evaluation": EvaluationSettings.model_validate(card.manifest.recipe)})
    if recipe is None:
        own = with_overrides(own, list(overrides))
    sections: dict[str, Any] = {}
    if (signals := made["ecg"]) is not None:
        theirs_ecg = EcgSettings.of_artefact(signals.manifest.recipe)
        share = max(theirs_ecg.max_refused_share, own.ecg.max_refused_share)  # changes no signal
        sections["ecg"] = theirs_ecg.model_copy(update={"max_refused_share": share})
    else:  # released weights
        sections["ecg"] = own.ecg.model_copy(update={"edge": "published"})
    if (paired := made["pairs"]) is not None:
        theirs = PairsSettings.model_validate(paired.manifest.recipe)
        sections["pairs"] = own.pairs.model_copy(update={"split": theirs.split, "split_key": theirs.split_key})
    asked = own.evaluation
    names = [name for endpoint in (*asked.endpoints, *asked.regressions) for name in endpoint.measurements]
    if (stated := own.pairs.split_by) is not None:
        names.append(stated.measurement)
    key = own.catalog.public_key
    if recipe is None and not any(text.startswith("catalog.public_key=") for text in overrides):
        key = ""  # that of the workspace: `base` may have a public one
    if not key and made["catalog"] is not None:
        key = CatalogSettings.model_validate(made["catalog"].manifest.recipe).public_key
    update = {"public_key": key, "measurements": tuple(dict.fromkeys(names))}
    if recipe is None:
        update["layout"] = "auto"
    sections["catalog"] = own.catalog.model_copy(update=update)
    return JudgedStudent(student, None if new_card else card, own.model_copy(update=sections))


def judge_cohort(
    job: Job,
    judged: JudgedStudent,
    listed: Artefact,
    signals: Artefact,
    labels: Path | None = None,
    output: Path | None = None,
    progress: Progress = no_progress,
) -> JudgedCohort:
    """Labels the cohort's ECGs, evaluates the student on them, and writes tables, report and card.

    With a card every ECG of a patient that the student was not made with is a test ECG. Without one the patients are
    split, and the evaluation is published with the card that was chosen on its validation split.

    Args:
        job: that built `listed` and `signals`.
        judged: of `student_to_judge`.
        listed: catalog of the cohort.
        signals: ecg of the cohort.
        labels: a table of labels, see echoingecg.pairs.label_file; None for the export's own.
        output: new or empty folder for the files; None puts them into the workspace.
        progress: told the ECGs done.

    Raises:
        StoreError: `output` is not empty.
        UserError: no ECG has a label.
    """
    store, settings = job.store, judged.recipe.evaluation
    if output is not None and output.exists() and any(output.iterdir()):
        raise StoreError(f"{output} is not empty: choose another --output")
    started = time.monotonic()
    inputs: dict[conventions.Stage, Artefact] = {"student": judged.student, "catalog": listed, "ecg": signals}
    source = {"labels": hash_files([labels])} if labels else {}
    sections = {"evaluation": settings.model_dump(mode="json"), "pairs": judged.recipe.pairs.model_dump(mode="json")}
    if judged.evaluation is not None:
        source["card"] = judged.evaluation.manifest.content
    plan = Plan(
        stage="evaluation",
        contract_version=contract.CONTRACT_VERSION,
        code_version=CODE_VERSION,
        recipe=sections["evaluation"],
        source=source | {"pairs": judged.recipe.pairs.model_dump_json()},
        inputs={stage: artefact.version for stage, artefact in inputs.items()},
    )
    if judged.evaluation is not None:
        folder = output or store.workspace.root / "judged" / f"{judged.student.version}-{plan.version}"
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            counts = _evaluate(job, judged, inputs, labels, folder, progress)
        return JudgedCohort(folder, counts, None)
    with store.locked(plan):
        if (existing := store.find("evaluation", plan.version)) is not None:
            return JudgedCohort(existing.folder, existing.manifest.counts, existing)
        with store.building(plan) as folder:
            counts = _evaluate(job, judged, inputs, labels, folder, progress)
            artefact = store.publish(plan, folder, Built(counts), started)
    return JudgedCohort(artefact.folder, counts, artefact)


def _evaluate(
    job: Job,
    judged: JudgedStudent,
    inputs: Mapping[conventions.Stage, Artefact],
    labels: Path | None,
    folder: Path,
    progress: Progress,
) -> dict[str, int]:
    from echoingecg.evaluation.data.inputs import EvaluationInputs
    from echoingecg.evaluation.decision.reading_card import LoadedReadingCard
    from echoingecg.evaluation.evaluate import evaluate  # torch, matplotlib
    from echoingecg.student.store import load

    store, signals = job.store, PoolSignals(job.workspace, inputs["ecg"])
    student = load(judged.student.folder)
    tables, notes = _labelled(job, judged, inputs, labels)
    card = None if judged.evaluation is None else LoadedReadingCard.load(judged.evaluation.folder)
    provenance = provenance_of(
        store.workspace, inputs, judged.recipe.evaluation.model_dump(mode="json"), tables[pairs.FILTERS.name]
    )
    provenance["notes"] = notes
    evaluated = EvaluationInputs(
        student=student,
        signals=signals,
        ecg=EcgSettings.of_artefact(inputs["ecg"].manifest.recipe),
        ecg_code_version=inputs["ecg"].manifest.code_version,
        record_ids=signals.record_ids,
        patients=tables[pairs.PATIENTS.name],
        ecg_echo=tables[pairs.ECG_ECHO.name],
        labels=tables[pairs.LABELS.name],
        studies=teacher.STUDIES.schema.empty_table(),
        target_mean=np.empty((0, student.dim), np.float32),
        target_log_var=np.empty((0, student.dim), np.float32),
        subgroups=catalog.SUBGROUPS.read(inputs["catalog"].folder),
        records=ecg.RECORDS.read(inputs["ecg"].folder),
        provenance=provenance,
        content_hashes=signals.content_hashes,
    )
    return evaluate(evaluated, judged.recipe.evaluation, folder, progress, card)


def _labelled(
    job: Job, judged: JudgedStudent, inputs: Mapping[conventions.Stage, Artefact], labels: Path | None
) -> tuple[dict[str, pa.Table], list[str]]:
    """Tables of the pairs contract, without pairs, and what a reader of the report must know about them."""
    from echoingecg.pairs.label_file import read_label_file
    from echoingecg.pairs.match import build

    listed, settings, notes = inputs["catalog"], judged.recipe.pairs, []
    ecgs = read_exact(job, listed, catalog.ECGS)
    own = job.store.in_lineage(judged.student, "pairs")
    if own is None:
        notes.append(
            "It is not known which patients this student was trained on. If some of them are in this cohort, the "
            "numbers below are too good."
        )
    if judged.evaluation is not None:
        notes.append(f"Thresholds, calibrators and limits are those of {judged.evaluation}, chosen on another cohort.")
        settings = settings.model_copy(update={"split": _EVERYBODY_TESTS, "split_by": None})
        is_known = _were_used(ecgs, own, judged.evaluation)
        if known := len(pc.unique(ecgs.filter(is_known)["patient_id"])):
            notes.append(f"{known} patients of this cohort are left out: the student or its card was made with them.")
            ecgs = ecgs.filter(pc.invert(is_known))
    measurements = read_exact(job, listed, catalog.MEASUREMENTS)
    if labels is not None:
        measurements = _with_split(read_label_file(labels, job.key), measurements, settings)
    if judged.evaluation is None and own is not None:
        is_moved = _have_moved(ecgs, own, measurements, settings)
        if moved := len(pc.unique(ecgs.filter(is_moved)["patient_id"])):
            notes.append(
                f"{moved} patients of this cohort are left out: the student was made with them on another side of the "
                "split."
            )
            ecgs = ecgs.filter(pc.invert(is_moved))
    tables = build(
        ecgs=ecgs,
        echoes=read_exact(job, listed, catalog.ECHOES),
        reports=catalog.REPORTS.schema.empty_table(),
        measurements=measurements,
        records=ecg.RECORDS.read(inputs["ecg"].folder),
        studies=teacher.STUDIES.schema.empty_table(),
        settings=settings,
    )
    if not tables[pairs.LABELS.name].num_rows:
        asked = ", ".join(judged.recipe.catalog.measurements) or "none"
        raise UserError(
            f"no ECG of this cohort has a label: the recipe asks for {asked}; see pairs.labels for the exams that count"
        )
    return tables, notes


def _were_used(ecgs: pa.Table, own: Artefact | None, judged: Artefact) -> pa.ChunkedArray:
    """Whether the patient of each ECG was on the training or validation side of the student, or of its card."""
    cards = details.UNCERTAINTY.read(judged.folder)
    records = cards.filter(pc.not_equal(cards["split"], "test"))["record_id"].combine_chunks()
    patients = ecgs.filter(pc.is_in(ecgs["record_id"], records))["patient_id"].to_pylist()
    if own is not None:
        sides = pairs.PATIENTS.read(own.folder)
        patients += sides.filter(pc.not_equal(sides["split"], "test"))["patient_id"].to_pylist()
    return pc.is_in(ecgs["patient_id"], pa.array(patients, pa.string()))


def _with_split(labels: pa.Table, listed: pa.Table, settings: PairsSettings) -> pa.Table:
    """A table of labels with the export's own statements of the published split, unless the table has them itself."""
    if settings.split_by is None or settings.split_by.measurement in labels["measurement"].to_pylist():
        return labels
    stated = listed.filter(pc.equal(listed["measurement"], settings.split_by.measurement))
    return pa.concat_tables([labels, stated])


def _have_moved(ecgs: pa.Table, own: Artefact, measurements: pa.Table, settings: PairsSettings) -> pa.ChunkedArray:
    """Whether the patient of each ECG stands on another side here than where the student was made."""
    from echoingecg.pairs.split import FilterSteps, split_patients

    theirs = sides_of(own)
    known = sorted(theirs.keys() & set(ecgs["patient_id"].to_pylist()))
    sides = split_patients(known, measurements, settings, FilterSteps("split"))
    moved = [patient for patient in known if sides[patient] != theirs[patient]]
    return pc.is_in(ecgs["patient_id"], pa.array(moved, pa.string()))


def _judge(
    job: Job, judged: JudgedStudent, listed: Artefact, signals: Artefact, labels: Path | None, output: Path | None
) -> Outcome:
    cohort = judge_cohort(job, judged, listed, signals, labels, output, Reporter("evaluate"))
    counts = ", ".join(f"{count} {name}" for name, count in cohort.counts.items())
    return Outcome(f"{judged}: {counts}", cohort)


judge = as_task("evaluate", _judge)
