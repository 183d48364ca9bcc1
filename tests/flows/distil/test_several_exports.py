"""A run of two hospitals that number their patients alike: from the catalog to results by site."""

import csv
import shutil
from pathlib import Path

import pytest

from data_contracts import catalog, evaluation, pairs
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.common import UserError
from echoingecg.simulator.export import simulate
from flows.request import find_recipe
from helpers.cases.command_line import call
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages

KEY = "of the tests"
TO_PAIRS = ("catalog", "ecg", "teacher", "pairs")


def hospital(folder: Path, patients: int, seed: int) -> Path:
    settings = find_recipe("smoke", []).simulator
    assert settings is not None
    simulate(settings.model_copy(update={"patients": patients, "seed": seed, "real_recordings": False}), folder)
    return folder


def run_of(workspace: Path, *exports: str, stages: tuple = TO_PAIRS, overrides: tuple = ()) -> Run:
    recipe = find_recipe("smoke", [f"catalog.public_key={KEY}", *overrides])
    first, *more = exports
    return run_stages(make_job(recipe, first, str(workspace), more_exports=more), *stages)


def sides_of(run: Run) -> dict[str, str]:
    return {row["patient_id"]: row["split"] for row in pairs.PATIENTS.read(run.artefacts["pairs"].folder).to_pylist()}


@pytest.fixture(scope="module")
def north(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hospital(tmp_path_factory.mktemp("north") / "export", 8, 1)


@pytest.fixture(scope="module")
def south(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hospital(tmp_path_factory.mktemp("south") / "export", 8, 2)


def numbers(export: Path) -> set[str]:
    with (export / "mimic-iv-ecg" / "record_list.csv").open(newline="") as file:
        return {row["subject_id"] for row in csv.DictReader(file)}


def test_nobody_merges_and_the_split_stays_as_exports_are_added(north: Path, south: Path, tmp_path: Path) -> None:
    assert numbers(north) == numbers(south), "both number their patients alike"
    workspace = tmp_path / "workspace"
    alone = run_of(workspace, f"North={north}")
    both = run_of(workspace, f"North={north}", f"South={south}")
    listed = [catalog.ECGS.read(run.artefacts["catalog"].folder).to_pylist() for run in (alone, both)]
    owners = [{row["patient_id"] for row in rows} for rows in listed]
    assert len(owners[1]) == 2 * len(owners[0]) == 2 * len(numbers(north))
    assert owners[0] < owners[1]
    sides = [sides_of(run) for run in (alone, both)]
    assert sides[0].items() <= sides[1].items(), "every patient of the first export is on its side still"
    assert both.artefacts["ecg"].manifest.run.new_keys == len(listed[1]) - len(listed[0]), "only the new ones are read"
    sites = catalog.SUBGROUPS.read(both.artefacts["catalog"].folder).to_pylist()
    names = Pseudonyms(KEY.encode())
    assert {row["site"] for row in sites} == {names.site("North"), names.site("South")}
    owner = {row["record_id"]: row["patient_id"] for row in listed[1]}
    first_site = {owner[row["record_id"]] for row in sites if row["site"] == names.site("North")}
    assert first_site == owners[0]
    paired = pairs.ECG_ECHO.read(both.artefacts["pairs"].folder).to_pylist()
    assert paired
    studies = catalog.ECHOES.read(both.artefacts["catalog"].folder).to_pylist()
    study_owner = {row["study_id"]: row["patient_id"] for row in studies}
    assert all(study_owner[row["study_id"]] == row["patient_id"] == owner[row["record_id"]] for row in paired)


def test_the_version_depends_on_content_and_sites_alone(north: Path, south: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(north, tmp_path / "elsewhere")
    versions = [
        run_of(tmp_path / name, *exports, stages=("catalog",)).versions["catalog"]
        for name, exports in {
            "w1": (f"North={north}", f"South={south}"),
            "w2": (f"South={south}", f"North={moved}"),
            "w3": (f"East={north}", f"South={south}"),
        }.items()
    ]
    assert versions[0] == versions[1]
    assert versions[0] != versions[2]


def test_refused_requests_are_one_line(north: Path, south: Path, tmp_path: Path) -> None:
    for exports, says in (
        ((str(north), str(south)), "of several exports each needs the name of its site"),
        ((f"North={north}", f"South={north}"), "given twice"),
        ((f"North={north}", "South=/nowhere"), "not a folder"),
    ):
        with pytest.raises(UserError, match=says) as fault:
            run_of(tmp_path / "w", *exports, stages=("catalog",))
        assert "\n" not in str(fault.value)
    with pytest.raises(UserError, match="a simulated one is not mixed with others"):
        make_job(find_recipe("smoke", []), "", str(tmp_path), more_exports=[f"South={south}"])
    table = tmp_path / "vectors.csv"
    table.write_text("path,e0\n")
    with pytest.raises(UserError, match="for one export, given without the name of a site"):
        run_of(
            tmp_path / "w", f"North={north}", stages=("catalog", "teacher"), overrides=(f"teacher.model=table:{table}",)
        )


def with_folds(export: Path, folder: Path) -> Path:
    """The export as plain tables, with a published fold for each ECG: 1 to 10 by the patient's number."""
    lists = ("mimic-iv-ecg/record_list", "mimic-iv-echo/echo-record-list", "mimic-iv-echo/structured_measurement")
    ecgs, clips, measured = (_read(export / f"{name}.csv") for name in lists)
    folder.mkdir()
    for name in ("mimic-iv-ecg", "mimic-iv-echo"):
        shutil.copytree(export / name / "files", folder / name / "files")
    place = {patient: number for number, patient in enumerate(sorted({row["subject_id"] for row in ecgs}))}
    _write(folder / "ecgs.csv", [
        {"patient_id": row["subject_id"], "ecg_id": row["study_id"], "time": row["ecg_time"],
         "path": f"mimic-iv-ecg/{row['path']}"} for row in ecgs
    ])  # fmt: skip
    _write(folder / "echoes.csv", [
        {"patient_id": row["subject_id"], "study_id": row["study_id"], "time": row["acquisition_datetime"],
         "path": f"mimic-iv-echo/{row['dicom_filepath']}"} for row in clips
    ])  # fmt: skip
    numbers = [
        {"patient_id": row["subject_id"], "ecg_id": "", "time": row["measurement_datetime"],
         "measurement": row["measurement"], "value": row["result"], "unit": row["unit"]} for row in measured
    ]  # fmt: skip
    folds = [
        {"patient_id": row["subject_id"], "ecg_id": row["study_id"], "time": row["ecg_time"], "measurement": "fold",
         "value": place[row["subject_id"]] % 10 + 1, "unit": ""} for row in ecgs
    ]  # fmt: skip
    _write(folder / "measurements.csv", numbers + folds)
    return folder


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


@pytest.mark.slow
def test_published_sides_and_results_by_site_on_the_command_line(tmp_path: Path) -> None:
    """Two sites with published folds, 60 patients each: every fold is on its side, each site is judged by the other."""
    exports = [
        with_folds(hospital(tmp_path / f"simulated{seed}", 60, seed), tmp_path / name)
        for name, seed in (("north", 1), ("south", 2))
    ]
    workspace = tmp_path / "workspace"
    overrides = [
        "catalog.layout=auto", f"catalog.public_key={KEY}", "evaluation.leave_one_site_out=true",
        "pairs.split_by={measurement: fold, validation: [1, 2, 3], test: [4, 5, 6, 7, 8]}",
        "evaluation.stress_ecgs=0", "evaluation.bootstrap_draws=50", "student.epochs=1",
    ]  # fmt: skip
    places = [word for name, export in zip(("North", "South"), exports, strict=True)
              for word in ("--export", f"{name}={export}")]  # fmt: skip
    settings = [word for override in overrides for word in ("--set", override)]
    done = call(
        "run", "smoke", "--public-data", *places, "--workspace", str(workspace), *settings, home=tmp_path / "home"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    folder = Path(done.stdout.strip().splitlines()[-1]).parent
    names = Pseudonyms(KEY.encode())
    rows = evaluation.SITES.read(folder).to_pylist()
    assert {row["site"] for row in rows} == {names.site("North"), names.site("South")}
    assert all(row["patients"] >= 20 for row in rows)
    (paired,) = (workspace / "artefacts" / "pairs").glob("[!.]*")
    sides = {row["patient_id"]: row["split"] for row in pairs.PATIENTS.read(paired).to_pylist()}
    for site, export in zip(("North", "South"), exports, strict=True):
        from echoingecg.catalog.layouts.base import patient_of_site

        fold = {row["patient_id"]: int(row["value"]) for row in _read(export / "measurements.csv")
                if row["measurement"] == "fold"}  # fmt: skip
        for patient, number in fold.items():
            side = "validation" if number <= 3 else "test" if number <= 8 else "train"
            assert sides.get(names.patient(patient_of_site(site, patient)), side) == side
    assert len(sides) > 100
    status = call("status", "smoke", *places, "--workspace", str(workspace), *settings, home=tmp_path / "home")
    assert "missing" not in status.stdout, status.stdout
