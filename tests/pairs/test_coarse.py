"""Times are published in steps: nobody's pair, label or stratum changes by that."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts import catalog, ecg, pairs, teacher
from echoingecg.common import StoreError
from echoingecg.evaluation.data.inputs import EvaluationPairs
from echoingecg.evaluation.metrics.selective import gap_levels
from echoingecg.pairs.match import build, coarse_gaps
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from tasks.catalog import hours_folder, read_exact

TIMED = (catalog.ECGS, catalog.ECHOES, catalog.MEASUREMENTS)
GAPS = st.lists(st.integers(-700_000, 700_000), min_size=1, max_size=30).map(lambda s: np.array(s) / 3600)


@given(GAPS, st.sampled_from([1, 6, 24]))
def test_a_gap_keeps_its_stratum_its_side_and_its_order(gaps: np.ndarray, step: int) -> None:
    coarse = coarse_gaps(pd.Series(gaps), step).to_numpy()
    assert (gap_levels(coarse) == gap_levels(gaps)).all()
    assert ((coarse < 0) == (gaps < 0)).all()
    assert (np.abs(coarse - gaps) <= step / 2).all()
    for side in (gaps[gaps < 0], gaps[gaps >= 0]):
        ordered = coarse_gaps(pd.Series(np.sort(side)), step).to_numpy()
        assert (np.diff(ordered) >= 0).all()


def test_what_is_published_is_coarse_and_what_is_paired_is_as_by_exact_times(copied: Run) -> None:
    job, listed = copied.job, copied.artefacts["catalog"]
    published = {
        table.name: table.read(listed.folder) for table in (catalog.ECGS, catalog.ECHOES, catalog.MEASUREMENTS)
    }
    for name, table in published.items():
        assert set(np.mod(table["hours"].to_numpy(), 24)) == {0.0}, name
    exact = {
        table.name: read_exact(job, listed, table) for table in (catalog.ECGS, catalog.ECHOES, catalog.MEASUREMENTS)
    }
    assert any(np.mod(table["hours"].to_numpy(), 24).any() for table in exact.values())
    for name, table in exact.items():
        assert (np.floor(table["hours"].to_numpy() / 24) * 24 == published[name]["hours"].to_numpy()).all()
    folder = copied.artefacts["pairs"].folder
    whole = build(
        *(exact[name] for name in ("ecgs", "echoes")),
        catalog.REPORTS.read(listed.folder),
        exact["measurements"],
        ecg.RECORDS.read(copied.artefacts["ecg"].folder),
        teacher.STUDIES.read(copied.artefacts["teacher"].folder),
        job.recipe.pairs,
    )
    for table in pairs.TABLES:
        ours, theirs = table.read(folder), whole[table.name]
        columns = [name for name in ours.column_names if name != "gap_hours"]
        assert ours.select(columns).equals(theirs.select(columns)), table.name
    gaps = pairs.ECG_ECHO.read(folder)["gap_hours"].to_numpy()
    assert set(np.mod(gaps, 24)) == {12.0}


def test_of_two_studies_of_a_day_the_nearer_one_is_taken() -> None:
    """By its place in the table: the coarse gaps are equal, and the farther study's name comes first."""
    both = SimpleNamespace(
        gap_hours=np.array([12.0, 12.0, -36.0]), record=np.array([0, 0, 0]), study=np.array([1, 0, 2])
    )
    assert EvaluationPairs.nearest(both, np.ones(3, bool)).tolist() == [0]  # type: ignore[arg-type]


def test_exact_times_that_are_not_here_come_from_the_export_again(copied: Run) -> None:
    job, listed = copied.job, copied.artefacts["catalog"]
    before = read_exact(job, listed, catalog.ECGS)
    folder = hours_folder(job.workspace, listed.version)
    for path in folder.iterdir():
        path.unlink()
    assert read_exact(job, listed, catalog.ECGS).equals(before)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    for path in folder.iterdir():
        path.unlink()
    other = make_job(find_recipe("smoke", ["catalog.interval_hours=6"]), str(job.export), str(job.workspace.root))
    with pytest.raises(StoreError, match=r"exact times are not in .*: run with --from catalog"):
        read_exact(other, listed, catalog.ECGS)


def test_exact_times_are_published_where_the_recipe_asks(tmp_path: Path, export: Path) -> None:
    job = make_job(find_recipe("smoke", ["catalog.interval_hours=0"]), str(export), str(tmp_path / "workspace"))
    listed = run_stages(job, "catalog").artefacts["catalog"]
    assert np.mod(catalog.ECGS.read(listed.folder)["hours"].to_numpy(), 24).any()
    assert not hours_folder(job.workspace, listed.version).exists()
