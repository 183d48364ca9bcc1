"""The reading card of an evaluation: its lines and rules, and what validation says of uncertainty."""

import numpy as np

from data_contracts.reading_card import Reading, ReadingCard
from echoingecg.evaluation.data.inputs import EvaluationInputs
from echoingecg.evaluation.decision.reading_card import Judged, quantiles
from echoingecg.evaluation.protocols.classification import EndpointResult
from echoingecg.evaluation.report.tables import question


def make_card(endpoints: list[EndpointResult], inputs: EvaluationInputs, validation: np.ndarray) -> Judged:
    """Nothing in it depends on the test split.

    Args:
        endpoints: judged.
        inputs: of the same evaluation.
        validation: (n,) float64, uncertainty of the validation ECGs.
    """
    readings, lines = [], []
    for result in endpoints:
        for of in result.protocols:
            if of.line is None:  # what needs more than the student's embedding cannot be read off a card
                continue
            readings.append(
                Reading(
                    endpoint=result.endpoint.name,
                    question=question(result.endpoint),
                    protocol=of.protocol,
                    threshold_says=of.threshold.says,
                    calibration=of.rules.calibration,
                    referral=of.rules.referral,
                )
            )
            lines.append(of.line)
    card = ReadingCard(
        student=inputs.provenance["versions"]["student"],
        ecg=inputs.ecg.model_dump(mode="json"),
        readings=tuple(readings),
    )
    return Judged(card, tuple(lines), quantiles(validation))
