"""What every model makes of the paired ECGs: the student under test, other students, external ones, no network."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from echoingecg.ecg.beats import NAMES, measure_ecgs
from echoingecg.evaluation.data.embed import CHUNK, Signals, embed_ecgs
from echoingecg.evaluation.data.inputs import EvaluationInputs, EvaluationPairs
from echoingecg.evaluation.data.models import Space, all_spaces, student_space
from echoingecg.evaluation.external import external_features
from echoingecg.evaluation.gaussians import Gaussians
from echoingecg.evaluation.names import STUDENT, at_model
from echoingecg.evaluation.skipped import Skipped
from echoingecg.progress import Progress
from echoingecg.recipe import EvaluationSettings


@dataclass(frozen=True)
class Models:
    """Everything about the r paired ECGs that does not depend on an endpoint.

    Attributes:
        ecgs: by the student under test.
        spaces: of the student under test, by suffix.
        others: spaces of the compared students.
        features: mean embeddings (r, D) by model, the student under test first.
        measurements: (r, f) of ecg.measure.
    """

    ecgs: Gaussians
    spaces: dict[str, Space | Skipped]
    others: tuple[Space, ...]
    features: dict[str, np.ndarray]
    measurements: np.ndarray

    def prompted(self, protocol: str) -> Iterator[tuple[str, Space | Skipped]]:
        """A prompted protocol in each space, by its name in the tables."""
        for suffix, space in self.spaces.items():
            yield protocol + suffix, space
        for space in self.others:
            yield at_model(protocol, space.model), space


def read_models(
    inputs: EvaluationInputs, pairs: EvaluationPairs, settings: EvaluationSettings, progress: Progress
) -> Models:
    """Embeds and measures the paired ECGs.

    Args:
        inputs: of the stage.
        pairs: of the same inputs.
        settings: whether to centre.
        progress: told the ECGs done.

    Raises:
        ContractError: a student's output is not finite or of another width than it should be.
        UserError: an external model lacks a paired ECG.
    """
    ecgs = embed_ecgs(inputs.student, inputs.signals, pairs.signal_row, inputs.dim, progress)
    own = student_space(inputs.student, ecgs)
    centring = (pairs.split == "train", inputs.training_texts) if settings.centre else None
    others = tuple(
        student_space(one, embed_ecgs(one, inputs.signals, pairs.signal_row, one.dim, progress), name)
        for name, one in inputs.compared.items()
    )
    external = {}
    for name, table in inputs.external.items():
        external[name] = external_features(name, table, [inputs.content_hashes[row] for row in pairs.signal_row])
    return Models(
        ecgs=ecgs,
        spaces=all_spaces(own, inputs.teacher, centring),
        others=others,
        features={STUDENT: ecgs.mean} | {one.model: one.ecgs.mean for one in others} | external,
        measurements=_measured(inputs.signals, pairs.signal_row),
    )


def _measured(signals: Signals, rows: np.ndarray) -> np.ndarray:
    parts = [measure_ecgs(signals.read(rows[first : first + CHUNK])) for first in range(0, len(rows), CHUNK)]
    return np.concatenate([np.empty((0, len(NAMES))), *parts])
