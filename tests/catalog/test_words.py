"""Results in words: which leave the hospital, and how the others are counted."""

from pathlib import Path

import pytest

from echoingecg.catalog.build import build_catalog
from echoingecg.catalog.scan import scan
from echoingecg.catalog.words import is_vocabulary
from echoingecg.recipe import CatalogSettings
from helpers.cases.hospital import KEY, rows
from helpers.cases.mimic_release import Release, row

NAME = "Seen with Dr Miller"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mild (1+)", True),
        ("Mod symmetric LVH (1.5-1.7cm)", True),
        ("NL IVC <2.2 cm", True),
        ("Mild (TR 26-36mmHg)", True),
        ("Nl RV function", True),
        (NAME, False),
        ("Müller", False),
        ("Mild, 3/4/24", False),
        ("Mild 2024", False),
        ("12.03.24", False),
        ("617-555-1234", False),
    ],
)
def test_the_vocabulary_of_findings(text: str, expected: bool) -> None:
    assert is_vocabulary(text) == expected


@pytest.mark.parametrize(
    ("patients", "exams_each", "text", "kept"),
    [
        (5, 1, NAME, 5),
        (4, 2, NAME, 0),
        (1, 9, NAME, 0),  # nine exams of one patient may all name the same doctor, or the patient
        (5, 1, "Seen. " * 20, 0),
        (1, 1, "Mild (1+)", 1),
        (1, 1, "mild " * 20, 0),
    ],
)
def test_what_few_patients_share_is_left_out_and_counted(
    tmp_path: Path, patients: int, exams_each: int, text: str, kept: int
) -> None:
    listed = [
        row(patient, "comment", text.strip(), subject_id=20_000_000 + patient, measurement_id=f"{patient}0{exam}")
        for patient in range(patients)
        for exam in range(exams_each)
    ]
    export = Release(rows=[row(0, "lvef", 55, "%"), *listed]).write(tmp_path)
    catalog = build_catalog(scan(export, CatalogSettings(), KEY), KEY)
    found = catalog.tables["measurements"]
    assert found["words"].drop_null().to_pylist() == [text.strip()] * kept
    assert found["value"].drop_null().to_pylist() == [55]
    refused = rows(catalog.tables["quarantine"])
    if kept:
        assert refused == []
        return
    (refusal,) = refused
    assert refusal["reason"] == "free_text"
    assert refusal["detail"].startswith(f"{len(listed)} results in words")
    (named,) = rows(catalog.refused_rows)
    assert named["source_id"] == refusal["source_id"]
    assert named["path"].startswith("mimic-iv-echo/1.0.1/structured-measurement.csv.gz#3")
    assert named["path"].endswith("(comment)")
