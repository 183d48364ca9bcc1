"""The page says what the results say."""

import re
from pathlib import Path

import pytest

from experiments.arms import ARMS, STUDIED
from experiments.findings import MET, MISSED, NOT_RUN, claims
from experiments.hospital import endpoint_of
from experiments.order import Order
from experiments.page import render, write_page
from experiments.results import Results
from helpers.cases.synthetic_results import results_of

ORDER = Order(Path("nowhere"), 3, 300)


def verdicts(results: Results, group: str) -> list[str]:
    return [one.verdict for one in claims(results) if one.group == group]


def test_a_student_that_knows_is_met_and_one_that_does_not_is_missed() -> None:
    knows = results_of(dict.fromkeys(STUDIED, 4.0))
    assert verdicts(knows, "A")[0] == MET
    assert verdicts(knows, "D") == [MET] * 10
    blind = results_of({"text": 4.0, "echo": 4.0, "both_shuffled_1": 4.0})
    assert verdicts(blind, "A")[0] == MISSED
    assert verdicts(blind, "C") == [MISSED] * 8
    assert MET not in verdicts(blind, "D")


def test_doubt_that_knows_the_errors_is_met_and_doubt_that_does_not_is_missed() -> None:
    assert verdicts(results_of({"both": 1.5}, seeds=10), "E") == [MET] * 9
    assert MET not in verdicts(results_of({}, seeds=10), "E")


def test_controls_are_met_at_chance_and_missed_above() -> None:
    assert verdicts(results_of({}, seeds=8), "B") == [MET, MET]
    assert verdicts(results_of({f"both_shuffled_{one}": 4.0 for one in (1,)}), "B")[0] == MISSED


def test_the_page_renders_every_arm_and_verdict() -> None:
    page = render(ORDER, results_of({"both": 4.0}))
    assert all(arm.says in page for arm in ARMS)
    assert f"**{MET}**" in page
    assert f"**{MISSED}**" in render(ORDER, results_of({}))
    assert "None" not in page
    assert not re.search(r"\bnan\b", page)


def test_the_page_renders_from_a_run_that_was_stopped() -> None:
    whole = results_of({"both": 4.0})
    part = Results({seed: {name: of[name] for name in ("both", "ceiling")} for seed, of in whole.raw.items()})
    assert NOT_RUN in verdicts(part, "C")
    assert NOT_RUN in render(ORDER, part)


@pytest.mark.parametrize("seeds", [1, 3])
def test_page_and_figures_are_written_and_the_same_again(seeds: int, tmp_path: Path) -> None:
    results = results_of({"both": 4.0}, seeds)
    written = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_page(ORDER, results, tmp_path / name / "science.md")
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        written.append([(path.relative_to(tmp_path / name), path.read_bytes()) for path in files])
    assert written[0] == written[1]
    page = (tmp_path / "first" / "science.md").read_text(encoding="utf-8")
    for image in (tmp_path / "first" / "images").iterdir():
        assert f"images/{image.name}" in page


def test_the_question_is_that_of_the_list(tmp_path: Path) -> None:
    endpoint = endpoint_of(Order(tmp_path, 1, 40), 101)
    assert (endpoint.measurement, endpoint.comparison, endpoint.threshold) == ("lvef", "<", 40)
    assert f"**{endpoint.name}**" in render(ORDER, results_of({}))
