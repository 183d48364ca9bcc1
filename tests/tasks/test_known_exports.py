"""An export that grows: what of it is new, gone or changed, by kind of file; a shrunk or half-copied one is refused."""

import shutil
from pathlib import Path

import pytest

from echoingecg.common import ExportError, UserError
from flows.request import find_recipe
from helpers.cases.hospital import append_row, generic_export, read_csv, write_csv, write_ecg
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import run_stages
from tasks import known_exports
from tasks.store import Artefact, Job

PATIENTS = 20
LISTS = ("ecgs", "echoes", "reports", "measurements")


def job_of(export: Path, workspace: Path, *overrides: str) -> Job:
    settings = ["catalog.layout=generic", "catalog.public_key=open", "execution.allow_unlabelled=true", *overrides]
    return make_job(find_recipe("smoke", settings), str(export), str(workspace), only=["catalog"], series="inbox")


def catalogued(job: Job) -> Artefact:
    """The catalog of the job's export, as a run makes it; a run refuses by `check`."""
    return run_stages(job, "catalog").artefacts["catalog"]


@pytest.fixture
def known(tmp_path: Path) -> Job:
    """A job whose export of twenty patients a run went through with."""
    job = job_of(generic_export(tmp_path / "may", PATIENTS), tmp_path / "workspace")
    known_exports.keep(job, catalogued(job))
    return job


def later(known: Job, name: str, *overrides: str) -> tuple[Path, Job]:
    """A copy of the known export in the same inbox, and the job on it."""
    export = known.export.parent / name
    shutil.copytree(known.export, export)
    return export, job_of(export, known.workspace.root, *overrides)


def without(export: Path, chosen: set[str], *tables: str) -> None:
    """Takes rows of patients out of the export's tables."""
    for table in tables:
        rows = read_csv(export / f"{table}.csv")
        write_csv(export / f"{table}.csv", [row for row in rows if row["patient_id"] not in chosen], list(rows[0]))


def brought(known: Job, job: Job) -> tuple[bool, dict[str, tuple[int, int]]]:
    """Whether the job's export holds nothing new; (gone, new) by kind, where there is a change."""
    before, listed = known_exports.last(known), catalogued(job)
    assert before is not None
    changed = known_exports.changes(job, before, listed)
    counted = {change.what: (change.gone, change.new) for change in changed if change.gone or change.new}
    return known_exports.holds_nothing_new(before, listed, changed), counted


def test_files_that_are_listed_and_not_there_count_by_kind_beside_many_measurements(tmp_path: Path) -> None:
    """The half copy of the issue: 6 of 20 ECGs are gone, among 500 rows; the share of all rows is small."""
    export = generic_export(tmp_path / "may", PATIENTS)
    rows = read_csv(export / "measurements.csv")
    many = [row | {"value": f"{row['value']}.{number:02d}"} for row in rows for number in range(30)]
    write_csv(export / "measurements.csv", many)
    for number in range(6):
        (export / f"signals/rec{number}.dat").unlink()
    with pytest.raises(UserError, match=r"catalog: 6 of 20 ECGs refused, over the recipe's catalog\.max_refused_share"):
        catalogued(job_of(export, tmp_path / "workspace"))
    catalogued(job_of(export, tmp_path / "workspace", "catalog.max_refused_share=0.4"))
    export = generic_export(tmp_path / "june", PATIENTS)
    for number in range(2):
        (export / f"clips/clip{number}.dcm").unlink()
    with pytest.raises(UserError, match=r"catalog: 2 of 20 echo clips refused"):
        catalogued(job_of(export, tmp_path / "workspace"))


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        (("ecgs",), "3 of 20 ECGs"),
        (("echoes",), "3 of 20 echo clips"),
        (("reports",), "3 of 20 ECG reports, 3 of 20 echo reports"),
        (("measurements",), "3 of 20 measurements"),
        (LISTS, "3 of 20 ECGs, 3 of 20 echo clips, 3 of 20 patients, 3 of 20 ECG reports, "),
    ],
)
def test_an_export_with_shorter_lists_is_refused_in_one_line(known: Job, tables: tuple[str, ...], says: str) -> None:
    export, job = later(known, "june")
    without(export, {"PAT0003", "PAT0007", "PAT0011"}, *tables)
    with pytest.raises(ExportError) as refused:
        known_exports.check(job, catalogued(job))
    assert says in str(refused.value)
    assert "are gone, over the recipe's execution.max_gone_share=0.1: is the copy complete? If they" in str(
        refused.value
    )
    assert "\n" not in str(refused.value)
    (_, allowed) = later(known, "july", "execution.max_gone_share=0.15")
    without(allowed.export, {"PAT0003", "PAT0007", "PAT0011"}, *tables)
    known_exports.check(allowed, catalogued(allowed))


def test_a_list_that_is_missing_is_refused(known: Job) -> None:
    export, job = later(known, "june")
    (export / "reports.csv").unlink()
    with pytest.raises(ExportError, match="20 of 20 ECG reports, 20 of 20 echo reports that the export before held"):
        known_exports.check(job, catalogued(job))


def test_growth_under_new_names_hides_no_loss(known: Job) -> None:
    """Refuses an export that lost as many ECGs as it gained, in which a count alone would see no change."""
    export, job = later(known, "june")
    without(export, {f"PAT{number:04d}" for number in range(4)}, "ecgs")
    for number in range(4):
        write_ecg(export / f"signals/new{number}", 100 + number)
        append_row(export / "ecgs.csv", patient_id=f"NEW{number}", ecg_id="9", path=f"signals/new{number}")
    with pytest.raises(ExportError, match="4 of 20 ECGs"):
        known_exports.check(job, catalogued(job))
    assert brought(known, job)[1]["ECGs"] == (4, 4)


def test_equal_content_under_another_name_and_an_older_export_hold_nothing_new(known: Job) -> None:
    assert brought(known, later(known, "renamed")[1]) == (True, {})
    export, job = later(known, "june")
    write_ecg(export / "signals/new", 100)
    append_row(export / "ecgs.csv", ecg_id="9", path="signals/new")
    assert brought(known, job) == (False, {"ECGs": (0, 1)})
    known_exports.keep(job, catalogued(job))
    older = later(known, "may again")[1]
    known_exports.check(older, catalogued(older))
    assert brought(job, older) == (True, {"ECGs": (1, 0)})


def test_files_under_other_names_within_the_export_are_known(known: Job) -> None:
    export, job = later(known, "june")
    for table, folder in (("ecgs", "signals"), ("echoes", "clips")):
        (export / folder).rename(export / f"new-{folder}")
        rows = read_csv(export / f"{table}.csv")
        write_csv(export / f"{table}.csv", [row | {"path": f"new-{row['path']}"} for row in rows])
    assert brought(known, job) == (True, {})


def test_a_corrected_label_a_withdrawn_patient_and_a_new_text_are_something_new(known: Job) -> None:
    export, job = later(known, "label")
    rows = read_csv(export / "measurements.csv")
    write_csv(export / "measurements.csv", [rows[0] | {"value": "12"}, *rows[1:]])
    assert brought(known, job) == (False, {"measurements": (0, 1)})
    export, job = later(known, "withdrawn")
    without(export, {"PAT0003"}, *LISTS)
    known_exports.check(job, catalogued(job))
    is_known, counted = brought(known, job)
    assert (is_known, counted["patients"], counted["ECGs"]) == (False, (1, 0), (1, 0))
    export, job = later(known, "text")
    rows = read_csv(export / "reports.csv")
    write_csv(export / "reports.csv", [*rows[:-1], rows[-1] | {"text": "Amended."}])
    assert brought(known, job)[1] == {"echo reports": (0, 1)}


def test_where_the_catalog_before_is_gone_its_numbers_are_left(known: Job) -> None:
    before = known_exports.last(known)
    assert before is not None
    shutil.rmtree(known.store.folder("catalog", before.catalog))
    export, job = later(known, "june")
    without(export, {"PAT0003", "PAT0007", "PAT0011"}, "ecgs")
    with pytest.raises(ExportError, match=r"3 of 20 ECGs that the export before held"):
        known_exports.check(job, catalogued(job))


def test_another_inbox_another_key_and_a_first_export_are_compared_with_nothing(known: Job, tmp_path: Path) -> None:
    export = later(known, "june")[0]
    without(export, {"PAT0003", "PAT0007", "PAT0011"}, *LISTS)
    for job in (
        make_job(known.recipe, str(export), str(known.workspace.root), only=["catalog"]),
        job_of(export, known.workspace.root, "catalog.public_key=another"),
        job_of(export, tmp_path / "elsewhere"),
    ):
        assert known_exports.last(job) is None
        known_exports.check(job, catalogued(job))
    assert (known.workspace.private / "exports").stat().st_mode & 0o077 == 0
