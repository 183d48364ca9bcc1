"""Reads ECGs with a student that has no reading card: zero-shot scores, not calibrated, and every ECG is referred.

    scorer = ZeroShotReader.with_questions(reader, recipe.evaluation.endpoints)
    readings = scorer.predict(["ecg.hea", "ecg.dcm"]).readings

Without a card there is no threshold, no calibrator, no limit of the referral and no measure of typicality.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from data_contracts import prediction
from echoingecg.common import UserError
from echoingecg.ecg.decode.recording import NOTHING_STATED, Stated
from echoingecg.evaluation.data.embed import embed_prompts
from echoingecg.evaluation.data.models import LinearScore
from echoingecg.evaluation.data.names import ZERO_SHOT
from echoingecg.evaluation.protocols.zero_shot_and_probe import zero_shot_linear_score
from echoingecg.prediction.predictor import Predicted, ReadBlock, Reader, split_into_blocks
from echoingecg.recipe.evaluation import Endpoint
from echoingecg.student.inference import LoadedStudent


def score_of_prompts(student: LoadedStudent, positive: Sequence[str], negative: Sequence[str]) -> LinearScore:
    """The zero-shot score of a question that is asked in sentences of an echo report.

    Args:
        student: embeds the sentences.
        positive: sentences that are true if the answer is yes, at least one.
        negative: sentences that are true if the answer is no, at least one.
    """
    yes, no = (embed_prompts(student, tuple(side), student.dim) for side in (positive, negative))
    return zero_shot_linear_score(yes, no, student.scale)


@dataclass(frozen=True)
class ZeroShotReader:
    """A trained student and questions in sentences.

    Attributes:
        reader: applies the student; its card has no readings.
        scores: by name of the question.
    """

    reader: Reader
    scores: Mapping[str, LinearScore]

    @classmethod
    def with_questions(cls, reader: Reader, endpoints: Iterable[Endpoint]) -> Self:
        """Embeds the prompts of a recipe's endpoints."""
        scores = {
            endpoint.name: score_of_prompts(reader.student, endpoint.positive_prompts, endpoint.negative_prompts)
            for endpoint in endpoints
        }
        return cls(reader, scores)

    def predict(self, files: Iterable[str], protocol: str = "", stated: Stated = NOTHING_STATED) -> Predicted:
        """Scores every question for ECG files, as `Reader.predict` does with a card.

        Args:
            files: of any accepted format; their signals are held in blocks.
            protocol: empty or `zero_shot`.
            stated: what files may lack.

        Returns:
            Readings with a score, findings and the advice to refer; everything that only a card gives is null. No
            numbers: their intervals come from a card.

        Raises:
            UserError: another protocol.
        """
        check_protocol(protocol)
        rows = [row for block in split_into_blocks(files) for row in self._rows(self.reader.read(block, stated))]
        return Predicted(prediction.READINGS.build(rows), prediction.NUMBERS.build([]))

    def _rows(self, block: ReadBlock) -> Iterator[dict[str, Any]]:
        is_referred = self.reader.is_referred(block.processed)
        scores = {name: line.scores(block.mean) for name, line in self.scores.items()}

        def rows_of(index: int) -> Iterator[dict[str, Any]]:
            doubts = ["finding"] * bool(is_referred[index]) + [prediction.NOT_CALIBRATED]
            for name, values in scores.items():
                yield {
                    "endpoint": name,
                    "protocol": ZERO_SHOT,
                    "score": values[index],
                    "advice": "refer",
                    "doubts": doubts,
                    "trained_on": self.reader.card.card.trained_on,
                }

        return block.rows(rows_of)


def check_protocol(protocol: str) -> None:
    """Raises UserError for a protocol that needs a reading card."""
    if protocol not in ("", ZERO_SHOT):
        raise UserError(f"protocol '{protocol}' needs a reading card: a student without one answers by {ZERO_SHOT}")
