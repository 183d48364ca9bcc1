"""What stands beside the figures: the model card, the strips, the data flow; and that tables alone make all of it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from data_contracts.conventions import ContractError
from data_contracts.evaluation import FIGURES, METRICS, MODEL_CARD, PREDICTIONS, REPORT, TABLES
from data_contracts.evaluation_details import EMBEDDING_MAP, UNCERTAINTY
from echoingecg.ecg.plot import draw
from echoingecg.evaluation.evaluate import EvaluationInputs, evaluate
from echoingecg.evaluation.report.example_ecgs import draw_example_ecgs, most_and_least_certain
from echoingecg.evaluation.report.render import markdown_text, write_report
from echoingecg.evaluation.report.results import EvaluationResults
from echoingecg.evaluation.report.run_figures import attrition_series
from echoingecg.recipe import EvaluationSettings
from helpers.cases.evaluation_case import NO_FEW_SHOT, lvef_below, make_inputs

# Mitchell et al., FAT* 2019, figure 1
SECTIONS = [
    "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data", "Quantitative analyses",
    "Ethical considerations", "Caveats and recommendations",
]  # fmt: skip


def test_tables_alone_make_the_page(
    inputs: EvaluationInputs, settings: EvaluationSettings, evaluated: Path, tmp_path: Path
) -> None:
    tables, out = tmp_path / "tables", tmp_path / "out"
    tables.mkdir()
    out.mkdir()
    for table in TABLES:
        (tables / table.filename).write_bytes((evaluated / table.filename).read_bytes())
    figures = write_report(tables, settings, inputs.provenance, out)
    names = [REPORT, MODEL_CARD, *(f"{FIGURES}/{path.name}" for path in (evaluated / FIGURES).iterdir())]
    assert figures == len(names) - 2
    for name in names:
        assert (out / name).read_bytes() == (evaluated / name).read_bytes(), name
    (tables / UNCERTAINTY.filename).unlink()
    with pytest.raises(ContractError, match="table 'uncertainty' cannot be read"):
        write_report(tables, settings, inputs.provenance, out)


def test_the_card_has_its_sections_and_its_numbers(evaluated: Path) -> None:
    card = (evaluated / MODEL_CARD).read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", card, re.MULTILINE) == SECTIONS
    metrics = METRICS.read(evaluated).to_pandas().set_index(["endpoint", "protocol", "group", "metric"])
    row = metrics.loc[("LVEF below 50 %", "zero_shot", "all", "auroc")]
    assert f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f}) |" in card
    for expected in (
        "**Not for clinical use.**",
        "| student.epochs | epochs at most | 30 |",
        "| train | 300 | 150 |",
        "- catalog: 615 ecgs, 400 echoes",
        "| student | 2222222222222222 | not in this workspace any more | |",
        "- refused by ecg: 12 too\\_short, 3 missing\\_units",
        "| sex: F |",
        "AURC, ranked by distance in predictive deviations",
        "AURC, ranked by the PCME++ variance",
        "label 1: LVEF below 40 %",
    ):
        assert expected in card, expected
    tables = [block for block in card.split("\n\n") if block.startswith("|")]
    assert len(tables) > 8
    for table in tables:
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(bars) == 1, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a <b> & c", "a &lt;b&gt; &amp; c"),
        ("*x* | `y` _z_", "\\*x\\* \\| \\`y\\` \\_z\\_"),
        ("[a](javascript:b)\n# c", "\\[a\\](javascript:b) \\# c"),
        (0.1, "0.1"),
    ],
)
def test_words_from_outside_are_no_markup(text: object, shown: str) -> None:
    assert markdown_text(text) == shown


def test_strips_are_the_ends_of_the_ranking(
    inputs: EvaluationInputs, settings: EvaluationSettings, evaluated: Path
) -> None:
    found = draw_example_ecgs(EvaluationResults.read(evaluated, settings, inputs.provenance))
    table = UNCERTAINTY.read(evaluated).to_pandas()
    ranked = table[table["split"] == "test"].sort_values("mean_log_var")["record_id"].tolist()
    assert [one.record_id for one in found] == [*ranked[:2], *ranked[-2:]]
    assert [one.title for one in found] == [
        "Most certain", "Second most certain", "Second least certain", "Least certain",
    ]  # fmt: skip
    page = inputs.provenance["pages"]([ranked[0]])[0]
    says = replace(page, heading=f"Most certain: {ranked[0]}", note=f"{page.heading}; quality: {page.note}")
    assert found[0].png == draw([says], 96)
    assert [(evaluated / FIGURES / f"strips-{at}.png").read_bytes() for at in (1, 2, 3, 4)] == [x.png for x in found]
    predictions = PREDICTIONS.read(evaluated).to_pandas().set_index(["record_id", "endpoint", "protocol"])
    for strip in found:
        for answer in strip.answers[:-1]:
            row = predictions.loc[(strip.record_id, answer.question, "zero_shot")]
            assert answer.echo == ("yes" if row["label"] else "no")
            assert answer.student[0].startswith(f"Zero-shot: {'yes' if row['decision'] else 'no'}, score ")
            assert answer.student[0].endswith("wrong") == (row["label"] != row["decision"])
    assert any(strip.answers[-1].question == "LVEF" for strip in found)


@pytest.mark.parametrize(("ranked", "shown"), [("", ""), ("a", "a"), ("ab", "ab"), ("abc", "abc"), ("abcde", "abde")])
def test_no_ecg_is_shown_twice(ranked: str, shown: str) -> None:
    found = most_and_least_certain(list(ranked))
    assert "".join(one for _, one in found) == shown
    assert len({says for says, _ in found}) == len(shown)


def test_the_flow_goes_from_the_export_to_the_answers(
    inputs: EvaluationInputs, settings: EvaluationSettings, evaluated: Path
) -> None:
    found = {
        one.name: one.steps for one in attrition_series(EvaluationResults.read(evaluated, settings, inputs.provenance))
    }
    assert [(step.kept, step.refused) for step in found["ecgs"]] == [
        (615, None), (600, 15), (500, None), (100, None), (86, None), (86, None),
    ]  # fmt: skip
    assert [step.kept for step in found["echoes"]] == [400]
    assert list(found) == ["ecgs", "echoes", "ecg_echo", "labels"]


def test_the_map_holds_every_test_ecg_and_study_once(evaluated: Path, tmp_path: Path) -> None:
    table = EMBEDDING_MAP.read(evaluated).to_pandas()
    tested = UNCERTAINTY.read(evaluated).to_pandas().query("split == 'test'")["record_id"]
    assert sorted(table.query("modality == 'ecg'")["name"]) == sorted(tested)
    assert table.query("modality == 'echo'")["name"].is_unique
    assert table[["x", "y"]].mean().abs().max() < 1e-6  # centred on both together
    assert table["x"].var() >= table["y"].var() > 0
    evaluate(
        make_inputs(4), EvaluationSettings(endpoints=(lvef_below(50),), few_shot=NO_FEW_SHOT, stress_ecgs=0), tmp_path
    )
    assert EMBEDDING_MAP.read(tmp_path).num_rows == 0
