"""What all stages share: how many refusals a stage may have."""

from pathlib import Path

import pytest

from data_contracts.quarantine import QUARANTINE
from echoingecg.common import UserError
from flows.request import find_recipe
from tasks.base.workspace import Workspace
from tasks.stage import check_refusals
from tasks.store import Job


@pytest.mark.parametrize(
    ("refused", "tried", "limit", "fails"),
    [
        (0, 0, 0.0, False),
        (0, 4, 0.0, False),
        (1, 4, 0.25, False),  # exactly the share that the recipe allows
        (2, 7, 0.25, True),
        (1, 3, 0.33, True),  # just above
        (4, 4, 1.0, False),
        (1, 4, 0.0, True),
    ],
)
def test_a_stage_fails_above_the_share_of_refusals_and_not_at_it(
    tmp_path: Path, refused: int, tried: int, limit: float, fails: bool
) -> None:
    job = Job(find_recipe("smoke", []), Workspace(tmp_path), tmp_path / "export")
    rows = [{"source_id": f"{number:016x}", "reason": "truncated", "detail": "short"} for number in range(refused)]
    quarantine = QUARANTINE.build(rows)
    kept = tmp_path / "scratch" / "ecg" / QUARANTINE.filename
    if not fails:
        check_refusals(job, "ecg", quarantine, tried, limit)
        assert not kept.exists()
        return
    says = rf"ecg: {refused} of {tried} refused, over the recipe's ecg\.max_refused_share={limit}: {refused} truncated"
    with pytest.raises(UserError, match=says):
        check_refusals(job, "ecg", quarantine, tried, limit)
    assert QUARANTINE.read(kept.parent).num_rows == refused
