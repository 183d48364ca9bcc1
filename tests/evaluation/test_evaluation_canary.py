"""No test label touches a threshold, a calibrator, a conformal limit or a score: a canary proves it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.evaluation import (
    ANSWERS,
    FEW_SHOT,
    METRICS,
    PREDICTIONS,
    REGRESSION_METRICS,
    REGRESSIONS,
    RELIABILITY,
    RETRIEVAL,
    RISK_COVERAGE,
    RULES,
    SHIFT,
    STRATA,
    UNCERTAINTY,
)
from data_contracts.reading_card import FILENAME
from echoingecg.evaluation.evaluate import EvaluationInputs, evaluate
from echoingecg.evaluation.names import ECG_MEASUREMENTS
from echoingecg.recipe import EvaluationSettings

COUNTED = {"label", "value", "low", "high", "positives", "risk", "compared_value"}  # columns that test labels make
EDGES = ("low", "high")  # of reliability bins: no label makes them


def with_shuffled_labels(inputs: EvaluationInputs, side: str) -> EvaluationInputs:
    """The measurements of one side's studies dealt out anew among them."""
    pairs = inputs.ecg_echo
    chosen = set(pairs.filter(pc.equal(pairs["split"], side))["study_id"].to_pylist())
    rows = inputs.labels.to_pylist()
    places = [at for at, row in enumerate(rows) if row["study_id"] in chosen and row["value"] != 100.0]
    values = [row["value"] for row in rows]
    for place, other in zip(places, np.random.default_rng(3).permutation(places), strict=True):
        values[place] = rows[other]["value"]
    column = inputs.labels.schema.get_field_index("value")
    labels = inputs.labels.set_column(column, inputs.labels.schema.field(column), pa.array(values))
    return replace(inputs, labels=labels)


def test_test_labels_touch_nothing_that_is_chosen(
    inputs: EvaluationInputs, settings: EvaluationSettings, evaluated: Path, tmp_path: Path
) -> None:
    """The canary: with the test split's measurements shuffled, its labels and what counts them change, no more."""
    evaluate(with_shuffled_labels(inputs, "test"), settings, tmp_path)
    folders = (evaluated, tmp_path)
    for contract, truth in ((PREDICTIONS, "label"), (REGRESSIONS, "measured")):
        before, after = (contract.read(folder).to_pandas() for folder in folders)
        test = before["split"] == "test"
        assert (before[truth] != after[truth])[test].sum() > 20
        assert before[truth][~test].equals(after[truth][~test])
        untouched = [name for name in contract.schema.names if name != truth]
        assert before[untouched].equals(after[untouched])
    same = [RULES.filename, ANSWERS.filename, FILENAME, UNCERTAINTY.filename, RETRIEVAL.filename]
    same += [f"figures/{name}.png" for name in ("retrieval", "training", "flow")]
    for name in same:
        assert (evaluated / name).read_bytes() == (tmp_path / name).read_bytes(), name
    for table in (METRICS, FEW_SHOT, REGRESSION_METRICS, STRATA, RELIABILITY, RISK_COVERAGE, SHIFT):
        of_both = [table.read(folder).to_pandas() for folder in folders]
        kept = [name for name in table.schema.names if name not in COUNTED or (table is RELIABILITY and name in EDGES)]
        assert of_both[0][kept].equals(of_both[1][kept]), table.name
        assert not of_both[0].equals(of_both[1]), table.name
    reports = [(folder / "report.html").read_text(encoding="utf-8") for folder in folders]
    assert thresholds_of(reports[0]) == thresholds_of(reports[1])


def test_the_canary_would_sing(
    inputs: EvaluationInputs, settings: EvaluationSettings, evaluated: Path, tmp_path: Path
) -> None:
    """Shuffled in the validation split, the same labels change every rule."""
    one = settings.model_copy(update={"endpoints": settings.endpoints[-1:]})
    evaluate(with_shuffled_labels(inputs, "validation"), one, tmp_path)
    before, after = (RULES.read(folder).to_pylist() for folder in (evaluated, tmp_path))
    for was, became in zip(before[-len(after) :], after, strict=True):
        assert (was["endpoint"], was["protocol"]) == (became["endpoint"], became["protocol"])
        if was["protocol"] == ECG_MEASUREMENTS:
            assert len(set(was["isotonic_probability"])) == 1  # the planted ECGs have no beat to measure
            continue
        for rule in ("threshold", "threshold_at_specificity", "one_from", "zero_to", "platt_slope", "isotonic_score"):
            assert was[rule] != became[rule], rule


def thresholds_of(report: str) -> list[str]:
    found = [line for line in report.splitlines() if "called label 1 from a score of" in line]
    assert len(found) == 8  # two endpoints, four protocols
    return found
