"""Hearts for the tests of the phantom."""

from dataclasses import replace

import numpy as np

from echoingecg.simulator.population.patient import Heart, sample_heart


def heart_with(lvef: float, seed: int = 0) -> Heart:
    return replace(sample_heart(np.random.default_rng(seed)), lvef=lvef, heart_rate=60.0, rhythm="sinus rhythm",
                   conduction="normal", image_quality=0.8)  # fmt: skip
