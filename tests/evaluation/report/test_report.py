"""The report as a product: self-contained, safe, honest."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from data_contracts.catalog import SUBGROUPS
from data_contracts.evaluation import MODEL_CARD, PREDICTIONS
from data_contracts.evaluation_details import TRANSFER
from data_contracts.student import HISTORY
from echoingecg.common.figure_style import drawable, new_figure, png, set_title, styled
from echoingecg.evaluation.data.names import ECG_MEASUREMENTS
from echoingecg.evaluation.evaluate import EvaluationInputs, evaluate
from echoingecg.evaluation.report.comparison_tables import verdict
from echoingecg.evaluation.report.results import EvaluationResults
from echoingecg.evaluation.report.wording import probability_text
from echoingecg.recipe import EvaluationSettings
from helpers.cases.evaluation_case import NO_FEW_SHOT, lvef_below, make_inputs


class Page(HTMLParser):
    """Tags, attributes, visible text, and a check that tags close."""

    VOID = frozenset({"meta", "img", "br", "!doctype"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def page_of(folder: Path, inputs: EvaluationInputs, *endpoints: Any) -> Page:
    evaluate(
        inputs, EvaluationSettings(endpoints=endpoints, bootstrap_draws=20, few_shot=NO_FEW_SHOT, stress_ecgs=0), folder
    )
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_report_needs_nothing_beside_it(evaluated: Path) -> None:
    source = (evaluated / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    assert "://" not in source
    assert "@import" not in source
    assert "url(" not in source
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    for _, name, value in page.attributes:
        assert not name.startswith("on")
        if name == "src":
            assert value.startswith("data:image/png;base64,")
        if name == "href":
            assert value.startswith("#")


def test_the_figures_in_the_report_are_the_files(evaluated: Path) -> None:
    page = Page((evaluated / "report.html").read_text(encoding="utf-8"))
    shown = {base64.b64decode(value.partition(",")[2]) for _, name, value in page.attributes if name == "src"}
    files = {path.read_bytes() for path in (evaluated / "figures").iterdir()}
    assert shown == files
    for data in files:
        with Image.open(io.BytesIO(data)) as image:
            assert "Software" not in image.info
            assert image.size[0] > 700
            colours = image.convert("RGB").getcolors(1 << 20)
            assert colours is None or len(colours) > 10
    described = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert len(described) == len(set(described)) == len(files)


def test_the_reader_is_told_what_counts(evaluated: Path) -> None:
    words = Page((evaluated / "report.html").read_text(encoding="utf-8")).words
    for expected in (
        "simulated: not for patients",
        "100 ECGs of 50 patients",
        "lvef < 40 %",
        "ESC heart failure guideline 2021",
        "LV EJECTION FRACTION IS SEVERELY REDUCED.",
        "the amplitude unit is not stated",
        "at most 168 h apart",
        "2222222222222222",
        "evaluation: seed: 43",
        "200 bootstrap draws",
        "not a medical device",
    ):
        assert expected in words, expected


def test_the_verdict_is_the_paired_difference_to_the_baseline(
    evaluated: Path, inputs: EvaluationInputs, settings: EvaluationSettings
) -> None:
    """The difference by scikit-learn; then with a baseline that knows the labels, and with one that knows nothing."""
    results = EvaluationResults.read(evaluated, settings, inputs.provenance)
    table = results.tables[PREDICTIONS.name].to_pandas()
    page, name = Page((evaluated / "report.html").read_text(encoding="utf-8")), settings.endpoints[1].name
    test = table[(table["split"] == "test") & (table["endpoint"] == name)]
    aurocs = {
        protocol: roc_auc_score(rows["label"], rows["score"])
        for protocol, rows in test.groupby("protocol")
        if protocol in (settings.answer_by, ECG_MEASUREMENTS)
    }
    text = f"{aurocs[settings.answer_by] - aurocs[ECG_MEASUREMENTS]:.2f}".replace("-", "−")
    said = verdict(results, name, settings.answer_by)
    assert f"AUROC difference {text} (" in said
    assert said in page.words
    is_baseline = table["protocol"] == ECG_MEASUREMENTS
    for scores, begins in (
        (table["label"].astype(float), "Worse than ECG measurements"),
        (pd.Series(0.5, table.index), "Better than ECG measurements"),
        (table["score"], said[:8]),
    ):
        changed = table.assign(score=table["score"].where(~is_baseline, scores))
        planted = pa.Table.from_pandas(changed, PREDICTIONS.schema, preserve_index=False)
        tables = {**results.tables, PREDICTIONS.name: planted}
        assert verdict(replace(results, tables=tables), name, settings.answer_by).startswith(begins)
    alone = results.tables[PREDICTIONS.name].filter(pa.array(~is_baseline))
    missing = replace(results, tables={**results.tables, PREDICTIONS.name: alone})
    assert verdict(missing, name, settings.answer_by).startswith("Not compared")


def test_no_name_of_the_code_stands_in_the_text(evaluated: Path) -> None:
    """A rename once wrote `table_rows.AURC` where the reader expects AURC."""
    for name in ("report.html", "model_card.md"):
        text = re.sub(r"base64,[^\"]+", "", (evaluated / name).read_text(encoding="utf-8"))
        assert re.findall(r"\b[a-z_]+\.[A-Z][A-Z_]+\b", text) == [], name


@pytest.mark.parametrize("teacher", ["demo", "hf-hub:mkaichristensen/echo-clip"])
@pytest.mark.parametrize("trained_on", ["simulated", "public", "hospital", "simulated and public", "not stated"])
@pytest.mark.parametrize("judged_on", ["simulated", "hospital"])
def test_the_banner_follows_the_data_and_no_name(
    teacher: str, trained_on: str, judged_on: str, inputs: EvaluationInputs, tmp_path: Path
) -> None:
    data = {"trained_on": trained_on, "teacher_trained_on": "simulated", "judged_on": judged_on}
    page = page_of(tmp_path, replace(inputs, provenance=inputs.provenance | {"teacher": teacher, "data": data}))
    assert ("not for patients" in page.words) == ("simulated" in trained_on + judged_on)
    words = {"hospital": "patients of a hospital", "simulated": "simulated patients"}
    assert f"They are {words[judged_on]}; the student learned from ECGs of" in page.words
    assert "by a teacher of echoes of simulated patients" in page.words
    assert teacher in page.words


def test_names_from_outside_stay_text(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>\"><img src=x onerror=y> $\\frac{$ 心 40 %"
    endpoint = lvef_below(50, name=evil, source=evil, positive_prompts=(evil,), measurement="lvef")
    inputs = make_inputs(60)
    rows = [row | {"site": evil if at % 2 else "b"} for at, row in enumerate(inputs.subgroups.to_pylist())]
    provenance = inputs.provenance | {"teacher": evil, "versions": {evil: evil, "student": evil}}
    provenance |= {"recipe": {evil: {evil: evil}, "student": {"precision": evil}}, "ecg_findings": {evil: 1}}
    outside = replace(inputs, provenance=provenance, subgroups=SUBGROUPS.build(rows))
    page = page_of(tmp_path, outside, endpoint)
    assert f"site: {evil}" in page.words
    assert "script" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert evil in page.words
    card = (tmp_path / MODEL_CARD).read_text(encoding="utf-8")
    assert "<" not in card
    assert "&lt;script&gt;alert('x')&lt;/script&gt;" in card
    names = [path.name for path in (tmp_path / "figures").iterdir()]
    assert all(name.replace("-", "").replace(".png", "").isalnum() for name in names)


def test_what_could_not_be_evaluated_is_said(inputs: EvaluationInputs, tmp_path: Path) -> None:
    words = page_of(
        tmp_path,
        inputs,
        lvef_below(15, name="absent", measurement="septum"),
        lvef_below(0.4, name="other unit", unit="1", valid_range=(0.0, 1.0)),
        lvef_below(5, name="no positive"),
    ).words
    assert "no ECG of the test split has a label. Of 500 ECGs 500 have no measurement 'septum'" in words
    assert "500 have it in a unit that is not converted to '1'" in words
    assert "no positive among the 86 labelled test ECGs" in words
    assert "Linear probe · ECG measurements, no network left out: all 300 labelled training ECGs have label 0" in words
    assert "0.5 by default: no positive among 100 validation ECGs" in words
    assert "Linear probe · ECG measurements, no network left out: there is no labelled training ECG." in words


def test_few_positives_are_marked(inputs: EvaluationInputs, tmp_path: Path) -> None:
    marked = "few cases"
    rare = page_of(tmp_path, inputs, lvef_below(33))
    assert marked in [text.strip() for text in rare.text]
    common = page_of(tmp_path, inputs, lvef_below(52))
    assert marked not in [text.strip() for text in common.text]


def test_a_history_of_nulls_and_no_filters_still_draw(inputs: EvaluationInputs, tmp_path: Path) -> None:
    start = HISTORY.build(
        [dict.fromkeys(HISTORY.schema.names) | {"epoch": 0, "steps": 0, "learning_rate": 0.0, "best": False}]
    )
    filters = inputs.provenance["filters"].slice(0, 0)
    gone = inputs.provenance | {"history": start, "filters": filters, "stages": {}}
    page_of(tmp_path, replace(inputs, provenance=gone))
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert drawn >= {"retrieval.png", "training.png", "flow.png"}
    assert "flow-pairs.png" not in drawn


def test_the_users_matplotlib_settings_do_not_show(tmp_path: Path) -> None:
    def draw() -> bytes:
        with styled():
            figure = new_figure(2.0)
            axes = figure.add_subplot()
            axes.plot([0, 1], [0, 1])
            set_title(axes, "LVEF $ < 40 %")
            return png(figure)

    plain = draw()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "lines.linewidth": 9}):
        assert draw() == plain
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.0, "0"), (1.0, "1"), (0.5, "0.5"), (0.0012345, "0.0012"), (0.99551, "0.9955"), (1 - 2e-9, "0.999999998")],
)
def test_probabilities_in_words(probability: float, text: str) -> None:
    assert probability_text(probability) == text


def test_letters_that_the_font_lacks() -> None:
    assert drawable("LVEF ≤ 40 %\n心") == "LVEF ≤ 40 % ?"


def test_predictive_values_and_calibration_are_shown(inputs: EvaluationInputs, tmp_path: Path) -> None:
    page = page_of(tmp_path, inputs, lvef_below(40))
    assert "Positive predictive value at a share of 10 %" in page.words
    assert "Calibration slope (perfect: 1)" in page.words
    rows = [row for row in TRANSFER.read(tmp_path).to_pylist() if row["protocol"] == "zero_shot"]
    (share,) = [row["value"] for row in rows if row["metric"] == "prevalence"]
    assert f"Share with label 1 {share:.2f}" in page.words
