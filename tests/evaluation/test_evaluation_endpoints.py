"""Labels: comparison, units, impossible values; and which study labels an ECG."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from evaluation_case import lvef_below, make_inputs
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.errors import ContractError
from data_contracts.pairs import LABELS
from echoingecg.evaluation.endpoints import NO_LABEL, label_studies
from echoingecg.evaluation.inputs import EvaluationPairs


def labels_of(*rows: tuple[str, str, float, str]) -> pa.Table:
    return LABELS.build(
        [
            {"study_id": study, "patient_id": "p", "measurement": measurement, "value": value, "unit": unit}
            for study, measurement, value, unit in rows
        ]
    )


def test_every_way_out_is_counted() -> None:
    table = labels_of(
        ("a", "lvef", 39.9, "%"),
        ("b", "lvef", 40.0, "%"),
        ("c", "lvef", 0.39, ""),
        ("d", "lvef", 100.0, "%"),
        ("e", "lvef", 2.0, "%"),
        ("f", "septum", 12.0, "mm"),
        ("g", "lvef", float("nan"), "%"),
        ("h", "lvef", 90.0, "%"),
        ("other", "lvef", 20.0, "%"),
    )
    found = label_studies(lvef_below(40), table, np.array(list("abcdefgh")))
    assert found.label.tolist() == [1, 0, NO_LABEL, NO_LABEL, NO_LABEL, NO_LABEL, NO_LABEL, 0]
    assert (found.absent, found.unit_mismatch, found.impossible, found.known.sum()) == (1, 1, 3, 3)


@pytest.mark.parametrize(
    ("sign", "expected"), [("<", [1, 0, 0]), ("<=", [1, 1, 0]), (">", [0, 0, 1]), (">=", [0, 1, 1])]
)
def test_comparisons(sign: str, expected: list[int]) -> None:
    table = labels_of(("a", "lvef", 39, "%"), ("b", "lvef", 40, "%"), ("c", "lvef", 41, "%"))
    found = label_studies(lvef_below(40, comparison=sign), table, np.array(["a", "b", "c"]))
    assert found.label.tolist() == expected


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.lists(st.integers(-3, 3), min_size=30, max_size=30))
def test_nearest_pair_against_a_loop(allowed: list[bool], gaps: list[int]) -> None:
    count = len(allowed)
    record, study = np.arange(count) % 4, np.arange(count) // 2
    pairs = EvaluationPairs(*[np.empty(0)] * 6, record, study, np.array(gaps[:count], float))
    expected = []
    for one in range(4):
        own = [at for at in range(count) if allowed[at] and record[at] == one]
        if own:
            expected.append(min(own, key=lambda at: (abs(gaps[at]), study[at])))
    assert pairs.nearest(np.array(allowed)).tolist() == expected


def test_pairs_that_contradict_the_artefacts_are_refused() -> None:
    inputs = make_inputs(20)
    with pytest.raises(ContractError, match="1 ECG identifiers"):
        EvaluationPairs.of(replace(inputs, record_ids=inputs.record_ids[:-1]))
    with pytest.raises(ContractError, match="1 study identifiers"):
        EvaluationPairs.of(replace(inputs, studies=inputs.studies.slice(1)))
    swapped = pa.array(["train" if side == "test" else side for side in inputs.patients["split"].to_pylist()])
    patients = inputs.patients.set_column(1, inputs.patients.schema.field(1), swapped)
    with pytest.raises(ContractError, match="leakage"):
        EvaluationPairs.of(replace(inputs, patients=patients))
