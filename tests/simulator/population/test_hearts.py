"""The drawn patients: how much an ECG tells of the echo."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from echoingecg.simulator.population.patient import Heart, sample_heart


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
                one.right_bundle_branch_block,
                one.atrial_fibrillation,
                one.ectopic_share,
                one.st_depression,
                one.pr_interval,
                one.qt_corrected,
            )
            for one in hearts
        ],
        float,
    )


def auroc(hearts: list[Heart], labels: np.ndarray) -> float:
    """Of a logistic regression fitted on one half, on the other; mean of both ways."""
    features, half = ecg_features(hearts), len(hearts) // 2
    first, second = slice(0, half), slice(half, None)
    scores = []
    for fitted, tried in ((first, second), (second, first)):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(features[fitted], labels[fitted])
        scores.append(roc_auc_score(labels[tried], model.predict_proba(features[tried])[:, 1]))
    return float(np.mean(scores))


@pytest.fixture(scope="module")
def many(hearts: list[Heart]) -> list[Heart]:
    """12,000: the AUROC's standard error is then near 0.003."""
    return hearts + [sample_heart(np.random.default_rng((7, index))) for index in range(len(hearts), 12_000)]


def test_the_ecg_tells_of_lvef_but_not_all(many: list[Heart]) -> None:
    reduced = np.array([one.lvef < 40 for one in many])
    assert 0.88 < auroc(many, reduced) < 0.92


def test_chance_is_the_floor(many: list[Heart]) -> None:
    assert 0.47 < auroc(many, np.random.default_rng(0).random(len(many)) < 0.2) < 0.53


@pytest.mark.parametrize(
    ("finding", "lowest", "highest"),
    [
        (lambda one: one.lvef < 40, 0.17, 0.24),
        (lambda one: one.lvef < 50, 0.28, 0.38),
        (lambda one: one.atrial_fibrillation, 0.08, 0.16),
        (lambda one: one.left_bundle_branch_block, 0.03, 0.08),
        (lambda one: one.right_bundle_branch_block, 0.04, 0.09),
        (lambda one: one.ectopic_share > 0, 0.05, 0.12),
        (lambda one: one.t_polarity == "inverted", 0.08, 0.20),
        (lambda one: one.st_depression > 0.05, 0.08, 0.20),
        (lambda one: one.septal_wall_thickness > 11, 0.15, 0.30),
        (lambda one: one.weight / (one.height / 100) ** 2 >= 30, 0.28, 0.45),
        (lambda one: one.image_quality < 0.45, 0.10, 0.25),
    ],
    ids=["LVEF < 40", "LVEF < 50", "AF", "LBBB", "RBBB", "ectopy", "T inverted", "ST", "thick", "obese", "poor images"],
)
def test_findings_are_as_common_as_in_a_tertiary_hospital(finding, lowest, highest, many: list[Heart]) -> None:
    assert lowest < np.mean([finding(one) for one in many]) < highest


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
        ("ectopic_share", 1),
        ("st_depression", 1),
        ("pr_interval", 1),
        ("qt_corrected", 1),
        ("lv_end_diastolic_volume", 1),
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


def test_hypertrophy_goes_with_strain(many: list[Heart]) -> None:
    thick = [one for one in many if one.septal_wall_thickness >= 15]
    thin = [one for one in many if one.septal_wall_thickness < 11]
    assert np.mean([one.st_depression for one in thick]) > np.mean([one.st_depression for one in thin]) + 0.02
    assert np.mean([one.t_amplitude for one in thick]) < np.mean([one.t_amplitude for one in thin]) - 0.1


@pytest.mark.parametrize(
    ("one", "other", "lowest", "highest"),
    [
        ("lvef", "lv_end_diastolic_diameter", -0.85, -0.6),
        ("lvef", "qrs_duration", -0.5, -0.2),
        ("lvef", "t_amplitude", 0.3, 0.6),
        ("septal_wall_thickness", "qrs_voltage", 0.25, 0.55),
        ("body_surface_area", "lv_end_diastolic_volume", 0.1, 0.5),
        ("weight", "image_quality", -0.6, -0.15),
        ("lvef", "image_quality", -0.05, 0.05),
        ("lvef", "ecg_noise", -0.05, 0.05),
    ],
)
def test_correlations(one: str, other: str, lowest: float, highest: float, many: list[Heart]) -> None:
    pairs = np.array([(getattr(heart, one), getattr(heart, other)) for heart in many])
    assert lowest < np.corrcoef(pairs.T)[0, 1] < highest


def test_blocks_and_rhythms_come_with_age(many: list[Heart]) -> None:
    for name in ("right_bundle_branch_block", "atrial_fibrillation"):
        old = np.mean([getattr(one, name) for one in many if one.age >= 75])
        young = np.mean([getattr(one, name) for one in many if one.age < 55])
        assert old > 1.5 * young


def test_qrs_is_wide_in_block_alone(many: list[Heart]) -> None:
    for one in many:
        assert (one.qrs_duration >= 120) == (one.conduction != "normal")


def test_a_patient_is_drawn_from_the_generator_alone() -> None:
    assert sample_heart(np.random.default_rng(3)) == sample_heart(np.random.default_rng(3))
    assert sample_heart(np.random.default_rng(3)) != sample_heart(np.random.default_rng(4))
