"""The layout of the releases: exams of studies, ranges, words, sex and age, wherever a download leaves them."""

import csv
import gzip
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoingecg.catalog.build import Catalog, build_catalog
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.catalog.scan import scan
from echoingecg.common import ExportError
from echoingecg.evaluation.protocols.labels import NO_LABEL, label_ecgs
from echoingecg.pairs.match import build
from echoingecg.recipe import CatalogSettings
from echoingecg.simulator.export import simulate
from flows.request import find_recipe
from helpers.cases.hospital import KEY, append_row, mimic_export, read_csv, rows, write_csv
from helpers.cases.mimic_release import PATIENTS, Release, exam, person, row, study, subject
from helpers.cases.tables_for_pairs import record_table, study_table
from helpers.paths import CASES

NAMES = Pseudonyms(KEY)


def catalog_of(export: Path, **settings: Any) -> Catalog:
    return build_catalog(scan(export, CatalogSettings.model_validate(settings), KEY), KEY)


def measured(catalog: Catalog, number: int) -> dict[str, dict[str, Any]]:
    """Rows of a patient's measurements by name."""
    table = catalog.tables["measurements"]
    return {one["measurement"]: one for one in rows(table) if one["patient_id"] == NAMES.patient(subject(number))}


def reasons(catalog: Catalog) -> list[str]:
    return [one["reason"] for one in rows(catalog.tables["quarantine"])]


def test_a_release_is_read_to_the_last_row(tmp_path: Path) -> None:
    catalog = catalog_of(Release().write(tmp_path))
    counts = {name: table.num_rows for name, table in catalog.tables.items()}
    assert counts == {
        "ecgs": 2 * PATIENTS, "echoes": PATIENTS, "reports": 2 * PATIENTS, "measurements": 4 * PATIENTS,
        "subgroups": 2 * PATIENTS, "quarantine": 0,
    }  # fmt: skip
    assert catalog.gaps == PATIENTS, "a result that is not stated is counted, and no fault"
    for number in range(PATIENTS):
        common = {
            "patient_id": NAMES.patient(subject(number)),
            "hours": pytest.approx(24 + 7 + 56 / 60),
            "study_id": NAMES.study(subject(number), study(number)),
            "exam_id": NAMES.exam(subject(number), exam(number)),
            "exam_type": "tte",
        }
        nothing = {"value": None, "upper": None, "words": None, "unit": "", "record_id": None}
        assert measured(catalog, number) == {
            name: common | nothing | {"measurement": name} | result
            for name, result in {
                "lvef": {"value": 50.0, "upper": 55.0, "unit": "%"},
                "septal_thickness": {"value": 1.1, "unit": "cm"},
                "mitral_regurg": {"words": "Mild (1+)"},
                "lv_wall_thickness": {"words": "Mod symmetric LVH (1.5-1.7cm)"},
            }.items()
        }


def test_sex_and_age_are_those_at_each_ecg(tmp_path: Path) -> None:
    catalog = catalog_of(Release().write(tmp_path))
    found = {one["record_id"]: one for one in rows(catalog.tables["subgroups"])}
    for number in range(PATIENTS):
        for year in (0, 1):  # the second ECG is 11 years later
            record = NAMES.record(subject(number), str(40_000_000 + 10 * number + year))
            assert found[record]["sex"] == "FM"[number % 2]
            assert found[record]["age"] == min(90, 60 + 10 * number + 11 * year)
            assert found[record]["rhythm"] == "sinus"
            assert found[record]["device"] == NAMES.device("681")


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"gender": "female"}, 1),
        ({"anchor_age": "60-65"}, 1),
        ({"anchor_age": "-1"}, 1),
        ({"anchor_year": ""}, 1),
        ({"anchor_year": "2185"}, 0),
        ({"anchor_age": "2", "anchor_year": "2185"}, 1),  # the first ECG is from before the birth
    ],
)
def test_patients_that_cannot_be_read_are_refused_and_cost_no_ecg(
    tmp_path: Path, change: dict[str, str], refused: int
) -> None:
    people = [person(number) for number in range(PATIENTS)]
    people[0] |= change
    catalog = catalog_of(Release(patients=people).write(tmp_path))
    assert reasons(catalog) == ["bad_row"] * refused
    assert catalog.tables["subgroups"].num_rows == 2 * PATIENTS, "rhythm and device stay"


@pytest.mark.parametrize(
    "name",
    [
        "structured-measurement.csv.gz", "structured_measurement.csv", "structured_measurement.csv.gz",
        "structured-measurement.csv",
    ],
)  # fmt: skip
def test_both_names_of_the_table_of_measurements(tmp_path: Path, name: str) -> None:
    assert catalog_of(Release(structured=name).write(tmp_path)).tables["measurements"].num_rows == 4 * PATIENTS


@pytest.mark.parametrize("prefix", ["", "data/", "physionet.org/files/"])
@pytest.mark.parametrize("core", ["hosp", "mimiciv/hosp", "mimiciv/3.1/hosp"])
def test_folders_of_a_download(tmp_path: Path, prefix: str, core: str) -> None:
    at = f"{prefix}mimiciv/3.1/hosp" if "physionet" in prefix else core
    if prefix == "data/":
        release = Release("data/mimic-iv-ecg", "data/mimic-iv-echo/1.0", core)
    else:
        release = Release(f"{prefix}mimic-iv-ecg/1.0", f"{prefix}mimic-iv-echo/1.0.1", at)
    tables = catalog_of(release.write(tmp_path)).tables
    assert (tables["ecgs"].num_rows, tables["echoes"].num_rows) == (2 * PATIENTS, PATIENTS)
    assert None not in tables["subgroups"]["age"].to_pylist()
    assert tables["quarantine"].num_rows == 0


def test_two_releases_side_by_side_are_refused(tmp_path: Path) -> None:
    Release().write(tmp_path)
    shutil.copytree(tmp_path / "mimic-iv-echo/1.0.1", tmp_path / "mimic-iv-echo/1.0")
    with pytest.raises(ExportError, match=r"echo-record-list\.csv is there 2 times: mimic-iv-echo/1\.0/"):
        catalog_of(tmp_path)


def test_every_table_may_be_compressed(tmp_path: Path) -> None:
    before = catalog_of(mimic_export(tmp_path)).tables
    for table in tmp_path.rglob("*.csv"):
        with gzip.open(f"{table}.gz", "wb") as file:
            file.write(table.read_bytes())
        table.unlink()
    after = catalog_of(tmp_path).tables
    assert all(after[name].equals(table) for name, table in before.items())


def test_a_broken_archive_is_one_line(tmp_path: Path) -> None:
    Release().write(tmp_path)
    table = tmp_path / "mimic-iv-echo/1.0.1/structured-measurement.csv.gz"
    table.write_bytes(table.read_bytes()[:-30])
    with pytest.raises(ExportError, match=r"structured-measurement\.csv\.gz") as fault:
        catalog_of(tmp_path)
    assert "\n" not in str(fault.value)


def test_an_exam_without_study_is_kept_without_one(tmp_path: Path) -> None:
    other = row(0, "lvef", 30, "%", measurement_id="71000000", test_type="Stress")
    catalog = catalog_of(Release(rows=[other]).write(tmp_path))
    (found,) = rows(catalog.tables["measurements"])
    assert (found["study_id"], found["exam_type"]) == (None, "stress")
    assert found["exam_id"] == NAMES.exam(subject(0), "71000000")


def test_an_exam_of_two_studies_is_measured_for_both(tmp_path: Path) -> None:
    Release(rows=[row(0, "lvef", 50, "%")]).write(tmp_path)
    table = tmp_path / "mimic-iv-echo/1.0.1/echo-study-list.csv"
    listed = read_csv(table)
    write_csv(table, [*listed, listed[0] | {"study_id": "91000000"}])
    found = {one["study_id"] for one in rows(catalog_of(tmp_path).tables["measurements"])}
    assert found == {NAMES.study(subject(0), study(0)), NAMES.study(subject(0), "91000000")}


def test_an_exam_of_another_patients_study_is_not_linked(tmp_path: Path) -> None:
    Release(rows=[row(0, "lvef", 50, "%", measurement_id=exam(1))]).write(tmp_path)
    (found,) = rows(catalog_of(tmp_path).tables["measurements"])
    assert found["study_id"] is None


@pytest.mark.parametrize(
    ("listed", "kept", "refused"),
    [
        ([("lvef", 50, "%"), ("lvef_upper", 55, "%")], [(50, 55)], 0),
        ([("lvef", 50, "%"), ("lvef_upper", 50, "%")], [(50, 50)], 0),
        ([("lvef", 50, "%"), ("lvef_upper", "", "%")], [(50, None)], 0),
        ([("lvef", 50, "%"), ("lvef_upper", 45, "%")], [], 2),
        ([("lvef", 50, "%"), ("lvef_upper", 0.55, "")], [(50, None)], 1),
        ([("lvef", 50, "%"), ("lvef_upper", "Normal", "")], [(50, None)], 1),
        ([("lvef", 50, "%"), ("lvef", 40, "%"), ("lvef_upper", 55, "%")], [(40, None), (50, None)], 1),
        ([("lvef", 50, "%"), ("lvef_upper", 55, "%"), ("lvef_upper", 60, "%")], [(50, None)], 2),
        ([("lvef_upper", 55, "%")], [], 1),
        ([("lvef", "Normal", ""), ("lvef_upper", 55, "%")], [(None, None)], 1),
    ],
)
def test_ranges(tmp_path: Path, listed: list[tuple[str, Any, str]], kept: list[Any], refused: int) -> None:
    catalog = catalog_of(Release(rows=[row(0, *values) for values in listed]).write(tmp_path))
    found = [(one["value"], one["upper"]) for one in rows(catalog.tables["measurements"])]
    assert sorted(found, key=str) == sorted(kept, key=str)
    assert reasons(catalog) == ["bad_row"] * refused


def test_a_range_without_an_exam_is_not_joined(tmp_path: Path) -> None:
    nameless = [row(0, name, value, "%", measurement_id="") for name, value in (("lvef", 50), ("lvef_upper", 55))]
    catalog = catalog_of(Release(rows=nameless).write(tmp_path))
    (found,) = rows(catalog.tables["measurements"])
    assert (found["value"], found["upper"], found["exam_id"]) == (50, None, None)
    assert reasons(catalog) == ["bad_row"]


@pytest.mark.parametrize("names", [("lvef",), ("lvef_upper",)])
def test_a_recipe_names_what_is_kept_and_moves_no_time(tmp_path: Path, names: tuple[str, ...]) -> None:
    early = row(0, "tr_velocity", 2.4, "m/s", measurement_datetime="2180-06-30 08:44:00")
    Release(rows=[early, *Release().rows]).write(tmp_path)
    whole, part = catalog_of(tmp_path), catalog_of(tmp_path, measurements=names)
    assert set(part.tables["measurements"]["measurement"].to_pylist()) == {"lvef"}
    assert measured(part, 0)["lvef"] == measured(whole, 0)["lvef"]
    assert measured(part, 0)["lvef"]["upper"] == 55
    assert part.tables["ecgs"].equals(whole.tables["ecgs"]), "the first event counts whether it is kept or not"


def test_a_row_twice_counts_once(tmp_path: Path) -> None:
    Release().write(tmp_path)
    plain = tmp_path / "mimic-iv-echo/1.0.1/structured-measurement.csv"
    with gzip.open(f"{plain}.gz") as file:
        plain.write_bytes(file.read())
    Path(f"{plain}.gz").unlink()
    append_row(plain)
    catalog = catalog_of(tmp_path)
    assert reasons(catalog) == ["bad_row"]
    assert catalog.tables["measurements"].num_rows == 4 * PATIENTS
    ((name, path),) = [(one["source_id"], one["path"]) for one in rows(catalog.refused_rows)]
    assert path == f"mimic-iv-echo/1.0.1/structured-measurement.csv#{1 + 6 * PATIENTS + 1}"
    assert catalog.tables["quarantine"]["source_id"].to_pylist() == [name]


@pytest.mark.slow
def test_the_generated_release_gives_the_labels_of_its_truth_row_by_row(tmp_path: Path) -> None:
    """A release written by a script that is not part of this project, around simulated hearts whose state is known."""
    script = CASES / "layouts/make_mimic_iv.py"
    if not script.is_file():
        pytest.skip("needs 'cases' in a folder 'shared' beside the checkout, or ECHOINGECG_SHARED")
    settings = find_recipe("smoke", []).simulator
    assert settings is not None
    simulate(settings.model_copy(update={"patients": 12, "seed": 5, "real_recordings": False}), tmp_path / "simulated")
    export = tmp_path / "release"
    subprocess.run([sys.executable, script, tmp_path / "simulated", export], check=True, capture_output=True)
    recipe = find_recipe("paper", [])
    catalog = catalog_of(export, **recipe.catalog.model_dump())
    assert catalog.tables["quarantine"].num_rows == 0
    with (tmp_path / "simulated/simulated_truth.csv").open() as file:
        hearts = {NAMES.patient(row["subject_id"]): row for row in csv.DictReader(file)}
    ecgs = [(row["record_id"], row["patient_id"], row["hours"]) for row in rows(catalog.tables["ecgs"])]
    clips = {row["study_id"]: row["patient_id"] for row in rows(catalog.tables["echoes"])}
    tables = build(
        *(catalog.tables[name] for name in ("ecgs", "echoes", "reports", "measurements")), record_table(ecgs),
        study_table([(study_id, patient, 0.0) for study_id, patient in clips.items()]), recipe.pairs,
    )  # fmt: skip
    records = np.sort(np.array([record for record, *_ in ecgs]))
    owner = {record: patient for record, patient, _ in ecgs}
    expected = {
        "LVEF < 40 %": lambda heart: round(float(heart["lvef"]) / 5) * 5 < 40,
        "SLVH: septal or posterior wall >= 15 mm": lambda heart: (
            round(float(heart["septal_wall_thickness"]) / 10, 1) >= 1.5
        ),
        "DVH: LV diameter >= 60 mm": lambda heart: round(float(heart["lv_end_diastolic_diameter"]) / 10, 1) >= 6,
    }
    labelled_patients = set()
    for endpoint in recipe.evaluation.endpoints:
        if endpoint.name not in expected:
            continue
        label = label_ecgs(endpoint, tables["labels"], records).label
        for record, value in zip(records.tolist(), label.tolist(), strict=True):
            if value != NO_LABEL:
                labelled_patients.add(owner[record])
                assert value == expected[endpoint.name](hearts[owner[record]]), (endpoint.name, record)
    assert labelled_patients == set(clips.values())
