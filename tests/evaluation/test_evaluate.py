"""The whole stage on the planted case: tables, thresholds, determinism, cases with few or no patients."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    recall_score,
    roc_auc_score,
)

from data_contracts.evaluation import (
    ANSWERS,
    FEW_SHOT,
    METRICS,
    PREDICTIONS,
    REGRESSION_METRICS,
    RELIABILITY,
    RISK_COVERAGE,
    RULES,
    STRATA,
    TABLES,
)
from data_contracts.evaluation_details import STRESS, UNCERTAINTY
from data_contracts.pairs import ECG_ECHO, LABELS
from echoingecg.evaluation.evaluate import EvaluationInputs, evaluate
from echoingecg.evaluation.metrics.selective import aurc
from echoingecg.evaluation.protocols.classification import SHOWN_PROTOCOLS
from echoingecg.recipe import EvaluationSettings
from helpers.cases.evaluation_case import NO_FEW_SHOT, lvef_below, make_inputs


def test_tables_agree_with_scikit_learn(evaluated: Path) -> None:
    predictions = answered_predictions(evaluated)
    metrics = METRICS.read(evaluated).to_pandas()
    rules = RULES.read(evaluated).to_pandas().set_index(["endpoint", "protocol"])
    assert set(predictions["split"]) == {"train", "validation", "test"}
    assert set(metrics["protocol"]) == set(PROTOCOLS)
    test = predictions[predictions["split"] == "test"]
    for (endpoint, protocol), rows in test.groupby(["endpoint", "protocol"]):
        rule = rules.loc[(endpoint, protocol)]
        possible = (rows["distance"] <= rule["zero_to"], rows["distance"] >= rule["one_from"])
        answered = rows["advice"] == "predict"
        ordered = rows.sort_values("uncertainty", kind="stable")
        half = (len(rows) + 1) // 2
        of_groups = {
            "all": rows,
            "low_uncertainty": ordered[:half],
            "high_uncertainty": ordered[half:],
            "answered": rows[answered],
        }
        for group, of_group in of_groups.items():
            at = (metrics["endpoint"] == endpoint) & (metrics["protocol"] == protocol) & (metrics["group"] == group)
            found = metrics[at].set_index("metric")
            label, score, decision = of_group["label"], of_group["score"], of_group["decision"]
            if group == "answered" and label.nunique() < 2:
                assert found.loc[["auroc", "auprc", "balanced_accuracy"], "value"].isna().all()
                continue
            expected = {
                "auroc": roc_auc_score(label, score),
                "auprc": average_precision_score(label, score),
                "balanced_accuracy": balanced_accuracy_score(label, decision),
                "sensitivity": recall_score(label, decision),
                "specificity": recall_score(label, decision, pos_label=0),
                "error_rate": (label != decision).mean(),
                "brier": brier_score_loss(label, score),
            }
            if group == "all":
                called = score >= rule["threshold_at_specificity"]
                platt = sigmoid_of_distance(rule, of_group)
                isotonic = np.interp(score, rule["isotonic_score"], rule["isotonic_probability"])
                expected |= {
                    "sensitivity_at_specificity": recall_score(label, called),
                    "specificity_attained": recall_score(label, called, pos_label=0),
                    "brier_platt": brier_score_loss(label, platt),
                    "brier_isotonic": brier_score_loss(label, isotonic),
                    "aurc_mean_log_var": aurc((label != decision).to_numpy(float), rows["uncertainty"].to_numpy()),
                    "aurc_predictive_distance": aurc(
                        (label != decision).to_numpy(float), -rows["distance"].abs().to_numpy()
                    ),
                    "conformal_coverage_0": possible[0][label == 0].mean(),
                    "conformal_coverage_1": possible[1][label == 1].mean(),
                    "answered_share": answered.mean(),
                    "wrongly_answered_0": (answered & (decision == 1))[label == 0].mean(),
                    "wrongly_answered_1": (answered & (decision == 0))[label == 1].mean(),
                }
            for metric, value in expected.items():
                row = found.loc[metric]
                assert row["value"] == pytest.approx(value), (group, metric)
                assert (row["low"] <= row["value"] <= row["high"]) or alone(of_group)
                assert row["records"] == len(of_group)
                assert row["positives"] == of_group["label"].sum()
                assert row["patients"] == of_group["patient_id"].nunique()


def answered_predictions(folder: Path) -> pd.DataFrame:
    """PREDICTIONS with ANSWERS."""
    predictions, answers = (table.read(folder).to_pandas() for table in (PREDICTIONS, ANSWERS))
    joined = predictions.merge(answers)
    assert len(joined) == len(predictions) == len(answers)
    return joined


def sigmoid_of_distance(rule: pd.Series, rows: pd.DataFrame) -> np.ndarray:
    """Platt's sigmoid of the distance to the threshold in predictive deviations; in log-odds where there are none."""
    distance = logit(rows["score"].clip(1e-12, 1 - 1e-12)) - logit(rule["threshold"])
    distance /= rows["deviation"].where(rows["deviation"] > 0, 1.0)
    return expit(rule["platt_slope"] * distance + rule["platt_intercept"]).to_numpy()


def test_answers_are_the_rules_applied(evaluated: Path) -> None:
    """Each ECG's distance, probability and advice from the columns of `rules`, once more by plain formulas."""
    joined = answered_predictions(evaluated)
    rules = RULES.read(evaluated).to_pandas().set_index(["endpoint", "protocol"])
    typical = UNCERTAINTY.read(evaluated).to_pandas().set_index("record_id")["is_typical"]
    assert set(typical) == {True, False}
    assert "platt" in set(rules["calibration"]) <= {"none", "platt", "isotonic"}
    assert set(joined["advice"]) == {"predict", "refer"}
    strict, wide = "LVEF below 40 %", "LVEF below 50 %"
    on_limit = pooled = 0
    for protocol, of_protocol in joined.groupby("protocol"):
        own, parts = {}, {}
        for endpoint, rows in of_protocol.groupby("endpoint"):
            rule, rows = rules.loc[(endpoint, protocol)], rows.set_index("record_id").sort_index()
            unit = rows["deviation"].where(rows["deviation"] > 0, 1.0)
            assert (rows["deviation"] > 0).all() == (protocol == "expected_echo")
            own[endpoint] = (logit(rows["score"].clip(1e-12, 1 - 1e-12)) - logit(rule["threshold"])) / unit
            if rule["calibration"] == "platt":
                probability = sigmoid_of_distance(rule, rows)
            elif rule["calibration"] == "isotonic":
                probability = np.interp(rows["score"], rule["isotonic_score"], rule["isotonic_probability"])
            else:
                probability = np.full(len(rows), np.nan)
            parts[endpoint] = rows.assign(raw=probability)
        assert parts[strict].index.equals(parts[wide].index)
        for column, expected in (("distance", own), ("probability", {name: of["raw"] for name, of in parts.items()})):
            between = (expected[strict] + expected[wide]) / 2
            contradict = expected[strict] > expected[wide]
            for endpoint in (strict, wide):
                values = expected[endpoint].where(~contradict, between)
                np.testing.assert_allclose(parts[endpoint][column], values, rtol=1e-6, atol=1e-5)
        for endpoint, rows in parts.items():
            rule = rules.loc[(endpoint, protocol)]
            assert (rows["decision"] == (rows["distance"] >= 0)).all()
            for name, row in rows.iterrows():
                distance = row["distance"]
                labels = [
                    label for label, holds in enumerate((distance <= rule["zero_to"], distance >= rule["one_from"]))
                    if holds
                ]  # fmt: skip
                kept = (own[endpoint][name] >= 0) == (distance >= 0)
                pooled += not kept
                told = labels == [row["decision"]] and kept and typical[name]
                nearest = min(abs(distance - limit) for limit in (rule["one_from"], rule["zero_to"], 0.0))
                if nearest == 0:
                    on_limit += 1
                    assert row["advice"] == "refer"
                elif nearest > 1e-3:
                    assert row["advice"] == ("predict" if told else "refer")
    assert on_limit > 0
    assert pooled > 0


def alone(rows: pd.DataFrame) -> bool:
    """A class of one patient: no interval."""
    return rows.groupby("label")["patient_id"].nunique().min() < 2


def test_strata_and_curves_add_up_to_the_test_split(evaluated: Path) -> None:
    metrics = METRICS.read(evaluated).to_pandas()
    whole = metrics[metrics["group"] == "all"].set_index(["endpoint", "protocol", "metric"]).sort_index()
    strata = STRATA.read(evaluated).to_pandas()
    quality = strata[(strata["stratum"] == "quality") & (strata["metric"] == "error_rate")]
    risk, reliability = (table.read(evaluated).to_pandas() for table in (RISK_COVERAGE, RELIABILITY))
    for table in (strata, risk, reliability):
        assert set(table["protocol"]) == set(SHOWN_PROTOCOLS)
    for (endpoint, protocol), parts in quality.groupby(["endpoint", "protocol"]):
        of_all = whole.loc[(endpoint, protocol)]
        records = of_all.loc["error_rate", "records"]
        assert sorted(parts["level"]) == ["finding", "no finding"]
        assert parts["records"].sum() == records
        errors = (parts["value"] * parts["records"]).sum()
        assert errors == pytest.approx(of_all.loc["error_rate", "value"] * records)
        curves = risk[(risk["endpoint"] == endpoint) & (risk["protocol"] == protocol)]
        assert set(curves["doubt"]) == DOUBTS
        ends = curves[curves["records"] == records]
        assert ends["coverage"].tolist() == [1.0] * len(DOUBTS)
        assert ends["risk"].to_numpy() == pytest.approx(of_all.loc["error_rate", "value"])
        bins = reliability[(reliability["endpoint"] == endpoint) & (reliability["protocol"] == protocol)]
        for calibration, suffix in (("none", ""), ("platt", "_platt"), ("isotonic", "_isotonic")):
            of = bins[bins["calibration"] == calibration]
            assert of["records"].sum() == records
            error = (of["positives"] - of["mean_score"] * of["records"]).abs().sum() / records
            assert error == pytest.approx(of_all.loc[f"ece{suffix}", "value"])


def test_the_planted_signal_is_found(evaluated: Path) -> None:
    metrics = METRICS.read(evaluated).to_pandas().set_index(["endpoint", "protocol", "group", "metric"])["value"]
    for protocol in ("zero_shot", "zero_shot_teacher", "expected_echo", "linear_probe"):
        assert 0.75 < metrics["LVEF below 50 %", protocol, "all", "auroc"] < 0.97
        certain, vague = (metrics["LVEF below 50 %", protocol, group, "auroc"] for group in GROUPS)
        assert certain > vague


PROTOCOLS = ("zero_shot", "zero_shot_teacher", "expected_echo", "linear_probe", "ecg_measurements")
DOUBTS = {
    "mean_log_var", "total_variance", "max_log_var", "score_distance", "predictive_distance", "predictive_deviation",
}  # fmt: skip
GROUPS = ("low_uncertainty", "high_uncertainty")


def test_an_ecg_with_two_studies_is_counted_once(inputs: EvaluationInputs, evaluated: Path) -> None:
    assert inputs.ecg_echo.num_rows > len(set(inputs.ecg_echo["record_id"].to_pylist()))
    predictions = PREDICTIONS.read(evaluated)
    keys = set(zip(*(predictions[name].to_pylist() for name in PREDICTIONS.unique), strict=True))
    assert len(keys) == predictions.num_rows


def test_the_report_shows_the_stress_test_of_every_question(evaluated: Path, settings: EvaluationSettings) -> None:
    rows = STRESS.read(evaluated).to_pandas().query("step in (0, 1, 3, 5)")
    page = (evaluated / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<h2 id="stress">') :].partition('<details class="section"')[0]
    tables = section.split('<div class="scroll"')
    assert len(tables) == 1 + len(settings.endpoints) > 2
    for before, table, endpoint in zip(tables, tables[1:], settings.endpoints, strict=False):
        of = rows[rows["endpoint"] == endpoint.name]
        assert f"{endpoint.name}, Expected echo, {of['ecgs'].iloc[0]} test ECGs" in before.rpartition("</table>")[2]
        assert table.count("<tr><td>") == len(of)
        assert f'<td class="number">{100 * of["answered"].iloc[0]:.0f} %</td>' in table


def test_same_inputs_same_bytes(
    inputs: EvaluationInputs, settings: EvaluationSettings, evaluated: Path, tmp_path: Path
) -> None:
    shuffled = inputs.ecg_echo.take(np.random.default_rng(0).permutation(inputs.ecg_echo.num_rows))
    evaluate(replace(inputs, ecg_echo=shuffled), settings, tmp_path)
    names = sorted(path.relative_to(evaluated) for path in evaluated.rglob("*") if path.is_file())
    run_figures, strips, others = 6, 4, 3  # report, model card, reading card
    stress_figures = 1  # of the first question
    assert len(names) == len(TABLES) + 2 * 6 + run_figures + strips + stress_figures + others
    for name in names:
        assert (tmp_path / name).read_bytes() == (evaluated / name).read_bytes(), name


def test_counts(tmp_path: Path) -> None:
    notes: list[str] = []
    settings = EvaluationSettings(endpoints=(lvef_below(50),), bootstrap_draws=20, few_shot=NO_FEW_SHOT, stress_ecgs=0)
    counts = evaluate(make_inputs(50), settings, tmp_path, lambda done, total, note="": notes.append(note))
    figures = len(list((tmp_path / "figures").iterdir()))
    assert counts == {
        "ecgs": 100,
        "test_ecgs": 20,
        "test_patients": 10,
        "endpoints": 1,
        "regressions": 0,
        "predictions": len(PROTOCOLS) * 96,
        "metrics": len(PROTOCOLS) * (31 + 3 * 8),
        "figures": figures,
    }
    assert notes == [
        "ECGs embedded",
        "typicality",
        "endpoint LVEF below 50 %",
        "measures",
        "the teacher's own reading",
        "figures and report",
    ]


@pytest.mark.parametrize("patients", [1, 2, 4, 5, 12])
def test_few_patients_end_well(patients: int, tmp_path: Path) -> None:
    settings = EvaluationSettings(
        endpoints=(lvef_below(50), lvef_below(30)), bootstrap_draws=20, few_shot=NO_FEW_SHOT, stress_ecgs=2
    )
    evaluate(make_inputs(patients), settings, tmp_path)
    METRICS.read(tmp_path)
    PREDICTIONS.read(tmp_path)
    assert "few" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_no_pair_at_all_ends_well(inputs: EvaluationInputs, settings: EvaluationSettings, tmp_path: Path) -> None:
    empty = replace(inputs, ecg_echo=ECG_ECHO.schema.empty_table(), labels=LABELS.schema.empty_table())
    counts = evaluate(empty, settings, tmp_path)
    assert (counts["ecgs"], counts["predictions"], counts["test_ecgs"]) == (0, 0, 0)
    assert PREDICTIONS.read(tmp_path).num_rows == 0
    assert METRICS.read(tmp_path)["value"].null_count == counts["metrics"] > 0
    asked_without_labels = {"zero_shot", "zero_shot_teacher"}
    assert set(METRICS.read(tmp_path)["protocol"].to_pylist()) == asked_without_labels
    assert (FEW_SHOT.read(tmp_path).num_rows, REGRESSION_METRICS.read(tmp_path).num_rows) == (0, 0)


@pytest.mark.slow
def test_labels_need_no_echo_study(inputs: EvaluationInputs, settings: EvaluationSettings, tmp_path: Path) -> None:
    """Without a study there is no target: what learns from targets is left out, everything else is as it was."""
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    evaluate(inputs, settings, tmp_path / "with")
    evaluate(replace(inputs, ecg_echo=ECG_ECHO.schema.empty_table()), settings, tmp_path / "without")

    def scores(folder: Path) -> dict[tuple[str, str], dict[str, float]]:
        rows: dict[tuple[str, str], dict[str, float]] = {}
        for row in PREDICTIONS.read(folder).to_pylist():
            rows.setdefault((row["endpoint"], row["protocol"]), {})[row["record_id"]] = row["score"]
        return rows

    whole, alone = scores(tmp_path / "with"), scores(tmp_path / "without")
    assert {protocol for _, protocol in whole.keys() - alone.keys()} == {"expected_echo"}
    assert all(whole[key] == of_protocol for key, of_protocol in alone.items())


def test_no_endpoint_ends_well(inputs: EvaluationInputs, tmp_path: Path) -> None:
    counts = evaluate(inputs, EvaluationSettings(), tmp_path)
    assert (counts["predictions"], counts["metrics"], counts["figures"]) == (0, 0, 6 + 4)
    assert "The recipe names no endpoint" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_importing_the_package_stays_light() -> None:
    code = "import echoingecg.evaluation, sys; print({'torch', 'sklearn', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
