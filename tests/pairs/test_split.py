"""The patient split: shares, stability, and a fixed example that must never change; published splits by statements."""

import hashlib
import hmac
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.conventions import SPLITS
from data_contracts.pairs import check_no_leakage
from echoingecg.common import UserError
from echoingecg.pairs.split import assign_split
from echoingecg.recipe.stages import PairsSettings, SplitShares, StatedSplit
from helpers.cases.tables_for_pairs import Ecg, pairs_of

IDS = [f"patient-{i}" for i in range(20_000)]
WRITTEN_DOWN = "rrrerrrerrrrrrrarrrerrerrraarareerrrrrrr"


@pytest.mark.parametrize("shares", [SplitShares(), SplitShares(train=0.5, validation=0.2, test=0.3)])
def test_shares_are_near_the_recipe(shares: SplitShares) -> None:
    found = Counter(assign_split(one, "key", shares) for one in IDS)
    for side in SPLITS:
        assert found[side] / len(IDS) == pytest.approx(getattr(shares, side), abs=0.01)


def test_sides_are_those_written_down() -> None:
    """Made with Python's hmac and hashlib; a change here would move patients between the sides of old artefacts."""
    shares = SplitShares()
    sides = "".join(assign_split(f"p{i}", "echoingecg", shares)[1] for i in range(40))
    expected = ""
    for i in range(40):
        place = int(hmac.new(b"echoingecg", f"p{i}".encode(), hashlib.sha256).hexdigest()[:16], 16) / 2**64
        expected += "r" if place < 0.8 else "a" if place < 0.9 else "e"
    assert sides == expected
    assert sides == WRITTEN_DOWN


def test_another_key_gives_another_split() -> None:
    shares = SplitShares(train=0.5, validation=0.25, test=0.25)
    one, two = ([assign_split(patient, key, shares) for patient in IDS] for key in ("a", "b"))
    agreeing = sum(x == y for x, y in zip(one, two, strict=True)) / len(IDS)
    assert agreeing == pytest.approx(0.5**2 + 2 * 0.25**2, abs=0.02)


@given(st.text(max_size=20))
def test_a_side_without_share_stays_empty(patient: str) -> None:
    assert assign_split(patient, "k", SplitShares(train=1, validation=0, test=0)) == "train"
    assert assign_split(patient, "k", SplitShares(train=0, validation=1, test=0)) == "validation"
    assert assign_split(patient, "k", SplitShares(train=0, validation=0, test=1)) == "test"


FOLDS = PairsSettings(split_by=StatedSplit(measurement="fold", validation=(9,), test=("10",)))
PATIENTS = ("a", "b", "c", "d")
statement_rows = st.lists(
    st.tuples(st.sampled_from(PATIENTS), st.sampled_from([1, 2, 9, 10, "no_split"])), max_size=12
).map(lambda rows: [("a", 9), ("b", 10), *rows])


def stated(rows: list[tuple[str, float | str]], name: str = "fold") -> tuple[list[Ecg], list[dict]]:
    """An ECG for each row, with its statement; and one ECG without any of each patient."""
    ecgs = [(f"r{at:02d}", patient, float(at)) for at, (patient, _) in enumerate(rows)]
    ecgs += [(f"plain-{patient}", patient, 99.0) for patient in PATIENTS]
    statements = [
        {"patient_id": patient, "hours": float(at), "record_id": f"r{at:02d}", "measurement": name, "unit": ""}
        | {"words" if isinstance(value, str) else "value": value}
        for at, (patient, value) in enumerate(rows)
    ]
    return ecgs, statements


def sides(tables: dict) -> dict[str, str]:
    return {row["patient_id"]: row["split"] for row in tables["patients"].to_pylist()}


@settings(deadline=None, max_examples=50)
@given(statement_rows)
def test_statements_of_a_published_split_win(rows: list[tuple[str, float | str]]) -> None:
    """Against the rule in plain words: tested if any ECG is, else validated if any is, else trained on."""
    ecgs, statements = stated(rows)
    clips = [(f"study-{patient}", patient, 50.0) for patient in PATIENTS]
    tables = pairs_of(ecgs, clips, measurements=statements, settings=FOLDS)
    for patient in PATIENTS:
        values = [value for owner, value in rows if owner == patient]
        assert sides(tables)[patient] == ("test" if 10 in values else "validation" if 9 in values else "train")
    check_no_leakage(*(tables[name] for name in ("patients", "ecg_echo", "ecg_text", "labels")))
    counts = {row["step"]: row["kept"] for row in tables["filters"].to_pylist() if row["pair"] == "split"}
    named = {patient: {9: "v", 10: "t"}.get(value, "r") for patient, value in rows}
    several = [p for p in named if len({{9: "v", 10: "t"}.get(v, "r") for o, v in rows if o == p}) > 1]
    assert list(counts.values()) == [len(PATIENTS), len(named), len(named) - len(several)]


def test_words_and_numbers_name_sides_in_any_spelling() -> None:
    ecgs, statements = stated([("a", "Train"), ("b", " VAL"), ("c", "test")], "split")
    by = StatedSplit(measurement="split", validation=("val",), test=("Test",))
    found = sides(pairs_of(ecgs, [], measurements=statements, settings=PairsSettings(split_by=by)))
    assert found == {"a": "train", "b": "validation", "c": "test", "d": "train"}


def test_a_statement_about_an_exam_names_no_side_and_an_unusable_ecg_does() -> None:
    ecgs, statements = stated([("a", 9), ("b", 10), ("c", 10)])
    of_exam = {"patient_id": "d", "hours": 99.0, "measurement": "fold", "value": 10.0, "unit": ""}
    tables = pairs_of(ecgs, [], measurements=[*statements, of_exam], settings=FOLDS, unusable={"r02"})
    assert sides(tables) == {"a": "validation", "b": "test", "c": "test", "d": "train"}


def test_a_statement_about_an_echo_study_names_a_side() -> None:
    """EchoNet-Dynamic states its split for videos, whose patients have no ECG."""
    ecgs, statements = stated([("a", 9), ("b", 10)])
    of_study = {
        "patient_id": "d",
        "hours": 50.0,
        "study_id": "study-d",
        "measurement": "fold",
        "value": 10.0,
        "unit": "",
    }
    tables = pairs_of(ecgs, [("study-d", "d", 50.0)], measurements=[*statements, of_study], settings=FOLDS)
    assert sides(tables) == {"a": "validation", "b": "test", "c": "train", "d": "test"}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("a", 9), ("b", 8), ("c", 8)], "no ECG and no study states fold '10'; they state '8', '9'"),
        ([], "no ECG and no study states fold '10'; none states it at all"),
    ],
)
def test_a_side_that_nobody_is_on_is_one_line(rows: list[tuple[str, float | str]], says: str) -> None:
    ecgs, statements = stated(rows)
    with pytest.raises(UserError, match=says) as fault:
        pairs_of(ecgs, [], measurements=statements, settings=FOLDS)
    assert "\n" not in str(fault.value)


def test_without_a_published_split_nothing_is_counted_and_the_hash_decides() -> None:
    ecgs, statements = stated([("a", 9), ("b", 10)])
    tables = pairs_of(ecgs, [], measurements=statements)
    assert sides(tables) == {patient: assign_split(patient, "echoingecg", SplitShares()) for patient in PATIENTS}
    assert "split" not in tables["filters"]["pair"].to_pylist()
