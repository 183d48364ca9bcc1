"""No test label touches a threshold, calibrator, referral, early stop, few-shot draw or score: a canary proves it.

That the fine-tuned classifiers stop without them is proved beside their training: tests/student.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.evaluation import (
    ANSWERS,
    FEW_SHOT,
    INTERVALS,
    METRICS,
    PREDICTIONS,
    REGRESSION_METRICS,
    REGRESSIONS,
    RELIABILITY,
    RISK_COVERAGE,
    RULES,
    STRATA,
)
from data_contracts.evaluation_details import RETRIEVAL, SHIFT, STRESS, UNCERTAINTY
from data_contracts.pairs import ECG_TEXT
from data_contracts.prediction import FILENAME
from echoingecg.evaluation.compare import compare_students
from echoingecg.evaluation.evaluate import EvaluationInputs, evaluate
from echoingecg.evaluation.protocols.zero_shot_and_probe import few_shot
from echoingecg.recipe import EvaluationSettings, FewShotSettings, PromotionSettings
from echoingecg.student.data.pairs import TrainingData
from helpers.cases.evaluation_case import SPLIT_OF

COUNTED = {
    "label",
    "value",
    "low",
    "high",
    "positives",
    "risk",
    "compared_value",
    "wrong",
    "wrong_of_answered",
    "auroc",
    "probability_excess",
}  # columns that test labels make
RULES_OF_LABELS = ("threshold", "threshold_at_specificity", "one_from", "zero_to", "platt_slope", "isotonic_score")
EDGES = ("low", "high")  # of reliability bins: no label makes them


def with_shuffled_labels(inputs: EvaluationInputs, side: str) -> EvaluationInputs:
    """The measurements of one side's ECGs dealt out anew among them."""
    rows = inputs.labels.to_pylist()
    places = [at for at, row in enumerate(rows) if row["split"] == side and row["value"] != 100.0]
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
    same = [RULES.filename, ANSWERS.filename, INTERVALS.filename, FILENAME, UNCERTAINTY.filename, RETRIEVAL.filename]
    same += [f"figures/{name}.png" for name in ("retrieval", "training", "flow")]
    for name in same:
        assert (evaluated / name).read_bytes() == (tmp_path / name).read_bytes(), name
    for table in (METRICS, FEW_SHOT, REGRESSION_METRICS, STRATA, RELIABILITY, RISK_COVERAGE, SHIFT, STRESS):
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
        for rule in RULES_OF_LABELS:
            assert was[rule] != became[rule], rule


def test_few_shot_draws_models_and_thresholds_are_blind_to_test_labels() -> None:
    """With the test labels turned round, every AUROC and balanced accuracy is 1 less itself: the scores, the
    thresholds and so the ECGs drawn are the same. With the validation labels turned round, the thresholds move."""
    generator = np.random.default_rng(8)
    mean, split = generator.normal(size=(400, 6)), np.array(SPLIT_OF)[np.arange(400) // 2 % 5]
    label = (mean[:, 0] + generator.normal(size=400) > 0).astype(np.int8)
    patient = np.array([f"p-{at // 2}" for at in range(400)])

    def found(side: str) -> list[tuple[float, float, float]]:
        turned = np.where(split == side, 1 - label, label)
        asked = FewShotSettings(cases=(1, 4, 16), draws=7)
        return [(one.value, one.low, one.high) for one in few_shot(mean, turned, patient, split, asked, 43)]

    plain = found("nobody")
    assert len(plain) == 6
    np.testing.assert_allclose([(1 - value, 1 - high, 1 - low) for value, low, high in found("test")], plain)
    moved = np.array(found("validation")) != np.array(plain)
    assert not moved[::2].any()  # AUROC has no threshold
    assert moved[1::2, 0].all()


def test_the_champion_rule_reads_test_rows_alone_and_refits_nothing(evaluated: Path) -> None:
    """Labels of training and validation ECGs in the tables say nothing to it; scores and decisions are as stored."""
    rule, table = PromotionSettings(draws=20), PREDICTIONS.read(evaluated)
    frame = table.to_pandas()
    blind = frame["label"].where(frame["split"] == "test", 1 - frame["label"]).astype("int8")
    turned = table.set_column(table.schema.get_field_index("label"), table.schema.field("label"), pa.array(blind))
    assert compare_students(turned, turned, rule) == compare_students(table, table, rule)
    accuracy = compare_students(table, table, PromotionSettings(draws=20, metric="balanced_accuracy"))
    metrics = METRICS.read(evaluated).to_pandas()
    for one in accuracy:
        own = metrics[(metrics["endpoint"] == one.endpoint) & (metrics["protocol"] == rule.protocol)]
        own = own[(own["group"] == "all") & (own["metric"] == "balanced_accuracy")]
        assert one.champion == own["value"].item()


def test_training_and_its_early_stop_are_given_no_test_pair(inputs: EvaluationInputs) -> None:
    """What the student learns from and stops on is the same whether the test split's pairs are there or not."""
    pairs = inputs.ecg_echo
    texts = ECG_TEXT.build(
        [
            {"record_id": row["record_id"], "report_id": f"t-{at}", "text": "Normal.", "method": "ECHO"}
            | {name: row[name] for name in ("patient_id", "split")}
            for at, row in enumerate(pairs.to_pylist())
        ]
    )
    given = {
        TrainingData.from_tables(
            inputs.signals,
            inputs.record_ids,
            inputs.studies["study_id"].to_pylist(),
            inputs.target_mean,
            inputs.target_log_var,
            *tables,
        ).fingerprint()
        for tables in ((pairs, texts), (without_test(pairs), without_test(texts)))
    }
    assert len(given) == 1


def without_test(pairs: pa.Table) -> pa.Table:
    return pairs.filter(pc.not_equal(pairs["split"], "test"))


def thresholds_of(report: str) -> list[str]:
    found = [line for line in report.splitlines() if "decided as label 1 from a score of" in line]
    assert len(found) == 10  # two endpoints, five protocols
    return found
