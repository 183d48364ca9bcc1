"""Leave one site out, against evaluations of exports from which the site was cut by hand."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from data_contracts.catalog import SUBGROUPS
from data_contracts.evaluation import METRICS, REPORT, SITES
from data_contracts.evaluation_details import TRANSFER
from echoingecg.evaluation.evaluate import EvaluationInputs, evaluate
from echoingecg.recipe import EvaluationSettings
from helpers.cases.evaluation_case import NO_FEW_SHOT, lvef_below, make_inputs

SETTINGS = EvaluationSettings(
    endpoints=(lvef_below(50),),
    few_shot=NO_FEW_SHOT,
    bootstrap_draws=20,
    stress_ecgs=0,
    calibration="platt",
    leave_one_site_out=True,
)
PATIENTS = 220
SITES_OF = [("north", "south", "")[0 if at % 13 < 6 else 1 if at % 13 < 12 else 2] for at in range(PATIENTS)]


def site_of(patient: str) -> str:
    return SITES_OF[int(patient.removeprefix("patient-"))]


@pytest.fixture(scope="module")
def inputs() -> EvaluationInputs:
    plain = make_inputs(PATIENTS)
    nothing = dict.fromkeys(SUBGROUPS.schema.names)
    stated = [
        nothing | {"record_id": name, "site": SITES_OF[at // 2] or None} for at, name in enumerate(plain.record_ids)
    ]
    return replace(plain, subgroups=SUBGROUPS.build(stated))


@pytest.fixture(scope="module")
def judged(inputs: EvaluationInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sites")
    evaluate(inputs, SETTINGS, folder)
    return folder


def cut(table: pa.Table, site: str) -> pa.Table:
    """Rows of the site's test patients, and of the other site's patients for training and validation."""
    kept = [
        (row["split"] == "test") == (site_of(row["patient_id"]) == site) and bool(site_of(row["patient_id"]))
        for row in table.select(["patient_id", "split"]).to_pylist()
    ]
    return table.filter(pa.array(kept))


@pytest.mark.parametrize("site", ["north", "south"])
def test_a_site_left_out_is_an_export_cut_by_hand(
    site: str, inputs: EvaluationInputs, judged: Path, tmp_path: Path
) -> None:
    parts = {name: cut(getattr(inputs, name), site) for name in ("patients", "ecg_echo", "labels")}
    evaluate(replace(inputs, **parts), SETTINGS.model_copy(update={"leave_one_site_out": False}), tmp_path)
    rows = [row for row in SITES.read(judged).to_pylist() if row["site"] == site]
    assert {row["protocol"] for row in rows} == {"zero_shot", "zero_shot_teacher", "expected_echo", "linear_probe"}
    wanted = {
        (row["protocol"], row["metric"]): row for row in METRICS.read(tmp_path).to_pylist() if row["group"] == "all"
    } | {(row["protocol"], row["metric"]): row for row in TRANSFER.read(tmp_path).to_pylist() if row["at"] is None}
    values = ("value", "low", "high", "patients", "records", "positives")
    for row in rows:
        other = wanted[row["protocol"], row["metric"]]
        assert [row[name] for name in values] == pytest.approx([other[name] for name in values], nan_ok=True)
    assert {"auroc", "sensitivity", "specificity", "calibration_slope"} <= {row["metric"] for row in rows}


def test_the_report_shows_sites_only_where_they_were_asked_for(
    judged: Path, inputs: EvaluationInputs, tmp_path: Path
) -> None:
    assert "Each site by the rules of the others" in (judged / REPORT).read_text(encoding="utf-8")
    evaluate(inputs, SETTINGS.model_copy(update={"leave_one_site_out": False}), tmp_path)
    assert SITES.read(tmp_path).num_rows == 0
    assert "Each site by the rules of the others" not in (tmp_path / REPORT).read_text(encoding="utf-8")
