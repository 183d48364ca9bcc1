"""A student and its reading card: ECG files in, tables out.

    reader = Reader.load(student_folder, evaluation_folder)
    table = reader.predict(["ecg.hea", "ecg.dcm"])

Needs neither teacher nor training data.

Files as filtered signals, or as the reason why not; the same bytes as stage ecg makes of them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from data_contracts import conventions, ecg, prediction
from echoingecg.common import ContractError, Refusal, result_or_refusal
from echoingecg.ecg.decode.wfdb_fast import read_plain
from echoingecg.ecg.process import Loaded, Processed, load, process_loaded_safely
from echoingecg.ecg.quality import finding_names
from echoingecg.evaluation.data.embed import Gaussians
from echoingecg.evaluation.data.inputs import ZERO_SHOT
from echoingecg.evaluation.decision import calibration, reading_card, threshold_and_referral
from echoingecg.recipe import EcgSettings
from echoingecg.student.inference import LoadedStudent
from echoingecg.student.store import load as load_student

_AT_ONCE = 32  # files whose signals are held unfiltered, 8 MB at 500 Hz


def read_signals(files: Sequence[str], settings: EcgSettings) -> Iterator[Processed | Refusal]:
    """One outcome a file, in order.

    Args:
        files: ECGs of any accepted format.
        settings: by which the student's training signals were made.
    """
    for start in range(0, len(files), _AT_ONCE):
        loaded = [_load(Path(file), settings) for file in files[start : start + _AT_ONCE]]
        finished = iter(process_loaded_safely([one for one in loaded if isinstance(one, Loaded)], settings))
        yield from (one if isinstance(one, Refusal) else next(finished) for one in loaded)


def stacked(outcomes: Iterable[Processed | Refusal]) -> np.ndarray:
    """Signals of those that were not refused, float32 (k, 12, 1000), mV."""
    signals = [outcome.signal for outcome in outcomes if isinstance(outcome, Processed)]
    return np.stack(signals) if signals else np.empty((0, len(conventions.LEADS), conventions.SAMPLES), np.float32)


def findings(one: Processed) -> list[str]:
    """Names of what was found in the recording, then in any lead."""
    return [
        *finding_names(one.findings, ecg.RECORD_FLAGS),
        *finding_names(int(np.bitwise_or.reduce(one.quality)), ecg.QUALITY_FLAGS),
    ]


def _load(path: Path, settings: EcgSettings) -> Loaded | Refusal:
    try:
        return result_or_refusal(partial(load, path, settings, plain=read_plain(path)))
    except OSError as fault:
        return Refusal("unreadable", f"cannot be opened: {fault.strerror}")


MASS = 0.95  # of the ECG's Gaussian, between `low` and `high`
BLOCK = 128  # files whose signals are held at once: 6 MB


@dataclass(frozen=True)
class Read:
    """A block of files, and what became of each.

    Attributes:
        files: n names.
        outcomes: n, in the same order.
        mean, log_var: (k, D) float32, of the k that were not refused, in order.
    """

    files: Sequence[str]
    outcomes: Sequence[Processed | Refusal]
    mean: np.ndarray
    log_var: np.ndarray

    def rows(self, of: Callable[[int], Iterator[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
        """Rows of a table: what `of` says of Gaussian i, beside its file; or the file's refusal."""
        at = 0
        for file, outcome in zip(self.files, self.outcomes, strict=True):
            if isinstance(outcome, Refusal):
                yield {"file": file, "reason": outcome.reason, "detail": outcome.detail}
            else:
                yield from ({"file": file, "findings": findings(outcome)} | row for row in of(at))
                at += 1


@dataclass(frozen=True)
class Reader:
    """Reads ECGs as one evaluation judged it.

    An ECG's numbers depend on no other ECG, but for the last digits of float32 (1e-6).

    Attributes:
        student: as judged.
        judged: the evaluation's card.
        settings: by which the student's signals were made.
    """

    student: LoadedStudent
    judged: reading_card.Judged
    settings: EcgSettings

    @classmethod
    def load(cls, student: Path | str, evaluation: Path | str, device: str = "cpu") -> Self:
        """Opens two published artefacts.

        Args:
            student: folder of the student artefact.
            evaluation: folder of an evaluation of it.
            device: 'cpu' or 'cuda'.

        Raises:
            StoreError: a file is absent or unreadable.
            ContractError: the folders are no student and its evaluation.
        """
        return cls.with_card(load_student(Path(student), device), reading_card.Judged.load(Path(evaluation)))

    @classmethod
    def with_card(cls, student: LoadedStudent, judged: reading_card.Judged) -> Self:
        """Reads as the card says. Raises ContractError when the card is that of a student of another width."""
        if judged.dim not in (None, student.dim):
            raise ContractError(f"the card reads embeddings of width {judged.dim}, the student's have {student.dim}")
        return cls(student, judged, EcgSettings.model_validate(judged.card.ecg))

    def predict(self, files: Iterable[Path | str], protocol: str = ZERO_SHOT) -> pa.Table:
        """Endpoints of ECG files.

        Args:
            files: of any accepted format; their signals are held in blocks.
            protocol: by which the probabilities are come by; the card names those it has.

        Returns:
            data_contracts.prediction.READINGS: a row for each file and endpoint, one for a refused file.

        Raises:
            UserError: the card has no such protocol.
        """
        self.judged.under(protocol)
        return prediction.READINGS.build([row for block in blocks(files) for row in self._predicted(block, protocol)])

    def embed(self, files: Iterable[Path | str]) -> pa.Table:
        """Gaussians of ECG files: data_contracts.prediction.GAUSSIANS, a row a file."""
        return prediction.GAUSSIANS.build([row for block in blocks(files) for row in self._embedded(block)])

    def read(self, files: Sequence[str]) -> Read:
        """A block of files, held in memory."""
        outcomes = list(read_signals(files, self.settings))
        return Read(files, outcomes, *self.student.embed_ecg(stacked(outcomes)))

    def _predicted(self, files: Sequence[str], protocol: str) -> Iterator[dict[str, Any]]:
        read = self.read(files)
        uncertainty = Gaussians.of(read.mean, read.log_var).uncertainty
        percentile = self.judged.percentile(uncertainty)
        columns = []
        for reading, line in self.judged.under(protocol):
            score, rule = line.scores(read.mean), reading.referral
            ends = [
                calibration.calibrate(reading.calibration, end) for end in line.interval(read.mean, read.log_var, MASS)
            ]
            columns.append(
                {
                    "endpoint": [reading.endpoint] * len(score),
                    "probability": calibration.calibrate(reading.calibration, score),
                    "low": np.minimum(*ends),  # a sigmoid may be fitted falling
                    "high": np.maximum(*ends),
                    "score": score,
                    "decision": threshold_and_referral.decided(rule, score),
                    "uncertainty": uncertainty,
                    "uncertainty_percentile": percentile,
                    "advice": threshold_and_referral.advice(
                        threshold_and_referral.is_answered(rule, score, uncertainty, line.steepness)
                    ).tolist(),
                }
            )

        def of(at: int) -> Iterator[dict[str, Any]]:
            yield from ({"protocol": protocol} | {name: values[at] for name, values in one.items()} for one in columns)

        return read.rows(of)

    def _embedded(self, files: Sequence[str]) -> Iterator[dict[str, Any]]:
        read = self.read(files)
        return read.rows(lambda at: iter([{"mean": read.mean[at], "log_var": read.log_var[at]}]))


def blocks(files: Iterable[Path | str]) -> Iterator[list[str]]:
    """Lists of at most BLOCK files, in order."""
    names = [str(file) for file in files]
    yield from (names[start : start + BLOCK] for start in range(0, len(names), BLOCK))
