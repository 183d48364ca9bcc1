"""What a retrain says an export brought."""

import dataclasses

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data_contracts.conventions import STAGES
from data_contracts.pairs import PATIENTS
from echoingecg.common import ContractError
from helpers.cases.stage_runs import Run
from tasks.known_exports import Change
from tasks.operations.retrain import export_growth
from tasks.store import Artefact


def test_an_export_that_the_champion_has_seen_whole_brings_nothing(finished: Run) -> None:
    store, made = finished.job.store, finished.artefacts
    changed = [Change("ECGs", 9, 2, 0)]
    first, again = (
        export_growth(store, made, STAGES, [], None),
        export_growth(store, made, (), changed, made["evaluation"]),
    )
    assert [row["what"] for row in first] == ["ECGs", "echo clips", "patients in pairs"]
    assert all(row["new"] == row["in the export"] > 0 for row in first)
    assert all((row["new"], row["known"]) == (0, row["in the export"]) for row in again)
    assert [row["gone"] for row in again] == [2, 0, 0]
    cached = export_growth(store, made, (), [], None)
    assert [row["new"] for row in cached] == [0, 0, first[2]["new"]], "what an earlier run read is known to this one"


def with_patients(pairs: Artefact, table: pa.Table, folder) -> Artefact:
    """The pairs of a retrain in which PATIENTS is another table."""
    folder.mkdir()
    PATIENTS.write(table, folder)
    return dataclasses.replace(pairs, folder=folder)


def test_a_patient_on_another_side_of_the_split_is_an_error_and_a_new_one_is_not(finished: Run, tmp_path) -> None:
    store, made = finished.job.store, finished.artefacts
    table = PATIENTS.read(made["pairs"].folder)
    sides = table["split"].to_pylist()
    other = "validation" if sides[0] == "train" else "train"
    column = table.schema.get_field_index("split")
    moved = table.set_column(column, table.schema.field("split"), pa.array([other, *sides[1:]]).cast(pa.string()))
    retrained = {**made, "pairs": with_patients(made["pairs"], moved, tmp_path / "moved")}
    with pytest.raises(ContractError, match=rf"1 of {len(sides)} patients changed split: use the champion's"):
        export_growth(store, retrained, STAGES, [], made["evaluation"])
    assert export_growth(store, retrained, STAGES, [], None)[-1]["new"] == len(sides), (
        "without a champion there is no side before"
    )

    known = table.filter(pc.not_equal(table["patient_id"], table["patient_id"][0]))
    earlier = {**made, "pairs": with_patients(made["pairs"], known, tmp_path / "fewer")}
    row = export_growth(store, earlier, STAGES, [], made["evaluation"])[-1]
    assert (row["in the export"], row["new"], row["known"], row["gone"]) == (len(sides) - 1, 0, len(sides) - 1, 1)
