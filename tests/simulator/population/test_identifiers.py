"""The hospital's numbers: none twice, and an order for more than there are is refused."""

from pathlib import Path

import pytest

from echoingecg.common import ExportError
from echoingecg.recipe.execution import SimulatorSettings
from echoingecg.simulator.export import simulate
from echoingecg.simulator.population.tables import MAX_PATIENTS, ecg_id, echo_id, subject_id


def test_more_patients_than_identifiers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="identifiers"):
        simulate(SimulatorSettings(patients=MAX_PATIENTS + 1), tmp_path / "huge")


def test_identifiers_never_collide() -> None:
    patients = range(0, MAX_PATIENTS, 37)
    assert len({subject_id(one) for one in patients}) == len(patients)
    assert len({echo_id(one) for one in patients}) == len(patients)
    ecgs = [ecg_id(one, number) for one in range(20_000) for number in range(4)]
    assert len(set(ecgs)) == len(ecgs)
    for first in (subject_id, echo_id):
        assert {len(str(first(one))) for one in patients} == {8}
