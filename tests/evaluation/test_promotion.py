"""Champion and challenger: the paired bootstrap against a slow one, and the rule against known cases."""

from collections.abc import Callable, Collection

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from data_contracts.monitoring import EndpointComparison
from echoingecg.common import UserError
from echoingecg.evaluation.compare import (
    HEADLINE,
    compare_any,
    compare_students,
    decide_promotion,
    frozen,
    shared_labels,
)
from echoingecg.recipe.evaluation import PromotionSettings
from helpers.cases.predictions import predictions


@pytest.mark.parametrize(
    ("metric", "column", "slow"),
    [("auroc", "score", roc_auc_score), ("balanced_accuracy", "decision", balanced_accuracy_score)],
)
def test_differences_are_those_of_one_resample_for_both(metric: str, column: str, slow: Callable[..., float]) -> None:
    old, new = predictions(0.5), predictions(1.0)
    rule = PromotionSettings(metric=metric, draws=200, seed=5)
    (found,) = compare_students(old, new, rule)
    one, other = old.to_pandas(), new.to_pandas()
    assert found.champion == pytest.approx(slow(one["label"], one[column]))
    assert found.challenger == pytest.approx(slow(other["label"], other[column]))
    names, owner = np.unique(one["patient_id"].to_numpy().astype(str), return_inverse=True)
    picks = np.random.default_rng(5).integers(0, len(names), (200, len(names)))
    weights = [np.bincount(row, minlength=len(names))[owner] for row in picks]
    drawn = [
        slow(one["label"], other[column], sample_weight=weight) - slow(one["label"], one[column], sample_weight=weight)
        for weight in weights
    ]
    np.testing.assert_allclose([found.low, found.high], np.percentile(drawn, [2.5, 97.5]), atol=1e-9)
    assert (found.records, found.patients, found.positives) == (120, 60, int(one["label"].sum()))


def test_better_is_promoted_equal_and_worse_are_not() -> None:
    rule = PromotionSettings()
    old = predictions(0.5)
    verdicts = [decide_promotion(compare_students(old, predictions(skill), rule), rule)[0] for skill in (1.5, 0.5, 0.1)]
    assert verdicts == [True, False, False]
    (same,) = compare_students(old, old, rule)
    assert (same.gain, same.low, same.high) == (0, 0, 0)


def test_company_and_order_do_not_matter() -> None:
    rule = PromotionSettings(draws=50)
    old, new = predictions(0.5), predictions(1.0)
    more = pa.concat_tables([new, predictions(1.0, split="train", record_id=[f"x{at}" for at in range(120)])])
    shuffled = more.take(np.random.default_rng(1).permutation(more.num_rows))
    assert compare_students(old, shuffled, rule) == compare_students(old, new, rule)


def without(table: pa.Table, records: Collection[str]) -> pa.Table:
    return table.filter([name not in records for name in table["record_id"].to_pylist()])


def test_one_more_ecg_of_a_test_patient_costs_the_ecg_whose_place_it_takes() -> None:
    """Patient p3's echo now goes with a new ECG; the other 119 are compared as if r6 had never been there."""
    rule, old, new = PromotionSettings(draws=50), predictions(0.5), predictions(1.5)
    names = ["r120" if name == "r6" else name for name in new["record_id"].to_pylist()]
    moved = new.set_column(new.schema.get_field_index("record_id"), "record_id", pa.array(names))
    assert compare_students(old, moved, rule) == compare_students(without(old, {"r6"}), without(new, {"r6"}), rule)
    (labels,) = shared_labels(old, moved, rule)
    counts = {"champion": 120, "shared": 119, "changed": 0, "vanished": 1, "absent_patients": 0, "added": 1}
    assert labels.model_dump() == {"endpoint": "e"} | counts
    assert frozen((labels,), rule) == ""


def test_a_withdrawn_patient_is_counted_and_left_out() -> None:
    rule, old, new = PromotionSettings(draws=50), predictions(0.5), predictions(1.5)
    gone = {"r6", "r7"}
    assert compare_students(old, without(new, gone), rule) == compare_students(without(old, gone), new, rule)
    (labels,) = shared_labels(old, without(new, gone), rule)
    assert (labels.shared, labels.vanished, labels.absent_patients, labels.added) == (118, 2, 1, 0)


def test_a_corrected_label_counts_for_both() -> None:
    rule, old, new = PromotionSettings(draws=50), predictions(0.5), predictions(1.5)
    label = old["label"].to_numpy().copy()
    label[:3] = 1 - label[:3]
    (compared_now,) = compare_students(old, predictions(1.5).set_column(5, "label", pa.array(label)), rule)
    assert compared_now.champion == pytest.approx(roc_auc_score(label, old["score"]))
    assert compared_now.challenger == pytest.approx(roc_auc_score(label, new["score"]))
    (labels,) = shared_labels(old, predictions(1.5).set_column(5, "label", pa.array(label)), rule)
    assert (labels.shared, labels.changed, labels.vanished) == (120, 3, 0)


@pytest.mark.parametrize(
    ("new", "left", "is_frozen"),
    [
        (predictions(1.0, patients=30), 60, False),
        (predictions(1.0, patients=29), 58, True),
        (predictions(1.0, split="train"), 0, True),
        (predictions(1.0, endpoint=["another"] * 120), 0, True),
    ],
)
def test_a_champion_is_frozen_when_less_than_half_of_its_labels_are_left(
    new: pa.Table, left: int, is_frozen: bool
) -> None:
    rule, old = PromotionSettings(), predictions(0.5)
    (labels,) = shared_labels(old, new, rule)
    assert labels.shared == left
    assert frozen((labels,), rule) == (f"e: {left} of the champion's 120 test labels are left" if is_frozen else "")
    assert bool(frozen((labels,), PromotionSettings(least_shared=0))) is (left == 0), "without any, there is no measure"


def test_an_unknown_protocol_is_refused() -> None:
    old = predictions(0.5)
    with pytest.raises(UserError, match="no test prediction under protocol 'tea'"):
        compare_students(old, old, PromotionSettings(protocol="tea"))


def compared(name: str, low: float | None, gain: float = 0.1) -> EndpointComparison:
    values = {"champion": 0.5, "challenger": 0.5 + gain, "records": 9, "patients": 9, "positives": 4}
    return EndpointComparison(endpoint=name, low=low, high=None if low is None else low + 0.2, **values)


@pytest.mark.parametrize(
    ("first", "second", "endpoint", "promoted"),
    [
        (0.01, 0.0, "", True),
        (0.01, -0.049, "", True),
        (0.01, -0.051, "", False),
        (0.0, 0.1, "", False),
        (0.0, 0.1, "b", True),
        (None, 0.1, "", False),
        (0.1, None, "", False),
    ],
)
def test_the_rule(first: float | None, second: float | None, endpoint: str, promoted: bool) -> None:
    rule = PromotionSettings(endpoint=endpoint)
    found, says = decide_promotion((compared("a", first), compared("b", second)), rule)
    assert found is promoted
    assert says
    with pytest.raises(UserError, match=r"promotion\.endpoint"):
        decide_promotion((compared("a", first),), PromotionSettings(endpoint="c"))


def test_one_class_gives_no_interval() -> None:
    ones = predictions(0.5, label=np.ones(120, np.int8))
    (found,) = compare_students(ones, ones, PromotionSettings())
    assert (found.champion, found.low, found.gain) == (None, None, None)
    few = np.zeros(120, np.int8)
    few[:2] = 1  # both of one patient
    (found,) = compare_students(predictions(0.5, label=few), predictions(1.0, label=few), PromotionSettings())
    assert found.gain is not None
    assert (found.low, found.high) == (None, None)


def test_any_students_are_compared_on_the_labels_that_all_share() -> None:
    """The values are scikit-learn's on the shared labels, the intervals those of one resample for all."""
    rule = PromotionSettings(draws=100, seed=5)
    first, second, third = predictions(0.5), predictions(1.0), predictions(1.5)
    turned = third["label"].to_numpy().copy()
    turned[10] = 1 - turned[10]  # the third's export has another label for r10
    third = third.set_column(third.column_names.index("label"), "label", pa.array(turned, pa.int8()))
    second = without(second, {"r0", "r3"})
    rows = compare_any({"a": first, "b": second.take(np.arange(second.num_rows)[::-1]), "c": third}, rule)
    assert [(row["student"], row["metric"]) for row in rows] == [
        (name, metric) for name in "abc" for metric in HEADLINE
    ]
    kept = [index for index in range(120) if index not in {0, 3, 10}]
    label, owner = first["label"].to_numpy()[kept], first["patient_id"].to_numpy(zero_copy_only=False)[kept]
    names, owner = np.unique(owner.astype(str), return_inverse=True)
    picks = np.random.default_rng(5).integers(0, len(names), (100, len(names)))
    weights = [np.bincount(row, minlength=len(names))[owner] for row in picks]
    for name, skill in (("a", 0.5), ("b", 1.0), ("c", 1.5)):
        (row,) = (row for row in rows if (row["student"], row["metric"]) == (name, "auroc"))
        score, base = (predictions(of)["score"].to_numpy()[kept] for of in (skill, 0.5))
        assert row["value"] == pytest.approx(roc_auc_score(label, score))
        assert (row["records"], row["patients"], row["positives"], row["changed"]) == (117, 60, label.sum(), 1)
        assert row["alone"] == (0 if name == "b" else 2)
        if name == "a":
            assert row["difference"] is row["difference_low"] is row["p"] is None
            continue
        drawn = [
            roc_auc_score(label, score, sample_weight=weight) - roc_auc_score(label, base, sample_weight=weight)
            for weight in weights
        ]
        assert row["difference"] == pytest.approx(roc_auc_score(label, score) - roc_auc_score(label, base))
        np.testing.assert_allclose(
            [row["difference_low"], row["difference_high"]], np.percentile(drawn, [2.5, 97.5]), atol=1e-9
        )


def test_students_that_share_nothing_are_not_compared() -> None:
    one, rule = predictions(0.5), PromotionSettings(draws=50)
    with pytest.raises(UserError, match="two or more"):
        compare_any({"a": one}, rule)
    strangers = predictions(1.0, record_id=[f"x{number}" for number in range(120)])
    with pytest.raises(UserError, match="a, b share no test label"):
        compare_any({"a": one, "b": strangers}, rule)
    with pytest.raises(UserError, match=r"^b: no test prediction under protocol 'zero_shot'"):
        compare_any({"a": one, "b": predictions(1.0, split="train")}, rule)
