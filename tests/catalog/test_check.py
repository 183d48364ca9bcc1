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
