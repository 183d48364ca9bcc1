"""Spaces, few-shot, regression, external models: oracles, properties, canaries."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import mean_absolute_error, roc_auc_score

from data_contracts.conventions import ContractError, UserError
from data_contracts.evaluation import FEW_SHOT, INTERVALS, METRICS, REGRESSION_METRICS, REGRESSIONS
from echoingecg.evaluation.data.embed import GaussianTable
from echoingecg.evaluation.data.models import (
    Space,
    all_spaces,
    centre_space,
    external_features,
    read_external,
    student_space,
    teacher_space,
)
from echoingecg.evaluation.data.names import Skipped
from echoingecg.evaluation.evaluate import EvaluationInputs, evaluate
from echoingecg.evaluation.metrics.bootstrap import Estimate, Patients, estimate_metrics
from echoingecg.evaluation.metrics.classification import regression_metrics
from echoingecg.evaluation.protocols import zero_shot_and_probe
from echoingecg.evaluation.protocols.regression import ranked_values, ridge_values
from echoingecg.evaluation.protocols.zero_shot_and_probe import _draws, few_shot, zero_shot_scores
from echoingecg.evaluation.report.wording import protocol_name
from echoingecg.recipe import EvaluationSettings, FewShotSettings
from echoingecg.teacher.demo_training.evaluate_and_save import ranked_value
from helpers.cases.evaluation_case import (
    DIM,
    LVEF,
    PlantedStudent,
    PlantedTeacher,
    lvef_below,
    make_inputs,
    planted_numbers,
)

SIDES = np.array(["train", "train", "train", "validation", "test"])


def unit(random: np.random.Generator, rows: int) -> np.ndarray:
    drawn = random.normal(size=(rows, DIM)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def case(count: int = 500, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings, a value that dimension 0 tells with noise, its label, patients of two ECGs, splits by patient."""
    random = np.random.default_rng(seed)
    mean = unit(random, count)
    value = 50 + 40 * mean[:, 0] + random.normal(0, 3, count)
    patient = np.array([f"p{at // 2:03d}" for at in range(count)])
    return mean, value, (value < 45).astype(np.int8), patient, SIDES[np.arange(count) // 2 % 5]


def own_space(mean: np.ndarray) -> Space:
    return student_space(PlantedStudent(), GaussianTable.from_points(mean))


def test_the_teachers_texts_rank_ecgs_by_mean_cosine() -> None:
    space = teacher_space(PlantedTeacher(), own_space(unit(np.random.default_rng(1), 60)))
    positive, negative = ["REDUCED A.", "LVEF IS 20 %."], ["NORMAL."]
    score = zero_shot_scores(space.ecgs, space.encode_text(positive), space.encode_text(negative), space.scale)
    texts = PlantedTeacher().embed_text
    cosine = [(space.ecgs.mean @ texts(side).T).mean(axis=1) for side in (positive, negative)]
    assert np.argsort(score).tolist() == np.argsort(cosine[0] - cosine[1]).tolist()


def test_a_teacher_of_another_width_is_named() -> None:
    space = teacher_space(PlantedTeacher(), own_space(np.ones((2, DIM + 1))))
    with pytest.raises(ContractError, match="sentences embed"):
        space.encode_text(["NORMAL."])


def test_without_text_tower_the_reason_is_said() -> None:
    spaces = all_spaces(own_space(np.eye(2, DIM)), None, (np.array([True, True]), ["NORMAL."]))
    assert list(spaces) == ["", "_teacher", "_centred", "_teacher_centred"]
    assert spaces["_teacher"] == spaces["_teacher_centred"] == Skipped("this teacher has no text tower")


def test_centring_takes_the_training_means_off() -> None:
    random = np.random.default_rng(2)
    mean, training = unit(random, 50) + 0.3, np.arange(50) < 30
    texts = [f"LVEF IS {value} %." for value in range(5, 90)]
    space = centre_space(teacher_space(PlantedTeacher(), own_space(mean)), training, texts)
    assert not isinstance(space, Skipped)
    expected = mean - mean[training].mean(axis=0)
    np.testing.assert_allclose(space.ecgs.mean, expected / np.linalg.norm(expected, axis=1)[:, None], atol=1e-6)
    all_texts = PlantedTeacher().embed_text(texts)
    sentence = PlantedTeacher().embed_text(["REDUCED."])[0] - all_texts.mean(axis=0)
    np.testing.assert_allclose(space.encode_text(["REDUCED."]).mean[0], sentence / np.linalg.norm(sentence), atol=1e-6)


def test_centring_reads_training_ecgs_alone_and_says_what_lacks() -> None:
    random = np.random.default_rng(3)
    mean, training = unit(random, 40), np.arange(40) < 25
    moved = np.where(training[:, None], mean, unit(random, 40))
    kept, other = (centre_space(own_space(one), training, ["REDUCED."]) for one in (mean, moved))
    assert not isinstance(kept, Skipped)
    assert not isinstance(other, Skipped)
    np.testing.assert_array_equal(kept.ecgs.mean[training], other.ecgs.mean[training])
    for lacking in (
        centre_space(own_space(mean), training, []),
        centre_space(own_space(mean), ~(mean[:, 0] < 9), ["A."]),
    ):
        assert isinstance(lacking, Skipped)


@given(st.integers(0, 999))
def test_ranked_values_are_the_teachers_method_for_one_vector(seed: int) -> None:
    space = teacher_space(PlantedTeacher(), own_space(unit(np.random.default_rng(seed), 3)))
    numbers = np.arange(5, 86)
    prompts = PlantedTeacher().embed_text([f"LVEF IS {one} %." for one in numbers])
    found = ranked_values(space, LVEF, np.arange(3))
    assert found.tolist() == [ranked_value(ecg[None], prompts, numbers) for ecg in space.ecgs.mean]


def test_few_shot_against_plain_scikit_learn() -> None:
    mean, _, label, patient, split = case()
    settings = FewShotSettings(cases=(4, 40), draws=3)
    found = {(one.cases, one.metric): one for one in few_shot(mean, label, patient, split, settings, 7)}
    training, test = np.flatnonzero(split == "train"), split == "test"
    standardised = (mean - mean[training].mean(axis=0)) / mean[training].std(axis=0)
    expected = []
    for draw in range(3):
        chosen = dict(_draws(training, label, patient, (4, 40), np.random.default_rng((7, draw))))[40]
        model = LogisticRegression().fit(standardised[chosen], label[chosen])
        expected.append(roc_auc_score(label[test], model.predict_proba(standardised[test])[:, 1]))
    one = found[40, "auroc"]
    assert (one.value, one.low, one.high) == pytest.approx(
        (np.mean(expected), *np.percentile(expected, [2.5, 97.5])), abs=1e-3
    )
    assert one.value > found[4, "auroc"].value > 0.6


def test_few_shot_gives_the_mean_and_the_middle_95_percent_of_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    mean, _, label, patient, split = case(200)
    auroc = iter(np.random.default_rng(0).permutation(41) / 40)
    monkeypatch.setattr(zero_shot_and_probe, "roc_auc_score", lambda *_: next(auroc))
    results = few_shot(mean, label, patient, split, FewShotSettings(cases=(2,), draws=41), 7)
    (found,) = [one for one in results if one.metric == "auroc"]
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.025, 0.975))


@given(st.integers(0, 10_000))
def test_drawn_ecgs_are_balanced_of_their_own_patients_and_nested(seed: int) -> None:
    _, _, label, patient, split = case(200)
    training = np.flatnonzero(split == "train")
    drawn = dict(_draws(training, label, patient, (1, 2, 5, 1000), np.random.default_rng(seed)))
    assert list(drawn) == [1, 2, 5]
    for size, chosen in drawn.items():
        assert np.bincount(label[chosen]).tolist() == [size, size]
        assert len(set(patient[chosen])) == 2 * size
        assert set(split[chosen]) == {"train"}
    assert set(drawn[1]) < set(drawn[2]) < set(drawn[5])


def test_few_shot_without_a_test_class_is_left_out() -> None:
    mean, _, label, patient, split = case(100)
    label[split == "test"] = 0
    assert few_shot(mean, label, patient, split, FewShotSettings(), 1) == []


def test_ridge_against_plain_scikit_learn_with_the_strength_of_validation() -> None:
    mean, value, _, _, split = case()
    training, validation = split == "train", split == "validation"
    standardised = (mean - mean[training].mean(axis=0)) / mean[training].std(axis=0)
    tried = [Ridge(one).fit(standardised[training], value[training]).predict(standardised) for one in (1e5, 1.0, 1e3)]
    errors = [mean_absolute_error(value[validation], one[validation]) for one in tried]
    assert np.argmin(errors) == 1
    np.testing.assert_allclose(ridge_values(mean, value, split, (1e5, 1.0, 1e3)), tried[1], atol=1e-3)
    elsewhere = np.where(split == "test", -value, value)
    np.testing.assert_array_equal(
        ridge_values(mean, elsewhere, split, (1.0,)), ridge_values(mean, value, split, (1.0,))
    )
    assert isinstance(ridge_values(mean, value, np.full(len(value), "test"), (1.0,)), Skipped)


def errors(value: np.ndarray, guess: np.ndarray, patient: np.ndarray, draws: int) -> tuple[Estimate, Estimate]:
    patients = Patients.from_names(patient)
    found = estimate_metrics(regression_metrics(value, guess, patients), patients, draws, 5)
    return found["mae"], found["pearson"]


def test_regression_metrics_against_scikit_learn_and_drawing_patients_one_by_one() -> None:
    _, value, _, patient, _ = case(80)
    guess = value + np.random.default_rng(4).normal(3, 5, 80)
    mae, pearson = errors(value, guess, patient, 4000)
    assert mae.value == pytest.approx(mean_absolute_error(value, guess))
    assert pearson.value == pytest.approx(pearsonr(value, guess).statistic)
    names, random, drawn = np.unique(patient), np.random.default_rng(6), []
    for picks in random.integers(0, len(names), (4000, len(names))):
        at = np.concatenate([np.flatnonzero(patient == names[pick]) for pick in picks])
        drawn.append((np.abs(value - guess)[at].mean(), np.corrcoef(value[at], guess[at])[0, 1]))
    for one, expected in zip((mae, pearson), np.percentile(drawn, [2.5, 97.5], axis=0).T, strict=True):
        assert (one.low, one.high) == pytest.approx(tuple(expected), rel=0.03)


def test_a_constant_guess_has_an_error_and_no_correlation() -> None:
    mae, pearson = errors(np.array([1.0, 3.0]), np.full(2, 2.0), np.array(["a", "b"]), 50)
    assert (mae.value, mae.low, mae.high) == (1.0, 1.0, 1.0)
    assert (pearson.value, pearson.low) == (None, None)
    _, value, _, patient, _ = case(60)
    constant = errors(value, np.full(60, value[:30].mean()), patient, 200)[1]
    assert (constant.value, constant.low, constant.high) == (None, None, None)
    alone = errors(np.array([1.0, 3.0]), np.full(2, 2.0), np.array(["a", "a"]), 50)[0]
    assert (alone.value, alone.low, alone.high) == (1.0, None, None)


def test_the_stage_writes_few_shot_and_numbers(evaluated: Path) -> None:
    few = FEW_SHOT.read(evaluated).to_pandas()
    assert set(few["cases"]) == {1, 8}  # 500 patients of each class are not there
    assert set(few["model"]) == {"student"}
    grown = few[few["metric"] == "auroc"].pivot_table(index="endpoint", columns="cases", values="value")
    assert (grown[8] > grown[1]).all()
    assert (few["low"] <= few["value"]).all()
    numbers = REGRESSIONS.read(evaluated).to_pandas()
    errors = REGRESSION_METRICS.read(evaluated).to_pandas()
    mae = errors[errors["metric"] == "mae"].set_index("protocol")["value"]
    assert set(mae.index) == {
        "ranked",
        "ranked_teacher",
        "expected_number",
        "ridge",
        "ecg_measurements",
        "training_mean",
    }
    for protocol, rows in numbers[numbers["split"] == "test"].groupby("protocol"):
        assert mae[protocol] == pytest.approx(mean_absolute_error(rows["measured"], rows["predicted"]))
    assert max(mae["ridge"], mae["expected_number"]) < mae["training_mean"]
    told = numbers[(numbers["protocol"] == "expected_number") & (numbers["split"] == "test")]
    told = told.merge(INTERVALS.read(evaluated).to_pandas())
    assert len(told) == (numbers["split"] == "test").sum() / numbers["protocol"].nunique()
    found = errors[errors["protocol"] == "expected_number"].set_index("metric")["value"]
    holds = (told["low"] <= told["measured"]) & (told["measured"] <= told["high"])
    sure, answered = told["deviation"] <= told["deviation"].median(), told["advice"] == "predict"
    assert 0 < answered.sum() < len(told)
    assert found["coverage"] == pytest.approx(holds.mean())
    assert 0.8 < found["coverage"] < 0.97
    assert found["coverage_low_deviation"] == pytest.approx(holds[sure].mean())
    assert found["coverage_high_deviation"] == pytest.approx(holds[~sure].mean())
    assert found["interval_width"] == pytest.approx((told["high"] - told["low"]).mean())
    assert found["answered_share"] == pytest.approx(answered.mean())
    assert found["answered_coverage"] == pytest.approx(holds[answered].mean())
    of = told[answered]
    assert found["answered_mae"] == pytest.approx(mean_absolute_error(of["measured"], of["predicted"]))


def test_other_students_and_external_models_stand_in_the_same_tables(inputs: EvaluationInputs, tmp_path: Path) -> None:
    hashes = [f"{at:064x}" for at in range(len(inputs.record_ids))]
    shuffled = np.random.default_rng(0).permutation(len(hashes))
    signals = inputs.signals.read(shuffled)
    external = external_table([hashes[at] for at in shuffled], planted_numbers(signals)[0])
    both = replace(
        inputs, compared={"champion": PlantedStudent()}, external={"merl": external}, content_hashes=hashes
    )  # fmt: skip
    few = FewShotSettings(cases=(2,), draws=2)
    settings = EvaluationSettings(
        endpoints=(lvef_below(50),), regressions=(LVEF,), bootstrap_draws=10, centre=True, few_shot=few, stress_ecgs=0
    )
    evaluate(both, settings, tmp_path)
    metrics = METRICS.read(tmp_path).to_pandas().set_index(["protocol", "group", "metric"])["value"]
    for protocol in ("zero_shot", "linear_probe"):
        assert metrics[f"{protocol}@champion", "all", "auroc"] == metrics[protocol, "all", "auroc"]
    assert metrics["linear_probe@merl", "all", "auroc"] > 0.75
    assert {"zero_shot_centred", "zero_shot_teacher_centred"} <= set(metrics.index.get_level_values(0))
    assert set(FEW_SHOT.read(tmp_path)["model"].to_pylist()) == {"student", "champion", "merl"}
    assert {"ranked@champion", "ridge@merl"} <= set(REGRESSIONS.read(tmp_path)["protocol"].to_pylist())
    words = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Linear probe (merl)" in words
    with pytest.raises(UserError, match="'merl': 1 of 500 paired ECGs have no embedding"):
        evaluate(replace(both, external={"merl": external.slice(1)}), settings, tmp_path)


def external_table(hashes: list[str], values: np.ndarray) -> pa.Table:
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float64).ravel()), values.shape[1])
    return pa.table({"content_hash": hashes, "embedding": embedding.cast(pa.list_(pa.float32()))})


def test_external_embeddings_come_back_by_content_hash(tmp_path: Path) -> None:
    values = np.arange(12.0).reshape(4, 3)
    table = pa.table(
        {
            "note": ["not read"] * 4,
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 3),
            "content_hash": [f"{at:064x}" for at in range(4)],
        }
    )
    pq.write_table(table, tmp_path / "merl.parquet")
    found = external_features(
        "merl", read_external("merl", tmp_path / "merl.parquet"), [f"{at:064x}" for at in (2, 0, 2)]
    )
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values[[2, 0, 2]])


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"embedding": [[1.0]]}, "no Parquet table of content_hash and embedding"),
        ({"content_hash": ["a" * 64, "a" * 64], "embedding": [[1.0], [2.0]]}, "no Parquet table"),
        ({"content_hash": ["record-1"], "embedding": [[1.0]]}, "no Parquet table"),
        ({"content_hash": ["a" * 64], "embedding": ["word"]}, "no Parquet table"),
        ({"content_hash": ["a" * 64, "b" * 64], "embedding": [[1.0], [2.0, 3.0]]}, "different lengths"),
        ({"content_hash": ["a" * 64], "embedding": [[float("nan")]]}, "missing or not finite"),
        ({"content_hash": ["a" * 64], "embedding": [[1.0, None]]}, "missing or not finite"),
    ],
)
def test_bad_external_tables_are_one_line(columns: dict[str, list[object]], says: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "bad.parquet")
    with pytest.raises(UserError, match=says) as fault:
        read_external("merl", tmp_path / "bad.parquet")
    assert "\n" not in str(fault.value)
    with pytest.raises(UserError, match="no Parquet table"):
        read_external("merl", tmp_path / "absent.parquet")


@pytest.mark.parametrize(
    ("protocol", "says"),
    [
        ("zero_shot", "Zero-shot"),
        ("ranked_teacher_centred", "Ranked prompts, teacher's texts, centred"),
        ("linear_probe@merl", "Linear probe (merl)"),
        ("zero_shot_centred", "Zero-shot, centred"),
    ],
)
def test_protocols_in_words(protocol: str, says: str) -> None:
    assert protocol_name(protocol) == says


def test_few_patients_end_well_with_everything_asked(tmp_path: Path) -> None:
    settings = EvaluationSettings(
        endpoints=(lvef_below(50),), regressions=(LVEF,), bootstrap_draws=20, centre=True,
        tuning={"methods": ("scratch",)}, stress_ecgs=0,
    )  # fmt: skip
    for patients in (1, 3):
        evaluate(make_inputs(patients), settings, tmp_path)
        assert "Same encoder from scratch left out" in (tmp_path / "report.html").read_text(encoding="utf-8")
