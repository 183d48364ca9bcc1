"""Applies a trained student and its reading card to ECG files.

    reader = Reader.load(student_folder, evaluation_folder)
    readings, numbers = reader.predict(["ecg.hea", "ecg.dcm"])

Needs neither teacher nor training data. Signals are filtered as stage ecg filters them, to the same bytes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa

from data_contracts import conventions, prediction
from data_contracts.ecg import QUALITY_FLAGS
from data_contracts.manifest import manifest_in
from echoingecg.common import ContractError, Refusal, result_or_refusal
from echoingecg.ecg import quality
from echoingecg.ecg.decode.recording import NOTHING_STATED, Stated
from echoingecg.ecg.decode.recording.leads import leads_of_set
from echoingecg.ecg.decode.wfdb_fast import read_plain
from echoingecg.ecg.process import Loaded, Processed, load, process_loaded_safely
from echoingecg.evaluation.decision import reading_card
from echoingecg.evaluation.decision.answers import answer_ecgs
from echoingecg.prediction import locate
from echoingecg.recipe import EcgSettings
from echoingecg.student.inference import LoadedStudent
from echoingecg.student.store import load as load_student

Columns = list[list[dict[str, Any]]]  # of each ECG, for each question or number, the columns of its row
_ABSENT = np.uint16(QUALITY_FLAGS["absent"])
FILES_PER_BLOCK = 128  # files whose signals are held at once: 6 MB
_FILES_PER_READ = 32  # files whose signals are held unfiltered: 8 MB at 500 Hz


@dataclass(frozen=True)
class ReadBlock:
    """A block of n files after reading and embedding.

    Attributes:
        files: n names.
        outcomes: n signals or refusals, in the same order.
        mean, log_var: (k, D) float32, of the k files that were not refused, in order.
        features: (k, F) float32, of the student's trunk, of the same files.
    """

    files: Sequence[str]
    outcomes: Sequence[Processed | Refusal]
    mean: np.ndarray
    log_var: np.ndarray
    features: np.ndarray

    @property
    def processed(self) -> list[Processed]:
        """The k ECGs that were not refused."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Processed)]

    def rows(self, make_rows: Callable[[int], Iterator[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
        """Rows of a table: those that `make_rows` gives for Gaussian i, with its file; or the file's refusal."""
        index = 0
        for file, outcome in zip(self.files, self.outcomes, strict=True):
            if isinstance(outcome, Refusal):
                yield {"file": file, "reason": outcome.reason, "detail": outcome.detail}
            else:
                yield from ({"file": file, "findings": finding_names(outcome)} | row for row in make_rows(index))
                index += 1


class Predicted(NamedTuple):
    """What was read of some files.

    Attributes:
        readings: data_contracts.prediction.READINGS, the questions.
        numbers: data_contracts.prediction.NUMBERS; without rows where the card holds no number.
    """

    readings: pa.Table
    numbers: pa.Table


@dataclass(frozen=True)
class Reader:
    """A trained student with the reading card of its evaluation.

    The numbers of an ECG do not depend on other ECGs, except for the last digits of float32 (1e-6).

    Attributes:
        student: the evaluated student.
        card: the evaluation's reading card.
        settings: settings that the student's signals were made with.
    """

    student: LoadedStudent
    card: reading_card.LoadedReadingCard
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
            ContractError: the evaluation is not one of this student, or this release makes other signals.
        """
        card = reading_card.LoadedReadingCard.load(Path(evaluation))
        _check_signals(Path(student), card.card)
        return cls.with_card(load_student(Path(student), device, ecg_alone=True), card)

    @classmethod
    def without_card(cls, student: Path | str, settings: EcgSettings, trained_on: str = conventions.NOT_STATED) -> Self:
        """A reader that embeds alone. Raises StoreError and ContractError like `load`.

        Args:
            student: folder of the student artefact.
            settings: that its signals are made with.
            trained_on: whose ECGs it learned from, of data_contracts.conventions.ORIGINS.
        """
        _check_signals(Path(student), None)
        card = reading_card.LoadedReadingCard.without_readings(settings, trained_on)
        return cls(load_student(Path(student), ecg_alone=True), card, settings)

    @classmethod
    def with_card(cls, student: LoadedStudent, card: reading_card.LoadedReadingCard) -> Self:
        """A reader with the card's settings. Raises ContractError when card and student differ in width."""
        if card.dim not in (None, student.dim):
            raise ContractError(f"the card reads embeddings of width {card.dim}, the student's have {student.dim}")
        return cls(student, card, EcgSettings.of_artefact(card.card.ecg))

    def predict(self, files: Iterable[Path | str], protocol: str = "", stated: Stated = NOTHING_STATED) -> Predicted:
        """Predicts every endpoint and every number for ECG files.

        Args:
            files: of any accepted format; their signals are held in blocks.
            protocol: name of the protocol that gives the scores; empty for the card's own choice.
            stated: what files may lack.

        Returns:
            Two tables: a row for each file and endpoint, or number; one for a refused file.

        Raises:
            UserError: the card has no such protocol.
        """
        protocol = protocol or self.card.card.answered_by
        self.card.readings_under(protocol)
        readings: list[dict[str, Any]] = []
        numbers: list[dict[str, Any]] = []
        for files_of_block in split_into_blocks(files):
            block = self.read(files_of_block, stated)
            questions, values = self._answers(block, protocol)
            origin = {"trained_on": self.card.card.trained_on}
            readings += block.rows(partial(_rows_of_ecg, questions, {"protocol": protocol} | origin))
            if self.card.numbers:
                numbers += block.rows(partial(_rows_of_ecg, values, origin))
        return Predicted(prediction.READINGS.build(readings), prediction.NUMBERS.build(numbers))

    def embed(self, files: Iterable[Path | str]) -> pa.Table:
        """Embeds ECG files as Gaussians: data_contracts.prediction.GAUSSIANS, one row for each file."""
        return prediction.GAUSSIANS.build([row for block in split_into_blocks(files) for row in self._embedded(block)])

    def read(self, files: Sequence[str], stated: Stated = NOTHING_STATED) -> ReadBlock:
        """Reads and embeds one block of files, in memory; `stated` is what they may lack.

        Records of those sets of leads are read that the student was trained for.
        """
        settings = self.settings.model_copy(update={"lead_sets": self.student.settings.leads.trained})
        outcomes = list(read_signals(files, settings, stated))
        return ReadBlock(files, outcomes, *self.student.embed_ecg_with_features(stack_signals(outcomes)))

    def is_referred(self, processed: Sequence[Processed], has_card: Sequence[bool] = ()) -> np.ndarray:
        """Whether a finding refers each ECG, (k,) bool; absent leads do not where there is a card for the others."""
        masks = np.array([ecg.quality for ecg in processed])
        if any(has_card):
            masks[np.array(has_card)] &= ~_ABSENT
        return quality.are_referred(masks, np.array([ecg.findings for ecg in processed]), self.settings)

    def _answers(self, block: ReadBlock, protocol: str) -> tuple[Columns, Columns]:
        """Questions and numbers of each of k ECGs, by the card of the leads that it holds, else by that of twelve."""
        by_leads = {
            leads_of_set(name): card
            for name, card in self.card.fewer.items()
            if protocol in {entry.reading.protocol for entry in card.readings}
        }
        cards = [by_leads.get(leads_there(ecg)) for ecg in block.processed]
        is_referred = self.is_referred(block.processed, [card is not None for card in cards])
        questions: Columns = [[] for _ in cards]
        numbers: Columns = [[] for _ in cards]
        for card in (None, *by_leads.values()):
            members = np.array([index for index, of_ecg in enumerate(cards) if of_ecg is card], np.int64)
            answers = answer_ecgs(
                card or self.card, protocol, block.mean[members], block.features[members], is_referred[members]
            )
            for place, index in enumerate(members.tolist()):
                for rows, said in ((questions, answers.questions), (numbers, answers.numbers)):
                    rows[index] = [{name: values[place] for name, values in columns.items()} for columns in said]
        return questions, numbers

    def _embedded(self, files: Sequence[str]) -> Iterator[dict[str, Any]]:
        block = self.read(files)
        return block.rows(lambda index: iter([{"mean": block.mean[index], "log_var": block.log_var[index]}]))


def _check_signals(student: Path, card: prediction.ReadingCard | None) -> None:
    made = manifest_in(student)
    for version in (
        locate.signals_version(made, locate.workspace_of(student)),
        card.ecg_code_version if card else None,
    ):
        locate.check_signals(f"student-{made.version}" if made else str(student), version)


def _rows_of_ecg(answers: Columns, shared: dict[str, Any], index: int) -> Iterator[dict[str, Any]]:
    """A row for each question or number, of ECG `index`."""
    yield from (shared | columns for columns in answers[index])


def split_into_blocks(files: Iterable[Path | str]) -> Iterator[list[str]]:
    """Lists of at most FILES_PER_BLOCK files, in order."""
    paths = [str(file) for file in files]
    yield from (paths[start : start + FILES_PER_BLOCK] for start in range(0, len(paths), FILES_PER_BLOCK))


def read_signals(
    files: Sequence[str], settings: EcgSettings, stated: Stated = NOTHING_STATED
) -> Iterator[Processed | Refusal]:
    """Filtered signal of each file in order, or the reason why it is refused.

    Args:
        files: ECGs of any accepted format.
        settings: settings that the student's training signals were made with.
        stated: what files may lack.
    """
    for start in range(0, len(files), _FILES_PER_READ):
        loaded = [_load(Path(file), settings, stated) for file in files[start : start + _FILES_PER_READ]]
        finished = iter(process_loaded_safely([outcome for outcome in loaded if isinstance(outcome, Loaded)], settings))
        yield from (outcome if isinstance(outcome, Refusal) else next(finished) for outcome in loaded)


def stack_signals(outcomes: Iterable[Processed | Refusal]) -> np.ndarray:
    """Signals of the ECGs that were not refused, float32 (k, 12, 1000), mV."""
    signals = [outcome.signal for outcome in outcomes if isinstance(outcome, Processed)]
    return np.stack(signals) if signals else np.empty((0, len(conventions.LEADS), conventions.SAMPLES), np.float32)


def leads_there(processed: Processed) -> tuple[str, ...]:
    """Names of the leads that the record holds."""
    return tuple(lead for lead, mask in zip(conventions.LEADS, processed.quality, strict=True) if not mask & _ABSENT)


def finding_names(processed: Processed) -> list[str]:
    """Names of the quality findings of the recording, then of its leads."""
    return list(quality.all_finding_names(processed.quality, processed.findings))


def _load(path: Path, settings: EcgSettings, stated: Stated) -> Loaded | Refusal:
    try:
        return result_or_refusal(
            partial(load, path, settings, stated.unit, stated.sampling_frequency, stated.leads, read_plain(path))
        )
    except OSError as fault:
        return Refusal("unreadable", f"cannot be opened: {fault.strerror}")
