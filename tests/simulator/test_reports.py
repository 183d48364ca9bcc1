"""Statements, reports and measurements say what the heart is."""

from dataclasses import replace

import numpy as np
import pytest

from echoingecg.simulator.ecg.electrodes import Fault
from echoingecg.simulator.population.patient import Heart
from echoingecg.simulator.reports import ecg_statements, echo_report, measurements


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
    heart = replace(hearts[0], lvef=lvef, image_quality=0.8)
    for seed in range(10):
        text = echo_report(heart, np.random.default_rng(seed))
        text = text.removeprefix("Good image quality. ").removeprefix("Good acoustic windows. ")
        assert text.startswith(words)
        assert f"{lvef:.0f} %." in text
        assert "  " not in text


def test_synonyms_are_used(hearts: list[Heart]) -> None:
    assert len({echo_report(hearts[0], np.random.default_rng(seed)) for seed in range(30)}) > 20


def test_dilation_is_graded_by_sex(hearts: list[Heart]) -> None:
    for sex, diameter, grade in (("F", 58, "moderately"), ("M", 58, "normal"), ("M", 70, "severely")):
        heart = replace(hearts[0], sex=sex, lv_end_diastolic_diameter=float(diameter))
        text = echo_report(heart, np.random.default_rng(0)).lower()
        sentence = next(one for one in text.split(". ") if "cavity" in one or "left ventricle is" in one)
        assert grade in sentence or (grade == "normal" and "not dilated" in sentence)


def test_thick_walls_are_severe_from_15_mm(hearts: list[Heart]) -> None:
    for septum, word in ((15.0, "Severe"), (14.0, "Moderate"), (12.0, "Mild")):
        for seed in range(10):
            text = echo_report(replace(hearts[0], septal_wall_thickness=septum), np.random.default_rng(seed))
            assert any(
                one in text
                for one in (
                    f"{word} left ventricular hypertrophy",
                    f"{word} concentric hypertrophy",
                    f"{word}ly increased left ventricular wall",
                )
            )
    thin = echo_report(replace(hearts[0], septal_wall_thickness=9.0), np.random.default_rng(0))
    assert "hypertrophy" not in thin
    assert "increased" not in thin


def test_every_finding_is_in_every_report(hearts: list[Heart]) -> None:
    for index, heart in enumerate(hearts[:200]):
        text = echo_report(heart, np.random.default_rng(index))
        assert f"{round(heart.lvef)} %." in text
        assert f"{round(heart.lv_end_diastolic_diameter)} mm." in text
        assert f"{round(heart.septal_wall_thickness)} mm." in text
        assert ("image quality" in text or "acoustic windows" in text) or heart.image_quality >= 0.45
        assert "{" not in text


def test_the_number_is_also_said_as_the_teacher_is_asked(hearts: list[Heart]) -> None:
    prompt = f"LV ejection fraction is {round(hearts[0].lvef)} %."
    said = [prompt in echo_report(hearts[0], np.random.default_rng(seed)) for seed in range(200)]
    assert 0.08 < np.mean(said) < 0.3


def test_measurements_have_units(hearts: list[Heart]) -> None:
    found = {one.name: (one.value, one.unit) for one in measurements(hearts[0])}
    assert found["lvef"] == (round(hearts[0].lvef), "%")
    assert found["lv_end_diastolic_diameter"][1] == found["septal_wall_thickness"][1] == "mm"
    assert found["lv_end_diastolic_volume"] == (round(hearts[0].lv_end_diastolic_volume), "mL")
    assert found["heart_rate"][1] == "bpm"


def plain(heart: Heart) -> Heart:
    return replace(
        heart, rhythm="sinus rhythm", heart_rate=72.0, conduction="normal", pr_interval=160.0, qrs_duration=90.0,
        qt_corrected=410.0, qrs_axis=40.0, qrs_voltage=1.2, t_amplitude=0.3, st_depression=0.0, ecg_noise=0.01,
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
            {"conduction": "left bundle branch block", "qrs_duration": 150.0, "t_amplitude": -0.3},
            ["Sinus rhythm", "Left bundle branch block", "Abnormal ECG"],
        ),
        ({"qrs_axis": -50.0}, ["Sinus rhythm", "Left axis deviation", "Abnormal ECG"]),
        ({"pr_interval": 220.0}, ["Sinus rhythm", "Prolonged PR interval", "Borderline ECG"]),
        ({"qrs_voltage": 2.6}, ["Sinus rhythm", "Left ventricular hypertrophy", "Abnormal ECG"]),
        (
            {"conduction": "right bundle branch block", "qrs_duration": 140.0},
            ["Sinus rhythm", "Right bundle branch block", "Abnormal ECG"],
        ),
        (
            {"conduction": "right bundle branch block", "qrs_duration": 140.0, "qrs_axis": -60.0},
            ["Sinus rhythm", "RBBB with left anterior fascicular block", "Abnormal ECG"],
        ),
        (
            {"qrs_voltage": 2.6, "st_depression": 0.15, "t_amplitude": -0.3},
            [
                "Sinus rhythm",
                "Left ventricular hypertrophy",
                "Lateral ST-T changes may be due to hypertrophy and/or ischemia",
                "Abnormal ECG",
            ],
        ),
        ({"qrs_voltage": 0.6}, ["Sinus rhythm", "Low QRS voltages in limb leads", "Borderline ECG"]),
        ({"qrs_voltage": 0.5}, ["Sinus rhythm", "Generalized low QRS voltages", "Borderline ECG"]),
    ],
)
def test_machine_statements(change: dict, statements: list[str], hearts: list[Heart]) -> None:
    assert ecg_statements(replace(plain(hearts[0]), **change), np.random.default_rng(0)) == statements


@pytest.mark.parametrize(
    ("change", "rhythm"),
    [
        ({}, "Sinus rhythm with PVC(s)"),
        ({"heart_rate": 50.0}, "Sinus bradycardia with PVC(s)"),
        ({"rhythm": "atrial fibrillation"}, "Atrial fibrillation with PVC(s)"),
    ],
)
def test_ectopic_beats_are_stated_when_the_recording_has_one(change: dict, rhythm: str, hearts: list[Heart]) -> None:
    heart = replace(plain(hearts[0]), ectopic_share=0.1, **change)
    assert ecg_statements(heart, np.random.default_rng(0), ectopic_beats=2) == [rhythm, "Abnormal ECG"]
    assert "PVC" not in " ".join(ecg_statements(heart, np.random.default_rng(0), ectopic_beats=0))


def test_st_depression_is_stated(hearts: list[Heart]) -> None:
    for seed in range(10):
        said = ecg_statements(replace(plain(hearts[0]), st_depression=0.15), np.random.default_rng(seed))
        assert "ST-T changes" in said[1]


@pytest.mark.parametrize(
    ("fault", "statement"),
    [
        (Fault("electrode off", "V3", 0), "Lead(s) unsuitable for analysis: V3"),
        (Fault("electrode off", "LA", 0), "Lead(s) unsuitable for analysis: I, III"),
        (Fault("saturated lead", "II", 0), "Lead(s) unsuitable for analysis: II"),
        (Fault("motion artefact", "V1", 0), "Poor quality data, interpretation may be affected"),
        (
            Fault("arm electrodes swapped", "RA", 0),
            "--- Possible arm lead reversal - hence only aVF, V1-V6 analyzed ---",
        ),
    ],
)
def test_faults_are_stated_first(fault: Fault, statement: str, hearts: list[Heart]) -> None:
    said = ecg_statements(plain(hearts[0]), np.random.default_rng(0), fault=fault)
    assert said == [statement, "Sinus rhythm", "Normal ECG"]


def test_swapped_arms_pass_unseen_without_a_p_wave(hearts: list[Heart]) -> None:
    heart = replace(plain(hearts[0]), rhythm="atrial fibrillation", qrs_axis=140.0)
    said = ecg_statements(heart, np.random.default_rng(0), fault=Fault("arm electrodes swapped", "RA", 0))
    assert said == ["Atrial fibrillation", "Right axis deviation", "Abnormal ECG"]


def test_statements_fit_their_columns(hearts: list[Heart]) -> None:
    assert max(len(ecg_statements(one, np.random.default_rng(0))) for one in hearts) <= 18
