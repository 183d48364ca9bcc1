"""A look at an export before anything is built: right counts, no identifiers."""

from pathlib import Path

from typer.testing import CliRunner

from echoingecg.catalog.check import check_export
from echoingecg.recipe import CatalogSettings
from flows.cli.main import app
from helpers.cases.hospital import append_row, generic_export
from helpers.cases.mimic_release import PATIENTS, Release, row


def test_the_counts_are_those_of_the_catalog(tmp_path: Path) -> None:
    summary = check_export(Release().write(tmp_path), CatalogSettings(measurements=("lvef",)))
    assert summary.layout == "mimic-iv"
    assert summary.counts == {
        "patients": PATIENTS, "patients with ECGs and echoes": PATIENTS, "ECGs": 2 * PATIENTS,
        "ECGs with sex, age, site, device or rhythm": 2 * PATIENTS, "echo studies": PATIENTS, "echo clips": PATIENTS,
        "reports": 2 * PATIENTS, "measurements": 5 * PATIENTS,
    }  # fmt: skip
    assert summary.gaps == PATIENTS
    assert summary.measurements.results["lvef_upper", "%"] == PATIENTS
    assert summary.measurements.words == {("mitral_regurg", ""): PATIENTS, ("lv_wall_thickness", ""): PATIENTS}
    assert summary.refused.total() == 0


def test_labels_by_endpoint_are_those_of_the_exams(tmp_path: Path) -> None:
    """Counted by hand: the first of a patient's two ECGs is near the exam, the other is of eleven years later."""
    rows = [
        row(0, "lvef", 35, "%"),
        row(1, "lvef", 35, "%"), row(1, "lvef_upper", 42, "%"),  # the threshold lies inside
        row(2, "lvef", 0.6, ""),
        row(3, "lvef", 30, "%", measurement_id="71000000", test_type="Stress"),  # no exam of a study, and no TTE
        row(0, "septal_thickness", 1.6, "cm"), row(1, "septal_thickness", 1.2, "cm"),
        row(1, "inf_lat_thickness", 15, "mm"), row(2, "septal_thickness", 14, "mm"),
    ]  # fmt: skip
    export = Release(rows=rows).write(tmp_path)
    answer = CliRunner().invoke(app, ["check-export", str(export), "--recipe", "paper"])
    assert answer.exit_code == 0, answer.output
    lines = answer.output.splitlines()
    assert lines[lines.index("labels of ECGs by the recipe paper, if every ECG can be used:") + 1 :] == [
        "  LVEF < 30 %: 0 positive, 2 negative (1 unit_mismatch)",
        "  LVEF < 40 %: 1 positive, 0 negative (1 unit_mismatch, 1 between)",
        "  LVEF < 50 %: 2 positive, 0 negative (1 unit_mismatch)",
        "  SLVH: septal or posterior wall >= 15 mm: 2 positive, 1 negative",
        "  DVH: LV diameter >= 60 mm: 0 positive, 0 negative",
        "  LVEF: 2 values (1 unit_mismatch)",
    ]
    unnamed = ["check-export", str(export), "--recipe", "paper", "--set", "catalog.measurements=[lvedd]"]
    assert "  LVEF < 40 %: 0 positive, 0 negative\n" in CliRunner().invoke(app, unnamed).output


def test_findings_in_words_of_a_hospitals_own_table_are_labels(tmp_path: Path) -> None:
    export = generic_export(tmp_path)
    append_row(export / "measurements.csv", measurement="mitral_regurg", value="Severe", unit="")
    answer = CliRunner().invoke(app, ["check-export", str(export), "--recipe", "findings"])
    assert "  MR: moderate or greater mitral regurgitation: 1 positive, 0 negative\n" in answer.output, answer.output


def test_the_command_prints_no_identifier(tmp_path: Path) -> None:
    export = Release(rows=[*Release().rows, row(0, "lvef", 50, "%", measurement_datetime="x")]).write(tmp_path)
    next(export.rglob("*_0001.dcm")).unlink()
    answer = CliRunner().invoke(app, ["check-export", str(export)])
    assert answer.exit_code == 0, answer.output
    assert "layout: mimic-iv" in answer.output
    assert "  mitral_regurg []: 4, 4 in words" in answer.output
    assert "refused: 2" in answer.output
    assert "  1 missing_file: the listed file is not there" in answer.output
    for canary in ("10000000", "7000000", "9000000", "2180-07-0", "p1000", "p-"):
        assert canary not in answer.output.replace("2180-07-23", ""), canary


def test_no_signal_is_read(tmp_path: Path) -> None:
    export = generic_export(tmp_path)
    for file in (*export.glob("signals/*"), *export.glob("clips/*")):
        file.chmod(0o000)
    append_row(export / "ecgs.csv", ecg_id="2", path="signals/none")
    summary = check_export(export, CatalogSettings())
    assert summary.refused == {("missing_file", "the listed file is not there"): 1}
    assert summary.counts["ECGs"] == 3
