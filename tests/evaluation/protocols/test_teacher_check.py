"""The teacher's own reading of echo studies: against scikit-learn, loops, and teachers that see nothing."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import mean_absolute_error, roc_auc_score

from data_contracts.evaluation_details import TEACHER_CHECK
from data_contracts.pairs import LABELS
from echoingecg.evaluation.protocols.teacher_check import StudyVectors, check_teacher, warnings_of
from echoingecg.recipe import EvaluationSettings
from helpers.cases.evaluation_case import DIM, lvef_below, unit_numbers
from helpers.cases.evaluation_case import LVEF as LVEF_NUMBER

STUDIES = 60
SETTINGS = EvaluationSettings(endpoints=(lvef_below(50),), regressions=(LVEF_NUMBER,), bootstrap_draws=50)
LVEF = np.linspace(20, 75, STUDIES)


def study_vectors(lvef: np.ndarray) -> StudyVectors:
    """Five vectors of each study about the place where the planted text tower puts its LVEF."""
    random = np.random.default_rng(5)
    vectors = []
    for value in lvef:
        noisy = unit_numbers([f"{value:.0f}"])[0] + random.normal(0, 0.05, (5, DIM))
        vectors.append((noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float16))
    names = np.array([f"study-{row:03d}" for row in range(len(lvef))])
    return StudyVectors(names, lambda row: vectors[row])


def labels(lvef: np.ndarray) -> pa.Table:
    """Two ECGs of each study with the same measurement; every third patient has two studies."""
    empty = dict.fromkeys(LABELS.schema.names)
    return LABELS.build(
        [
            empty
            | {
                "record_id": f"ecg-{row}-{ecg}",
                "patient_id": f"patient-{row - (row % 3 == 1)}",
                "split": "train",
                "study_id": f"study-{row:03d}",
                "measurement": "lvef",
                "value": float(value),
                "unit": "%",
            }
            for row, value in enumerate(lvef)
            for ecg in range(2)
        ]
    )


def rows_of(vectors: StudyVectors, has_text: bool = True) -> dict[tuple[str, str], dict]:
    rows = check_teacher(vectors, labels(LVEF), SETTINGS, unit_numbers if has_text else None, {})
    TEACHER_CHECK.build(rows)
    return {(row["method"], row["metric"]): row for row in rows}


def test_prompts_against_a_loop_and_scikit_learn() -> None:
    vectors = study_vectors(LVEF)
    rows = rows_of(vectors)
    question, number = SETTINGS.endpoints[0], SETTINGS.regressions[0]
    low, high = number.prompt_range
    scores, read = [], []
    for row in range(STUDIES):
        frames = vectors.read(row).astype(np.float32)
        similar = [
            np.mean([frame @ unit_numbers([prompt])[0] for frame in frames for prompt in prompts])
            for prompts in (question.positive_prompts, question.negative_prompts)
        ]
        scores.append(similar[0] - similar[1])
        asked = [
            (prompt.replace("<#>", f"{value:g}"), value)
            for prompt in number.prompts
            for value in np.arange(low, high + number.prompt_step / 2, number.prompt_step)
        ]
        ranked = [
            [asked[place][1] for place in np.argsort(-(unit_numbers([text for text, _ in asked]) @ frame))]
            for frame in frames
        ]
        best = sorted(np.mean(ranked, axis=0)[: int(0.2 * len(asked))])
        read.append(best[(len(best) - 1) // 2])
    assert rows["prompts", "auroc"]["value"] == pytest.approx(roc_auc_score(LVEF < 50, scores), abs=1e-9)
    assert rows["prompts", "mae"]["value"] == pytest.approx(mean_absolute_error(LVEF, read), abs=1e-6)
    assert rows["prompts", "bias"]["value"] == pytest.approx(np.mean(read - LVEF), abs=1e-6)
    assert rows["prompts", "pearson"]["value"] == pytest.approx(pearsonr(LVEF, read)[0], abs=1e-6)
    assert {row["studies"] for row in rows.values()} == {STUDIES}, "a study with two ECGs counts once"
    assert {row["patients"] for row in rows.values()} == {40}
    assert rows["prompts", "auroc"]["positives"] == int((LVEF < 50).sum())


def test_a_teacher_that_sees_is_not_warned_of_and_a_blind_one_is() -> None:
    assert warnings_of(list(rows_of(study_vectors(LVEF)).values())) == []
    blind = study_vectors(np.random.default_rng(3).permutation(LVEF))
    rows = rows_of(blind)
    assert rows["probe", "auroc"]["value"] < 0.75, "patients are held out: the probe cannot learn them by heart"
    lines = warnings_of(list(rows.values()))
    assert len(lines) == 2
    assert all("does not read" in line and "60 studies" in line for line in lines)


def test_prompts_that_fail_on_vectors_that_hold_the_finding() -> None:
    mirrored = study_vectors(95 - LVEF)
    rows = rows_of(mirrored)
    assert rows["prompts", "auroc"]["value"] < 0.1
    assert rows["probe", "auroc"]["value"] > 0.95
    assert [line.count("its vectors hold it") for line in warnings_of(list(rows.values()))] == [1, 1]


def test_a_teacher_without_text_is_probed() -> None:
    rows = rows_of(study_vectors(LVEF), has_text=False)
    assert {method for method, _ in rows} == {"probe"}
    assert rows["probe", "pearson"]["value"] > 0.9


def test_few_studies_have_no_verdict() -> None:
    few = labels(LVEF).filter(pa.array([row < 24 for row in range(2 * STUDIES)]))
    rows = check_teacher(study_vectors(LVEF[::-1].copy()), few, SETTINGS, unit_numbers, {})
    assert rows
    assert {row["is_below"] for row in rows} == {None}
    assert warnings_of(rows) == []
    assert check_teacher(study_vectors(LVEF), labels(LVEF[:0]), SETTINGS, unit_numbers, {}) == []
