"""Typicality: the measures against SciPy and scikit-learn, what the limits leave out, and rounding."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_contracts.evaluation_details import STUDY_TYPICALITY
from data_contracts.prediction import TypicalLimits
from echoingecg.evaluation.data.inputs import EvaluationInputs
from echoingecg.evaluation.decision.typicality import Typicality, fit_typicality
from echoingecg.evaluation.protocols.trust import study_columns
from helpers.cases.evaluation_case import make_inputs

FEATURES = 12


def cloud(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Correlated features of unequal size, (count, FEATURES) float32; `shift` is in standard deviations."""
    mixing = np.random.default_rng(0).normal(size=(FEATURES, FEATURES))
    scale = np.exp(np.random.default_rng(1).normal(0, 1, FEATURES))
    drawn = np.random.default_rng((2, seed)).normal(size=(count, FEATURES))
    return ((drawn @ mixing + shift * np.linalg.norm(mixing, axis=0)) * scale + 3).astype(np.float32)


def fitted(share: float = 0.9, validation: int = 200) -> Typicality:
    found = fit_typicality(cloud(400, 1), cloud(300, 2, 1.0), cloud(validation, 3), share)
    assert found is not None
    return found


def test_the_distance_is_scipys_with_scikit_learns_precision() -> None:
    training, new = cloud(400, 1), cloud(30, 4, 0.5)
    estimate = LedoitWolf().fit(training.astype(np.float64))
    expected = [mahalanobis(row, estimate.location_, estimate.precision_) / np.sqrt(FEATURES) for row in new]
    np.testing.assert_allclose(fitted().distance(new), expected, rtol=1e-9)


def test_the_distance_is_about_one_among_the_training_and_the_same_in_any_unit() -> None:
    assert np.mean(fitted().distance(cloud(2000, 5)) ** 2) == pytest.approx(1, abs=0.2)
    metric, scale = fitted(), 16.0
    scaled = fit_typicality(*(scale * cloud(count, seed, shift) for count, seed, shift in PARTS), 0.9)
    assert scaled is not None
    np.testing.assert_allclose(scaled.distance(scale * cloud(20, 6)), metric.distance(cloud(20, 6)), rtol=1e-6)
    np.testing.assert_allclose(scaled.likeness(scale * cloud(20, 6)), metric.likeness(cloud(20, 6)), atol=1e-6)


PARTS = ((400, 1, 0.0), (300, 2, 1.0), (200, 3, 0.0))


def test_the_likeness_is_scikit_learns() -> None:
    training, disturbed, new = cloud(400, 1), cloud(300, 2, 1.0), cloud(50, 7, 0.5)
    line = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=3000))
    line[0].fit(training.astype(np.float64))
    both = line[0].transform(np.concatenate([training, disturbed]).astype(np.float64))
    line[1].fit(both, np.repeat([0, 1], [400, 300]))
    expected = line[1].decision_function(line[0].transform(new.astype(np.float64)))
    np.testing.assert_allclose(fitted().likeness(new), expected, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.5, 0.99), st.integers(5, 120))
def test_the_limits_leave_out_at_most_what_was_asked(share: float, count: int) -> None:
    """Each limit keeps (1 + share) / 2 of the validation ECGs, and what ties with a limit is beyond it."""
    validation = cloud(count, 8)
    found = fit_typicality(cloud(60, 1), cloud(60, 2, 1.0), validation, share)
    assert found is not None
    for values, limit in (
        (found.distance(validation), found.limits.distance),
        (found.likeness(validation), found.limits.likeness),
    ):
        within = (values <= limit).mean()
        assert (1 + share) / 2 - 1e-9 <= within < (1 + share) / 2 + 1 / count + 1e-9
        assert limit in values
    kept = found.is_typical(validation).mean()
    assert kept >= share - 2 / count - 1e-9  # the two ECGs on the limits are in doubt


def test_new_ecgs_are_left_out_in_about_the_share() -> None:
    refused = [
        (~fit_typicality(cloud(400, 1), cloud(300, 2, 1.0), cloud(300, seed), 0.9).is_typical(cloud(1000, seed + 50)))
        for seed in range(10, 20)
    ]  # type: ignore[union-attr]
    assert np.mean(refused) == pytest.approx(0.1, abs=0.03)


def test_a_shifted_cloud_is_refused() -> None:
    found = fitted()
    shares = [(~found.is_typical(cloud(500, 9, shift))).mean() for shift in (0.0, 0.5, 1.0, 2.0, 5.0)]
    assert shares == sorted(shares)
    assert shares[0] < 0.2
    assert shares[-1] == 1.0


def test_each_measure_sees_what_the_other_does_not() -> None:
    """A direction that no copy takes is seen by distance alone; likeness sees a plausible copy."""
    random = np.random.default_rng(3)
    training, validation = random.normal(size=(2, 500, FEATURES)).astype(np.float32)
    copies = random.normal(size=(500, FEATURES)).astype(np.float32)
    copies[:, 0] += 1.5
    found = fit_typicality(training, copies, validation, 0.9)
    assert found is not None
    like_copies, strange = random.normal(size=(2, 500, FEATURES)).astype(np.float32)
    like_copies[:, 0] += 1.5
    strange[:, 5] += 8
    assert (found.likeness(like_copies) > found.limits.likeness).mean() > 0.2
    assert (found.distance(strange) > found.limits.distance).mean() > 0.95
    assert (found.likeness(strange) > found.limits.likeness).mean() < 0.15


@pytest.mark.parametrize("measure", ["distance", "likeness"])
def test_an_ecg_on_a_limit_is_refused_however_float32_rounds_it(measure: str) -> None:
    """The validation ECG that sets a limit is never typical; one a little inside is."""
    validation, random = cloud(200, 3), np.random.default_rng(5)
    found = fitted()
    values, limit = getattr(found, measure)(validation), getattr(found.limits, measure)
    (own,) = np.flatnonzero(values == limit)
    for _ in range(100):
        towards = random.choice([-np.inf, np.inf], FEATURES).astype(np.float32)
        assert not found.is_typical(np.nextafter(validation[own], towards)[None])[0]
    inside = (found.distance(validation) < 0.999 * found.limits.distance) & (
        found.likeness(validation) < found.limits.likeness - 1e-3
    )
    assert found.is_typical(validation)[inside].all()
    assert inside.sum() > 150


def test_by_hand() -> None:
    """Two features, no correlation: the distance is the root mean square of the standardised ones."""
    limits = TypicalLimits(distance=2.0, likeness=1.0)
    own = Typicality(np.array([1.0, 2.0]), np.diag([2.0, 0.5]), np.array([-1.0, 1.0, 0.0]), limits)
    features = np.array([[1.0, 2.0], [2.0, 2.0], [1.0, 8.0], [2.5, 2.0], [-3.0, 2.0]], np.float32)
    np.testing.assert_allclose(own.distance(features), np.array([0.0, 2.0, 3.0, 3.0, 8.0]) / np.sqrt(2))
    np.testing.assert_allclose(own.likeness(features), [0, 1, 0, 1.5, -4])
    assert own.is_typical(features).tolist() == [True, False, False, False, False]  # the second ties with likeness


def test_a_row_is_the_same_alone_as_in_company() -> None:
    found, features = fitted(), cloud(50, 11)
    together = found.distance(features), found.likeness(features)
    alone = np.array([(found.distance(row[None])[0], found.likeness(row[None])[0]) for row in features]).T
    np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("training", "disturbed", "validation"), [(1, 5, 5), (0, 5, 5), (5, 0, 5), (5, 5, 0)])
def test_without_enough_ecgs_there_is_no_measure(training: int, disturbed: int, validation: int) -> None:
    assert fit_typicality(cloud(training, 1), cloud(disturbed, 2), cloud(validation, 3), 0.95) is None


def test_fewer_training_ecgs_than_features_still_measure() -> None:
    found = fit_typicality(cloud(4, 1), cloud(2, 2), cloud(1, 3), 0.95)
    assert found is not None
    assert np.isfinite(found.distance(cloud(5, 4))).all()
    assert np.isfinite(found.whitening).all()


def test_training_ecgs_that_span_no_covariance_are_no_measure() -> None:
    for training in (cloud(2, 1), np.repeat(cloud(1, 1), 6, axis=0)):
        assert fit_typicality(training, cloud(5, 2), cloud(5, 3), 0.95) is None


def test_a_feature_that_never_varies_does_no_harm() -> None:
    parts = [cloud(count, seed, shift) for count, seed, shift in PARTS]
    for part in parts:
        part[:, 3] = 0
    found = fit_typicality(parts[0], parts[1], parts[2], 0.9)
    assert found is not None
    assert np.isfinite(found.distance(parts[1])).all()
    assert found.is_typical(parts[2]).mean() > 0.85


def test_the_distance_of_each_echo_study_is_scipys(inputs: EvaluationInputs, evaluated: Path) -> None:
    found = STUDY_TYPICALITY.read(evaluated).to_pandas()
    side = dict(zip(*(inputs.patients[name].to_pylist() for name in ("patient_id", "split")), strict=True))
    split = np.array([side[name] for name in inputs.studies["patient_id"].to_pylist()])
    assert found["study_id"].tolist() == inputs.studies["study_id"].to_pylist()
    assert found["split"].tolist() == split.tolist()
    mean = inputs.target_mean.astype(np.float64)
    estimate = LedoitWolf().fit(mean[split == "train"])
    root = np.sqrt(mean.shape[1])
    expected = [mahalanobis(row, estimate.location_, estimate.precision_) / root for row in mean[::7]]
    np.testing.assert_allclose(found["distance"][::7], expected, rtol=1e-9)
    validation = found[found["split"] == "validation"]
    assert 0.95 <= validation["is_typical"].mean() < 0.95 + 1 / len(validation)
    limit = validation.loc[validation["is_typical"], "distance"].max()
    np.testing.assert_array_equal(found["is_typical"], found["distance"] <= limit)
    typical = found[found["split"] == "test"]["is_typical"]
    page = (evaluated / "report.html").read_text(encoding="utf-8")
    assert f"test {typical.sum()} of {len(typical)} ({100 * typical.mean():.1f} %)" in page


def test_too_few_studies_have_no_distance() -> None:
    columns = study_columns(make_inputs(2), 0.95)
    assert set(columns["distance"]) == {None}
    assert not columns["is_typical"].any()
