"""Statements, reports and measurements say what the heart is."""

from dataclasses import replace

import numpy as np
import pytest

from echoingecg.simulator.patient import Heart
from echoingecg.simulator.words import ecg_statements, echo_report, measurements


@pytest.mark.parametrize(
    ("lvef", "words"),
    [
        (22.0, ("Severely",)),
        (34.0, ("Moderately",)),
        (45.0, ("Mildly",)),
        (52.0, ("Low normal", "Borderline normal")),
        (63.0, ("Normal", "Preserved")),
    ],
)
def test_the_report_grades_lvef_and_gives_the_number(lvef: float, words: tuple[str, ...], hearts: list[Heart]) -> None:
    heart = replace(hearts[0], lvef=lvef, image_quality=0.7)
    for seed in range(10):
        text = echo_report(heart, np.random.default_rng(seed)).removeprefix("Good image quality. ")
        assert text.startswith(words)
        assert f"{lvef:.0f} %." in text
        assert "  " not in text


def test_synonyms_are_used(hearts: list[Heart]) -> None:
    assert len({echo_report(hearts[0], np.random.default_rng(seed)) for seed in range(30)}) > 8


def test_dilation_is_graded_by_sex(hearts: list[Heart]) -> None:
    for sex, diameter, grade in (("F", 58, "moderately"), ("M", 58, "normal"), ("M", 70, "severely")):
        heart = replace(hearts[0], sex=sex, lv_end_diastolic_diameter=float(diameter))
        text = echo_report(heart, np.random.default_rng(0)).lower()
        sentence = next(one for one in text.split(". ") if "cavity" in one or "left ventricle is" in one)
        assert grade in sentence


def test_thick_walls_are_severe_from_15_mm(hearts: list[Heart]) -> None:
    for septum, word in ((15.0, "Severe"), (14.0, "Moderate"), (12.0, "Mild")):
        text = echo_report(replace(hearts[0], septal_wall_thickness=septum), np.random.default_rng(0))
        assert f"{word} left ventricular hypertrophy" in text or f"{word} concentric hypertrophy" in text
    thin = echo_report(replace(hearts[0], septal_wall_thickness=9.0), np.random.default_rng(0))
    assert "hypertrophy" not in thin


def test_measurements_have_units(hearts: list[Heart]) -> None:
    found = {one.name: (one.value, one.unit) for one in measurements(hearts[0])}
    assert found["lvef"] == (round(hearts[0].lvef), "%")
    assert found["lv_end_diastolic_diameter"][1] == found["septal_wall_thickness"][1] == "mm"


def plain(heart: Heart) -> Heart:
    return replace(
        heart, rhythm="sinus rhythm", heart_rate=72.0, left_bundle_branch_block=False, pr_interval=160.0,
        qrs_duration=90.0, qt_corrected=410.0, qrs_axis=40.0, qrs_voltage=1.2, t_amplitude=0.3, ecg_noise=0.01,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "statements"),
    [
        ({}, ["Sinus rhythm", "Normal ECG"]),
        ({"heart_rate": 50.0}, ["Sinus bradycardia", "Normal ECG"]),
        ({"heart_rate": 120.0}, ["Sinus tachycardia", "Abnormal ECG"]),
        ({"rhythm": "atrial fibrillation"}, ["Atrial fibrillation", "Abnormal ECG"]),
        (
            {"rhythm": "atrial fibrillation", "heart_rate": 125.0},
            ["Atrial fibrillation with rapid ventricular response", "Abnormal ECG"],
        ),
        (
            {"left_bundle_branch_block": True, "qrs_duration": 150.0, "t_amplitude": -0.3},
            ["Sinus rhythm", "Left bundle branch block", "Abnormal ECG"],
        ),
        ({"qrs_axis": -50.0}, ["Sinus rhythm", "Left axis deviation", "Abnormal ECG"]),
        ({"pr_interval": 220.0}, ["Sinus rhythm", "Prolonged PR interval", "Borderline ECG"]),
        ({"qrs_voltage": 2.6}, ["Sinus rhythm", "Left ventricular hypertrophy", "Abnormal ECG"]),
    ],
)
def test_machine_statements(change: dict, statements: list[str], hearts: list[Heart]) -> None:
    assert ecg_statements(replace(plain(hearts[0]), **change), np.random.default_rng(0)) == statements


def test_statements_fit_their_columns(hearts: list[Heart]) -> None:
    assert max(len(ecg_statements(one, np.random.default_rng(0))) for one in hearts) <= 18
