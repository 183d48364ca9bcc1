"""Entry point of the stage: predictions, metrics, reading card, figures and report, in one folder."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts import evaluation, evaluation_details, prediction
from data_contracts.conventions import LeadSet
from echoingecg.common import Progress, UserError, no_progress, one_blas_thread
from echoingecg.evaluation.data import names
from echoingecg.evaluation.data.embed import GaussianTable, Signals, StudentModel
from echoingecg.evaluation.data.inputs import EvaluationInputs, EvaluationPairs, Provenance, strings
from echoingecg.evaluation.data.models import Models, read_models
from echoingecg.evaluation.decision import reading_card
from echoingecg.evaluation.decision.answers import answer_ecgs
from echoingecg.evaluation.decision.nested import chains
from echoingecg.evaluation.decision.numbers import LoadedNumber, limits_of_questions
from echoingecg.evaluation.metrics import selective
from echoingecg.evaluation.protocols import classification, regression, retrieval, stress
from echoingecg.evaluation.protocols.teacher_check import StudyVectors, check_teacher
from echoingecg.evaluation.protocols.trust import CohortTrust
from echoingecg.evaluation.report.render import write_report
from echoingecg.evaluation.report.tables import question
from echoingecg.evaluation.tables.build import build_tables
from echoingecg.evaluation.tables.rows import lead_set_rows, protocol_scores, site_rows
from echoingecg.recipe import EvaluationSettings, FewShotSettings, TuningSettings

_NOWHERE = ""  # a side of the split that nothing is learned from, chosen on or measured on
__all__ = ["EvaluationInputs", "Provenance", "Signals", "StudentModel", "evaluate"]


def make_card(
    endpoints: list[classification.EndpointResult],
    inputs: EvaluationInputs,
    trust: CohortTrust,
    settings: EvaluationSettings,
    numbers: Sequence[LoadedNumber] = (),
) -> reading_card.LoadedReadingCard:
    """The reading card; nothing in it depends on the test split.

    Args:
        endpoints: results of all endpoints.
        inputs: of the same evaluation.
        trust: of the same cohort.
        settings: say which protocol answers.
        numbers: that the endpoints were decided beside.
    """
    readings, names_of_numbers = [], {number.reading.number for number in numbers}
    limits = limits_of_questions(
        [result.endpoint for result in endpoints],
        [entry for entry in settings.regressions if entry.name in names_of_numbers],
    )
    for result in endpoints:
        validation = result.split == "validation"
        for protocol in result.protocols:
            score, predictive = protocol.attempt.linear_score, protocol.attempt.predictive
            if score is None:  # a card holds only scores that are made of the student's embedding
                continue
            reading = prediction.Reading(
                endpoint=result.endpoint.name,
                question=question(result.endpoint),
                protocol=protocol.protocol,
                threshold_says=protocol.threshold.origin,
                calibration=protocol.choices.calibration,
                referral=protocol.choices.referral,
                predictive=None if predictive is None else predictive.scalars,
                limit=limits.get(result.endpoint.name),
                prevalence=protocol.choices.prevalence,
            )
            deviations = reading_card.quantiles(protocol.echo.deviation[validation])
            readings.append(reading_card.LoadedReading(reading, score, predictive, deviations))
    typicality, protocols = trust.typicality, {entry.reading.protocol for entry in readings}
    card = prediction.ReadingCard(
        student=inputs.provenance["versions"]["student"],
        ecg=inputs.ecg.model_dump(mode="json"),
        ecg_code_version=inputs.ecg_code_version,
        readings=tuple(entry.reading for entry in readings),
        answered_by=settings.answer_by if settings.answer_by in protocols else names.ZERO_SHOT,
        typical=None if typicality is None else typicality.limits,
        nested=tuple(tuple(chain) for chain in chains([result.endpoint for result in endpoints])),
        numbers=tuple(number.reading for number in numbers),
        **inputs.provenance["data"],
    )
    known = (trust.split == "validation") & np.isfinite(trust.distance)
    distances = reading_card.quantiles(trust.distance[known])
    return reading_card.LoadedReadingCard(card, tuple(readings), typicality, distances, tuple(numbers))


@one_blas_thread()
def evaluate(
    inputs: EvaluationInputs,
    settings: EvaluationSettings,
    folder: Path,
    progress: Progress = no_progress,
    given_card: reading_card.LoadedReadingCard | None = None,
) -> dict[str, int]:
    """Evaluates a student and writes the files of the evaluation artefact.

    All splits are predicted. Thresholds, calibrators and the rule of referral come from the validation split, or from
    `given_card`; metrics come from the test split alone. Equal inputs give equal bytes. The report
    names endpoints and protocols that cannot be evaluated, with the reason.

    Args:
        inputs: student, signals, pairs, targets, provenance.
        settings: endpoints, protocols, bootstrap, rules.
        folder: exists; receives the tables of data_contracts.evaluation, reading_card.safetensors, and the files of
            `write_report`.
        progress: receives the number of ECGs embedded, then the name of the endpoint at work.
        given_card: its thresholds, calibrators and limits are applied as they are; None to choose them on the
            validation split.

    Returns:
        Counts for the manifest: ecgs, test_ecgs, test_patients, endpoints, regressions, predictions, metrics, figures.

    Raises:
        ContractError: the inputs contradict each other, a patient is in two splits, or the student's output is not
            finite or has another width.
        UserError: an external model lacks a paired ECG, or the given card cannot be corrected to a stated prevalence.
    """
    if given_card is not None:
        _check_prevalences(settings, given_card)
    pairs = EvaluationPairs.from_inputs(inputs)
    models = read_models(inputs, pairs, settings, progress)
    ecgs = models.ecgs
    progress(len(ecgs), len(ecgs), "typicality")
    if given_card is None:
        trust = CohortTrust.from_models(inputs, pairs, models, settings)
    else:
        trust = CohortTrust.from_card(inputs, pairs, models, given_card.typicality)
    scored = []
    for endpoint in settings.endpoints:
        progress(len(ecgs), len(ecgs), f"endpoint {endpoint.name}")
        scored.append(classification.score_endpoint(endpoint, inputs, pairs, models, trust, settings, given_card))
    regressions: list[regression.RegressionResult] = []
    for number in settings.regressions:
        progress(len(ecgs), len(ecgs), f"number {number.name}")
        regressions.append(regression.evaluate_regression(number, inputs, pairs, models, trust, settings, given_card))
    progress(len(ecgs), len(ecgs), "measures")
    if given_card is None:
        numbers = [result.number for result in regressions if result.number is not None]
        endpoints = classification.decide_endpoints(scored, trust, settings, numbers)
        card = make_card(endpoints, inputs, trust, settings, numbers)
    else:
        card, numbers = given_card, list(given_card.numbers)
        endpoints = classification.decide_endpoints(scored, trust, settings, numbers, card)
    if numbers:
        said = answer_ecgs(card, card.card.answered_by, ecgs.mean, models.trunk, trust.is_referred)
        regressions = [regression.with_answers(result, said.numbers) for result in regressions]
    retrieved = _retrieval(inputs, pairs, ecgs)
    tables = build_tables(endpoints, regressions, retrieved, inputs, pairs, ecgs, trust, settings)
    if inputs.student.lead_sets and given_card is None:
        card, rows = _with_lead_sets(card, endpoints, inputs, pairs, models, settings, progress)
        tables[evaluation.LEAD_SETS.name] = evaluation.LEAD_SETS.build(rows)
    tables[evaluation_details.STRESS.name] = evaluation_details.STRESS.build(
        _stress(card, inputs, pairs, endpoints, settings, progress)
    )
    progress(len(ecgs), len(ecgs), "the teacher's own reading")
    tables[evaluation_details.TEACHER_CHECK.name] = evaluation_details.TEACHER_CHECK.build(
        _teacher_rows(inputs, pairs, settings)
    )
    if settings.leave_one_site_out and given_card is None:
        progress(len(ecgs), len(ecgs), "sites")
        tables[evaluation.SITES.name] = evaluation.SITES.build(list(_site_rows(inputs, pairs, models, settings)))
    for contract in evaluation.TABLES:
        contract.write(tables[contract.name], folder)
    card.save(folder)
    progress(len(ecgs), len(ecgs), "figures and report")
    figures = write_report(folder, settings, inputs.provenance, folder)
    test = next(row for row in tables[evaluation_details.COHORT.name].to_pylist() if row["split"] == "test")
    return {
        "ecgs": len(ecgs),
        "test_ecgs": test["ecgs"],
        "test_patients": test["patients"],
        "endpoints": len(endpoints),
        "regressions": len(regressions),
        "predictions": sum(
            tables[contract.name].num_rows for contract in (evaluation.PREDICTIONS, evaluation.REGRESSIONS)
        ),
        "metrics": tables[evaluation.METRICS.name].num_rows,
        "figures": figures,
    }


def _check_prevalences(settings: EvaluationSettings, card: reading_card.LoadedReadingCard) -> None:
    """Raises UserError where probabilities are to be corrected from a prevalence that the card does not state."""
    for entry in card.readings:
        name = entry.reading.endpoint
        if name in settings.target_prevalences and entry.reading.prevalence is None:
            raise UserError(
                f"target_prevalences: the card, of an earlier release, does not state the share of label 1 that {name} "
                "was calibrated at: run stage evaluation again"
            )


def _teacher_rows(
    inputs: EvaluationInputs, pairs: EvaluationPairs, settings: EvaluationSettings
) -> list[dict[str, Any]]:
    """Rows of TEACHER_CHECK; none where the teacher's vectors are not at hand."""
    if inputs.study_vectors is None:
        return []
    vectors = StudyVectors(strings(inputs.studies["study_id"]), inputs.study_vectors)
    encode = None if inputs.teacher is None else inputs.teacher.embed_text
    sex = dict(zip(pairs.patient_id.tolist(), classification.sex_of_ecgs(inputs, pairs).tolist(), strict=True))
    return check_teacher(vectors, inputs.labels, settings, encode, sex)


def _stress(
    card: reading_card.LoadedReadingCard,
    inputs: EvaluationInputs,
    pairs: EvaluationPairs,
    endpoints: list[classification.EndpointResult],
    settings: EvaluationSettings,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Rows of STRESS: some test ECGs, evenly spread, disturbed; none without test ECGs or readings."""
    test = np.flatnonzero(pairs.split == "test")
    if not len(test) or not card.readings or settings.stress_ecgs == 0:
        return []
    chosen = test[np.unique(np.linspace(0, len(test) - 1, settings.stress_ecgs).astype(int))]
    labels = {}
    for result in endpoints:
        label = np.full(len(pairs.record_id), np.nan)
        label[result.record] = result.label
        labels[result.endpoint.name] = label[chosen]
    rows = stress.stress_rows(
        inputs.student, card, card.card.answered_by, inputs.signals, pairs.signal_row[chosen], labels, progress
    )
    return list(rows)


def _site_rows(
    inputs: EvaluationInputs, pairs: EvaluationPairs, models: Models, settings: EvaluationSettings
) -> Iterator[dict[str, Any]]:
    """Rows of SITES, for the protocols that figures show."""
    for site, results in _leave_sites_out(inputs, pairs, models, settings):
        for result in results:
            for scores in protocol_scores(result, models.ecgs[result.record], {}):
                if scores.protocol in classification.SHOWN_PROTOCOLS:
                    yield from site_rows(scores, site, settings)


def _leave_sites_out(
    inputs: EvaluationInputs, pairs: EvaluationPairs, models: Models, settings: EvaluationSettings
) -> Iterator[tuple[str, list[classification.EndpointResult]]]:
    """Judges each site by what the other sites chose, without training again: yields sites with their results.

    Probes and predictive distributions are fitted on the other sites' training ECGs, thresholds and calibrators chosen
    on their validation ECGs. ECGs without a site count nowhere. Numbers, few-shot and tuning are left out.

    Args:
        inputs: of the stage.
        pairs: of the same inputs.
        models: what every model makes of the same pairs.
        settings: endpoints and rules.

    Yields:
        Site and results, for each site with at least MIN_PATIENTS_PER_GROUP test patients, where there are two sites.
    """
    levels = selective.subgroup_levels(pairs.record_id, inputs.subgroups, inputs.records, ())
    site = levels.get("site", np.full(len(pairs.record_id), ""))
    known = [name for name in np.unique(site).tolist() if name]
    plain = settings.model_copy(update={"few_shot": FewShotSettings(cases=()), "tuning": TuningSettings()})
    is_test = pairs.split == "test"
    for name in known if len(known) > 1 else []:
        is_own = site == name
        if len(np.unique(pairs.patient_id[is_own & is_test])) < selective.MIN_PATIENTS_PER_GROUP:
            continue
        is_used = np.where(is_own, is_test, (site != "") & ~is_test)
        cut = replace(pairs, split=np.where(is_used, pairs.split, _NOWHERE))
        trust = CohortTrust.from_models(inputs, cut, models, plain)
        scored = [
            classification.score_endpoint(endpoint, inputs, cut, models, trust, plain)
            for endpoint in settings.endpoints
        ]
        yield name, classification.decide_endpoints(scored, trust, plain)


def _with_lead_sets(
    card: reading_card.LoadedReadingCard,
    endpoints: list[classification.EndpointResult],
    inputs: EvaluationInputs,
    pairs: EvaluationPairs,
    models: Models,
    settings: EvaluationSettings,
    progress: Progress,
) -> tuple[reading_card.LoadedReadingCard, list[dict[str, Any]]]:
    """The card with those of the sets of fewer leads that the student was trained for, and the rows of LEAD_SETS.

    All ECGs are cut down to a set's leads, and everything that is learned or chosen from training and validation ECGs
    is so anew: probes, thresholds, calibrators, conformal limits, predictive distributions and typicality. Few-shot,
    tuning and other models are left out.

    Args:
        card, endpoints: of twelve leads.
        inputs, pairs, models, settings, progress: of the same evaluation.
    """
    rows = list(_lead_set_rows("twelve", endpoints, models, settings))
    fewer: dict[LeadSet, reading_card.LoadedReadingCard] = {}
    plain = settings.model_copy(update={"few_shot": FewShotSettings(cases=()), "tuning": TuningSettings()})
    for name in inputs.student.lead_sets:
        progress(len(models.ecgs), len(models.ecgs), f"leads: {name}")
        cut = replace(inputs, student=inputs.student.with_lead_set(name), compared={}, external={})
        seen = read_models(cut, pairs, plain, no_progress)
        trust = CohortTrust.from_models(cut, pairs, seen, plain)
        scored = [
            classification.score_endpoint(endpoint, cut, pairs, seen, trust, plain) for endpoint in settings.endpoints
        ]
        regressions = [
            regression.evaluate_regression(number, cut, pairs, seen, trust, plain) for number in settings.regressions
        ]
        numbers = [result.number for result in regressions if result.number is not None]
        decided = classification.decide_endpoints(scored, trust, plain, numbers)
        fewer[name] = make_card(decided, cut, trust, plain, numbers)
        rows += _lead_set_rows(name, decided, seen, settings)
    return replace(card, fewer=fewer), rows


def _lead_set_rows(
    name: LeadSet, endpoints: list[classification.EndpointResult], models: Models, settings: EvaluationSettings
) -> Iterator[dict[str, Any]]:
    """Rows of LEAD_SETS, for the protocols that figures show."""
    for result in endpoints:
        for scores in protocol_scores(result, models.ecgs[result.record], {}):
            if scores.protocol in classification.SHOWN_PROTOCOLS:
                yield from lead_set_rows(scores, name, settings)


def _retrieval(inputs: EvaluationInputs, pairs: EvaluationPairs, ecgs: GaussianTable) -> dict[str, retrieval.Retrieval]:
    """Retrieval among the test split's pairs, in both directions; empty without test pairs."""
    tested = pairs.split[pairs.record] == "test"
    if not tested.any():
        return {}
    record, query = np.unique(pairs.record[tested], return_inverse=True)
    study, match = np.unique(pairs.study[tested], return_inverse=True)
    row = pairs.target_row[study]
    studies = GaussianTable.from_log_var(inputs.target_mean[row], inputs.target_log_var[row])
    return {
        retrieval.ECG_TO_ECHO: retrieval.retrieve(ecgs[record], studies, query, match),
        retrieval.ECHO_TO_ECG: retrieval.retrieve(studies, ecgs[record], match, query),
    }
