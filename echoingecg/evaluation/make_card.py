"""The reading card of an evaluation: its lines and thresholds, and what validation says of uncertainty."""

import numpy as np

from data_contracts.reading_card import Reading, ReadingCard
from echoingecg.evaluation.inputs import EvaluationInputs
from echoingecg.evaluation.protocols import EndpointResult
from echoingecg.evaluation.reading_card import Judged, quantiles
from echoingecg.evaluation.refer import choose_refer_band
from echoingecg.evaluation.report import question


def make_card(
    endpoints: list[EndpointResult], inputs: EvaluationInputs, validation: np.ndarray, refer_share: float
) -> Judged:
    """Nothing in it depends on the test split.

    Args:
        endpoints: judged.
        inputs: of the same evaluation.
        validation: (n,) float64, uncertainty of the validation ECGs.
        refer_share: of the recipe.
    """
    readings, lines = [], []
    for result in endpoints:
        at = result.split == "validation"
        for of in result.protocols:
            if of.line is None:  # what needs more than the student's embedding cannot be read off a card
                continue
            threshold = of.threshold
            readings.append(
                Reading(
                    endpoint=result.endpoint.name,
                    question=question(result.endpoint),
                    protocol=of.protocol,
                    threshold=threshold.value,
                    threshold_says=threshold.says,
                    refer=choose_refer_band(of.score[at], threshold.value, refer_share),
                )
            )
            lines.append(of.line)
    card = ReadingCard(
        student=inputs.provenance["versions"]["student"],
        ecg=inputs.ecg.model_dump(mode="json"),
        readings=tuple(readings),
    )
    return Judged(card, tuple(lines), quantiles(validation))
