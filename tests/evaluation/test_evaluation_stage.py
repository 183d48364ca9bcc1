"""The whole stage on the planted case: tables, thresholds, determinism, cases with few or no patients."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from evaluation_case import NO_FEW_SHOT, lvef_below, make_inputs
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from data_contracts.evaluation import FEW_SHOT, METRICS, PREDICTIONS, REGRESSION_METRICS, REGRESSIONS, TABLES
from data_contracts.pairs import ECG_ECHO
from echoingecg.evaluation.evaluate import EvaluationInputs, evaluate
from echoingecg.recipe import EvaluationSettings


def test_tables_agree_with_scikit_learn(evaluated: Path) -> None:
    predictions = PREDICTIONS.read(evaluated).to_pandas()
    metrics = METRICS.read(evaluated).to_pandas()
    assert set(predictions["split"]) == {"train", "validation", "test"}
    assert len(metrics) == 2 * len(PROTOCOLS) * 3 * 2
    assert set(metrics["protocol"]) == set(PROTOCOLS)
    test = predictions[predictions["split"] == "test"]
    for (endpoint, protocol), rows in test.groupby(["endpoint", "protocol"]):
        ordered = rows.sort_values("uncertainty", kind="stable")
        half = (len(rows) + 1) // 2
        of_groups = {"all": rows, "low_uncertainty": ordered[:half], "high_uncertainty": ordered[half:]}
        for group, of_group in of_groups.items():
            at = (metrics["endpoint"] == endpoint) & (metrics["protocol"] == protocol) & (metrics["group"] == group)
            found = metrics[at].set_index("metric")
            expected = {
                "auroc": roc_auc_score(of_group["label"], of_group["score"]),
                "balanced_accuracy": balanced_accuracy_score(of_group["label"], of_group["decision"]),
            }
            for metric, value in expected.items():
                row = found.loc[metric]
                assert row["value"] == pytest.approx(value)
                assert row["low"] <= row["value"] <= row["high"]
                assert row["records"] == len(of_group)
                assert row["positives"] == of_group["label"].sum()
                assert row["patients"] == of_group["patient_id"].nunique()


def test_the_planted_signal_is_found(evaluated: Path) -> None:
    metrics = METRICS.read(evaluated).to_pandas().set_index(["endpoint", "protocol", "group", "metric"])["value"]
    for protocol in ("zero_shot", "zero_shot_teacher", "linear_probe"):
        assert 0.75 < metrics["LVEF below 50 %", protocol, "all", "auroc"] < 0.97
        certain, vague = (metrics["LVEF below 50 %", protocol, group, "auroc"] for group in GROUPS)
        assert certain > vague


PROTOCOLS = ("zero_shot", "zero_shot_teacher", "linear_probe", "ecg_measurements")
GROUPS = ("low_uncertainty", "high_uncertainty")


def test_test_labels_touch_no_threshold_and_no_decision(
    inputs: EvaluationInputs, settings: EvaluationSettings, evaluated: Path, tmp_path: Path
) -> None:
    """The canary: with the test split's measurements shuffled, only its labels and metrics change."""
    pairs = inputs.ecg_echo
    tested = set(pairs.filter(pc.equal(pairs["split"], "test"))["study_id"].to_pylist())
    rows = inputs.labels.to_pylist()
    places = [at for at, row in enumerate(rows) if row["study_id"] in tested and row["value"] != 100.0]
    shuffled = np.random.default_rng(3).permutation(places)
    values = [row["value"] for row in rows]
    for place, other in zip(places, shuffled, strict=True):
        values[place] = rows[other]["value"]
    column = inputs.labels.schema.get_field_index("value")
    labels = inputs.labels.set_column(column, inputs.labels.schema.field(column), pa.array(values))
    evaluate(replace(inputs, labels=labels), settings, tmp_path)
    for contract, truth in ((PREDICTIONS, "label"), (REGRESSIONS, "measured")):
        before, after = (contract.read(folder).to_pandas() for folder in (evaluated, tmp_path))
        untouched = [name for name in contract.schema.names if name != truth]
        assert before[untouched].equals(after[untouched])
        test = before["split"] == "test"
        assert (before[truth] != after[truth])[test].sum() > 20
        assert before[truth][~test].equals(after[truth][~test])
    reports = [(folder / "report.html").read_text(encoding="utf-8") for folder in (evaluated, tmp_path)]
    assert thresholds_of(reports[0]) == thresholds_of(reports[1])


def thresholds_of(report: str) -> list[str]:
    found = [line for line in report.splitlines() if "called label 1 from a score of" in line]
    assert len(found) == 2 * len(PROTOCOLS)
    return found


def test_an_ecg_with_two_studies_is_counted_once(inputs: EvaluationInputs, evaluated: Path) -> None:
    assert inputs.ecg_echo.num_rows > len(set(inputs.ecg_echo["record_id"].to_pylist()))
    predictions = PREDICTIONS.read(evaluated)
    keys = set(zip(*(predictions[name].to_pylist() for name in PREDICTIONS.unique), strict=True))
    assert len(keys) == predictions.num_rows


def test_same_inputs_same_bytes(
    inputs: EvaluationInputs, settings: EvaluationSettings, evaluated: Path, tmp_path: Path
) -> None:
    shuffled = inputs.ecg_echo.take(np.random.default_rng(0).permutation(inputs.ecg_echo.num_rows))
    evaluate(replace(inputs, ecg_echo=shuffled), settings, tmp_path)
    names = sorted(path.relative_to(evaluated) for path in evaluated.rglob("*") if path.is_file())
    assert len(names) == len(TABLES) + 1 + 2 * 4 + 3
    for name in names:
        assert (tmp_path / name).read_bytes() == (evaluated / name).read_bytes(), name


def test_counts(tmp_path: Path) -> None:
    notes: list[str] = []
    settings = EvaluationSettings(endpoints=(lvef_below(50),), bootstrap_draws=20, few_shot=NO_FEW_SHOT)
    counts = evaluate(make_inputs(50), settings, tmp_path, lambda done, total, note="": notes.append(note))
    figures = len(list((tmp_path / "figures").iterdir()))
    assert counts == {
        "ecgs": 100,
        "test_ecgs": 20,
        "test_patients": 10,
        "endpoints": 1,
        "regressions": 0,
        "predictions": len(PROTOCOLS) * 96,
        "metrics": len(PROTOCOLS) * 6,
        "figures": figures,
    }
    assert notes == ["ECGs embedded", "endpoint LVEF below 50 %", "figures and report"]


@pytest.mark.parametrize("patients", [1, 2, 4, 5, 12])
def test_few_patients_end_well(patients: int, tmp_path: Path) -> None:
    settings = EvaluationSettings(endpoints=(lvef_below(50), lvef_below(30)), bootstrap_draws=20, few_shot=NO_FEW_SHOT)
    evaluate(make_inputs(patients), settings, tmp_path)
    METRICS.read(tmp_path)
    PREDICTIONS.read(tmp_path)
    assert "few" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_no_pair_at_all_ends_well(inputs: EvaluationInputs, settings: EvaluationSettings, tmp_path: Path) -> None:
    counts = evaluate(replace(inputs, ecg_echo=ECG_ECHO.schema.empty_table()), settings, tmp_path)
    assert (counts["ecgs"], counts["predictions"], counts["test_ecgs"]) == (0, 0, 0)
    assert PREDICTIONS.read(tmp_path).num_rows == 0
    assert (
        METRICS.read(tmp_path)["value"].null_count == counts["metrics"] == 2 * 2 * 6
    )  # both towers' prompts ask without a label
    assert (FEW_SHOT.read(tmp_path).num_rows, REGRESSION_METRICS.read(tmp_path).num_rows) == (0, 0)


def test_no_endpoint_ends_well(inputs: EvaluationInputs, tmp_path: Path) -> None:
    counts = evaluate(inputs, EvaluationSettings(), tmp_path)
    assert (counts["predictions"], counts["metrics"], counts["figures"]) == (0, 0, 3)
    assert "The recipe names no endpoint" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_importing_the_package_stays_light() -> None:
    code = "import echoingecg.evaluation, sys; print({'torch', 'sklearn', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
