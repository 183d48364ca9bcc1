"""One small export, simulated once. Read only."""

from pathlib import Path

import numpy as np
import pytest

from echoingecg.recipe.execution import SimulatorSettings
from echoingecg.simulator.export import simulate
from echoingecg.simulator.population.patient import Heart, sample_heart


@pytest.fixture(scope="session")
def small() -> SimulatorSettings:
    return SimulatorSettings(patients=8, frame_rate=8, frame_height=120, frame_width=160)


@pytest.fixture(scope="session")
def hospital(small: SimulatorSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "export"
    simulate(small, folder)
    return folder


@pytest.fixture(scope="session")
def hearts() -> list[Heart]:
    return [sample_heart(np.random.default_rng((7, index))) for index in range(5000)]
