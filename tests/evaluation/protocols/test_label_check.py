"""Endpoints without a single label: found by number, unit, words, sex; the line that names them."""

import pyarrow as pa
import pytest

from data_contracts.catalog import MEASUREMENTS
from echoingecg.evaluation.protocols.label_check import describe, unlabelled
from echoingecg.recipe import Endpoint, EvaluationSettings, RegressionEndpoint

PROMPTS = {"positive_prompts": ("yes",), "negative_prompts": ("no",)}
LVEF = {"name": "low", "measurement": "lvef", "unit": "%", "valid_range": (5, 90), "threshold": 40, **PROMPTS}
WALL = {"name": "thick", "measurement": ("ivs", "pw"), "unit": "mm", "valid_range": (3, 40), "threshold": 15, **PROMPTS}
FLAG = {"name": "flag", "measurement": "mr", "positive_words": ("Severe",), "negative_words": ("None",), **PROMPTS}


def rows(*values: tuple[str, float | str, str]) -> pa.Table:
    """Measurement, number or words, and unit, of one patient."""
    empty = dict.fromkeys(MEASUREMENTS.schema.names) | {"patient_id": "p-1", "hours": 0.0}
    return MEASUREMENTS.build(
        [
            empty | {"measurement": name, "unit": unit, "words" if isinstance(value, str) else "value": value}
            for name, value, unit in values
        ]
    )


@pytest.mark.parametrize(
    ("endpoint", "row", "outcomes"),
    [
        (LVEF, ("lvef", 55.0, "%"), None),
        (LVEF, ("LVEF", 55.0, "%"), {}),  # names are as the export gives them
        (LVEF, ("lvef", 55.0, "mm"), {"unit_mismatch": 1}),
        (LVEF, ("lvef", 0.55, "%"), {"impossible": 1}),
        (LVEF, ("lvef", "normal", "%"), {"other_words": 1}),
        (WALL, ("pw", 1.1, "cm"), None),  # the second name, another unit of its kind
        (FLAG, ("mr", "severe", ""), None),
        (FLAG, ("mr", "moderate", ""), {"other_words": 1}),
        (FLAG, ("mr", 0.0, ""), None),
        (LVEF | {"threshold": {"F": 50, "M": 55}}, ("lvef", 55.0, "%"), {"sex_unknown": 1}),
    ],
)
def test_one_row_gives_a_label_or_its_outcome(endpoint: dict, row: tuple, outcomes: dict[str, int] | None) -> None:
    settings = EvaluationSettings(endpoints=(Endpoint(**endpoint),))
    faults = list(unlabelled(settings, rows(row, ("other", 1.0, "m")), "test", {}))
    assert [dict(fault.outcomes) for fault in faults] == ([] if outcomes is None else [outcomes])


def test_a_label_among_many_rows_is_enough() -> None:
    settings = EvaluationSettings(endpoints=(Endpoint(**LVEF),))
    table = rows(*[("lvef", 500.0, "%")] * 9, ("lvef", 50.0, "%"))
    assert list(unlabelled(settings, table, "test", None)) == []


def test_a_sex_that_is_known_gives_a_label() -> None:
    settings = EvaluationSettings(endpoints=(Endpoint(**LVEF | {"threshold": {"F": 50, "M": 55}}),))
    table = rows(("lvef", 55.0, "%"))
    assert list(unlabelled(settings, table, "test", {"p-1": "M"})) == []
    assert list(unlabelled(settings, table, "", None)) == []


def test_a_number_to_predict_needs_a_value() -> None:
    number = RegressionEndpoint(
        name="LVEF", measurement="lvef", unit="%", valid_range=(5, 90), prompts=("<#> %",), prompt_range=(5, 85)
    )
    settings = EvaluationSettings(regressions=(number,))
    assert list(unlabelled(settings, rows(("lvef", 50.0, "%")), "test", None)) == []
    assert len(list(unlabelled(settings, rows(("lvef", "normal", "%")), "test", None))) == 1
    assert list(unlabelled(EvaluationSettings(), rows(), "test", None)) == []


def test_the_line_names_endpoint_measurement_and_what_there_is() -> None:
    settings = EvaluationSettings(endpoints=(Endpoint(**LVEF), Endpoint(**WALL)))
    faults = list(unlabelled(settings, rows(("lvef", 50.0, "mm")), "training", None))
    measured = {(f"m{number:02}", "cm"): 100 - number for number in range(12)} | {("ef", "%"): 1000}
    line = describe(faults, measured)
    assert line.startswith(
        "endpoint 'low' (lvef in %) on the training side (1 unit_mismatch) has no label, nor have 1 more; "
        "the export has ef [%] 1000, m00 [cm] 100, "
    )
    assert line.count("[") == 10
    assert describe(faults[1:], {}).startswith("endpoint 'thick' (ivs or pw in mm) on the training side has no label;")
    assert describe(faults, {}).endswith("the export has no measurement")
