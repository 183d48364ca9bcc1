"""The patient split: shares, stability, and a fixed example that must never change."""

import hashlib
import hmac
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.conventions import SPLITS
from echoingecg.pairs.split import assign_split
from echoingecg.recipe.stages import SplitShares

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
