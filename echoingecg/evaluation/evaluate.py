"""Entry point of the stage: predictions, metrics, reading card, figures and report, in one folder."""

from pathlib import Path

import numpy as np

from data_contracts import evaluation, evaluation_details, prediction
from echoingecg.common import Progress, no_progress
from echoingecg.evaluation.data.embed import GaussianTable, Signals, StudentModel
from echoingecg.evaluation.data.inputs import EvaluationInputs, EvaluationPairs, Provenance
from echoingecg.evaluation.data.models import read_models
from echoingecg.evaluation.decision.reading_card import LoadedReadingCard, quantiles
from echoingecg.evaluation.protocols import classification, regression, retrieval
from echoingecg.evaluation.report.render import write_report
from echoingecg.evaluation.report.tables import question
from echoingecg.evaluation.tables.build import build_tables
from echoingecg.recipe import EvaluationSettings

__all__ = ["EvaluationInputs", "Provenance", "Signals", "StudentModel", "evaluate"]


def make_card(
    endpoints: list[classification.EndpointResult], inputs: EvaluationInputs, validation: np.ndarray
) -> LoadedReadingCard:
    """The reading card; nothing in it depends on the test split.

    Args:
        endpoints: results of all endpoints.
        inputs: of the same evaluation.
        validation: (n,) float64, uncertainty of the validation ECGs.
    """
    readings, lines = [], []
    for result in endpoints:
        for protocol in result.protocols:
            if protocol.linear_score is None:  # a card holds only scores that are linear in the student's embedding
                continue
            readings.append(
                prediction.Reading(
                    endpoint=result.endpoint.name,
                    question=question(result.endpoint),
                    protocol=protocol.protocol,
                    threshold_says=protocol.threshold.origin,
                    calibration=protocol.choices.calibration,
                    referral=protocol.choices.referral,
                )
            )
            lines.append(protocol.linear_score)
    card = prediction.ReadingCard(
        student=inputs.provenance["versions"]["student"],
        ecg=inputs.ecg.model_dump(mode="json"),
        readings=tuple(readings),
    )
    return LoadedReadingCard(card, tuple(lines), quantiles(validation))


def evaluate(
    inputs: EvaluationInputs, settings: EvaluationSettings, folder: Path, progress: Progress = no_progress
) -> dict[str, int]:
    """Evaluates a student and writes the files of the evaluation artefact.

    All splits are predicted. Thresholds, calibrators and the rule of referral come from the validation split, metrics
    from the test split alone. Equal inputs give equal bytes. The report names endpoints and protocols that cannot be
    evaluated, with the reason.

    Args:
        inputs: student, signals, pairs, targets, provenance.
        settings: endpoints, protocols, bootstrap, rules.
        folder: exists; receives the tables of data_contracts.evaluation, reading_card.safetensors, and the files of
            `write_report`.
        progress: receives the number of ECGs embedded, then the name of the endpoint at work.

    Returns:
        Counts for the manifest: ecgs, test_ecgs, test_patients, endpoints, regressions, predictions, metrics, figures.

    Raises:
        ContractError: the inputs contradict each other, a patient is in two splits, or the student's output is not
            finite or has another width.
        UserError: an external model lacks a paired ECG.
    """
    pairs = EvaluationPairs.from_inputs(inputs)
    models = read_models(inputs, pairs, settings, progress)
    ecgs = models.ecgs
    endpoints: list[classification.EndpointResult] = []
    for endpoint in settings.endpoints:
        progress(len(ecgs), len(ecgs), f"endpoint {endpoint.name}")
        endpoints.append(classification.evaluate_endpoint(endpoint, inputs, pairs, models, settings))
    regressions: list[regression.RegressionResult] = []
    for number in settings.regressions:
        progress(len(ecgs), len(ecgs), f"number {number.name}")
        regressions.append(regression.evaluate_regression(number, inputs, pairs, models, settings))
    progress(len(ecgs), len(ecgs), "measures")
    retrieved = _retrieval(inputs, pairs, ecgs)
    tables = build_tables(endpoints, regressions, retrieved, inputs, pairs, ecgs, settings)
    for contract in evaluation.TABLES:
        contract.write(tables[contract.name], folder)
    validation = ecgs.uncertainty[pairs.split == "validation"]
    make_card(endpoints, inputs, validation).save(folder)
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
