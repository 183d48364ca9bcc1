"""The drawn patients: how much an ECG tells of the echo."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from echoingecg.simulator.patient import Heart, sample_heart


def ecg_features(hearts: list[Heart]) -> np.ndarray:
    return np.array(
        [
            (
                one.heart_rate,
                one.qrs_duration,
                one.t_amplitude,
                one.t_polarity == "inverted",
                one.qrs_voltage,
                one.qrs_axis,
                one.left_bundle_branch_block,
                one.atrial_fibrillation,
            )
            for one in hearts
        ],
        float,
    )


def auroc(hearts: list[Heart], labels: np.ndarray) -> float:
    """Of a logistic regression fitted on the first half, on the second."""
    features, half = ecg_features(hearts), len(hearts) // 2
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features[:half], labels[:half])
    return float(roc_auc_score(labels[half:], model.predict_proba(features[half:])[:, 1]))


def test_the_ecg_tells_of_lvef_but_not_all(hearts: list[Heart]) -> None:
    reduced = np.array([one.lvef < 40 for one in hearts])
    assert 0.20 < reduced.mean() < 0.26
    assert 0.85 < auroc(hearts, reduced) < 0.94


@pytest.mark.parametrize(
    ("finding", "share"),
    [
        (lambda one: one.septal_wall_thickness >= 15, (0.05, 0.12)),
        (lambda one: one.lv_end_diastolic_diameter >= 60, (0.06, 0.15)),
    ],
)
def test_the_other_endpoints_are_neither_rare_nor_given_away(hearts: list[Heart], finding, share) -> None:
    labels = np.array([finding(one) for one in hearts])
    assert share[0] < labels.mean() < share[1]
    assert 0.75 < auroc(hearts, labels) < 0.96


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("qrs_duration", 1),
        ("heart_rate", 1),
        ("lv_end_diastolic_diameter", 1),
        ("left_bundle_branch_block", 1),
        ("atrial_fibrillation", 1),
        ("t_amplitude", -1),
        ("qrs_axis", -1),
    ],
)
def test_a_low_lvef_goes_with(name: str, sign: int, hearts: list[Heart]) -> None:
    low = np.mean([float(getattr(one, name)) for one in hearts if one.lvef < 35])
    high = np.mean([float(getattr(one, name)) for one in hearts if one.lvef > 55])
    assert sign * (low - high) > 0


def test_hypertrophy_goes_with_voltage(hearts: list[Heart]) -> None:
    thick = np.mean([one.qrs_voltage for one in hearts if one.septal_wall_thickness >= 15])
    thin = np.mean([one.qrs_voltage for one in hearts if one.septal_wall_thickness < 11])
    assert thick > thin + 0.3


def test_a_patient_is_drawn_from_the_generator_alone() -> None:
    assert sample_heart(np.random.default_rng(3)) == sample_heart(np.random.default_rng(3))
    assert sample_heart(np.random.default_rng(3)) != sample_heart(np.random.default_rng(4))
