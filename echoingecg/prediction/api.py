"""What a researcher types: load a trained student and use it, or read one ECG or echo file.

    import echoingecg

    model = echoingecg.load("production", workspace="workspace")
    table = model.predict(["ecg.hea", "ecg.dcm"])
    ecg = echoingecg.read_ecg("ecg.hea")

Only the packages `echoingecg` and `data_contracts` are needed: a file `tasks.py` or `flows.py` beside a notebook does
no harm. Large libraries are imported by the function that needs them.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike, fsdecode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_contracts import conventions, ecg, manifest, prediction
from echoingecg.common import ContractError, Refusal, UserError
from echoingecg.prediction import locate
from echoingecg.recipe import EcgSettings, TuningSettings

if TYPE_CHECKING:
    import pyarrow as pa

    from echoingecg.prediction.predictor import Predicted, ReadBlock, Reader
    from echoingecg.recipe.evaluation import TuningMethod
    from echoingecg.student.fine_tuning import Classifier
    from echoingecg.teacher.decode.clip import Region

    File = str | PathLike[str]
    Files = File | Iterable[File]


class Picture(bytes):
    """The content of a PNG file. A notebook shows the picture; `Path("ecg.png").write_bytes(picture)` keeps it."""

    def _repr_png_(self) -> bytes:
        return bytes(self)


@dataclass(frozen=True)
class Ecg:
    """One ECG, filtered and resampled as the student gets it.

    Attributes:
        signal: float32 (12, 1000), in `unit`, one row for each of `leads`.
        findings: name of each quality finding, and the leads it was found in; no lead for one of the whole recording.
        file: where it was read from.
        format: kind of file, such as `SCP-ECG`.
        recorded_frequency: sampling frequency of the file, Hz.
        start: of the window in the recording, s.
        unit: of the signal.
        leads: names of the rows.
        sampling_frequency: of `signal`, Hz.
    """

    signal: np.ndarray
    findings: Mapping[str, tuple[str, ...]]
    file: Path
    format: str
    recorded_frequency: float
    start: float
    unit: str = "mV"
    leads: tuple[str, ...] = conventions.LEADS
    sampling_frequency: float = conventions.SAMPLING_FREQUENCY


@dataclass(frozen=True)
class Echo:
    """Frames of one echo clip as the file stores them: what the scanner printed on them, a name included, is there.

    Attributes:
        frames: uint8 (frame, height, width, 3), RGB.
        frame_rate: of the file, 1/s; None where it is not stated.
        regions: the ultrasound regions that the file states, px.
        file: where it was read from.
    """

    frames: np.ndarray
    frame_rate: float | None
    regions: tuple["Region", ...]
    file: Path


def read_ecg(
    file: "File",
    *,
    unit: str | None = None,
    sampling_frequency: float | None = None,
    leads: Sequence[str] | None = None,
    settings: EcgSettings | None = None,
) -> Ecg:
    """Reads and filters one ECG of any accepted format.

    A signal of poor quality is returned, too, with its findings; `EcgModel.predict` may refuse it.

    Args:
        file: a file, or a WFDB record with or without `.hea`.
        unit: amplitude unit, for a file that states none.
        sampling_frequency: Hz, for a file that states none.
        leads: names of the leads in stored order, for an array.
        settings: filter and limits; by default those of EchoingECG.

    Raises:
        Refusal: the file cannot be trusted; `reason` is one of data_contracts.quarantine.REASONS.
        OSError: the file cannot be read.
    """
    from echoingecg.ecg.decode import decode
    from echoingecg.ecg.decode.recording import arrange
    from echoingecg.ecg.process import best_window

    recording = decode(Path(file), unit, sampling_frequency, leads)
    rate, settings = recording.sampling_frequency, settings or EcgSettings()
    chosen = best_window(arrange(recording, settings.lead_sets), rate, settings, recording.heart_rate)
    findings: dict[str, tuple[str, ...]] = {name: () for name, bit in ecg.RECORD_FLAGS.items() if chosen.findings & bit}
    for name, bit in ecg.QUALITY_FLAGS.items():
        if affected := tuple(lead for lead, mask in zip(conventions.LEADS, chosen.quality, strict=True) if mask & bit):
            findings[name] = affected
    return Ecg(chosen.signal, findings, Path(file), recording.format, rate, chosen.start / rate)


def read_echo(file: "File", *, every: int = 1) -> Echo:
    """Reads the frames of one echo clip, DICOM, AVI or MP4.

    Args:
        file: the clip.
        every: 2 takes each second frame, and so on.

    Raises:
        Refusal: the file cannot be trusted; `reason` is one of data_contracts.quarantine.REASONS.
        OSError: the file cannot be read.
    """
    from echoingecg.teacher.decode import decode_frames, read_header

    clip = read_header(Path(file))
    frames = np.stack(list(decode_frames(clip, range(0, clip.frames, every))))
    return Echo(frames, clip.frame_rate, clip.regions, Path(file))


def load(
    student: "File",
    *,
    workspace: "File | None" = None,
    evaluation: "File | None" = None,
    settings: EcgSettings | None = None,
    device: str = "cpu",
    allow_encoder: str = "",
) -> "EcgModel":
    """Loads a trained student.

    Args:
        student: a student's folder; an alias or STAGE-VERSION of the workspace, of a student or an evaluation; a folder
            or a file of released weights, with the scaler beside it; or `hf-hub:OWNER/NAME`, of which only
            safetensors and JSON files are fetched.
        workspace: folder of artefacts; by default the one that the student's folder lies in, if any.
        evaluation: folder or name of the evaluation whose reading card `predict` applies; by default a card in the
            student's folder, else the student's newest evaluation in the workspace.
        settings: how signals are made; by default as the student's own were, for released weights as published.
        device: 'cpu' or 'cuda'.
        allow_encoder: `package.module:Class` that may run; a student whose encoder it is, is else refused (UserError).

    Raises:
        StoreError: there is no such student, or a file is absent or unreadable.
        ContractError: the files are not those of a student and its evaluation, or this release makes other signals
            than the student learned from. A card of another release that
            `evaluation` does not name is refused by `predict` alone.
    """
    from echoingecg.evaluation.decision.reading_card import LoadedReadingCard
    from echoingecg.prediction.predictor import Reader

    place = None if workspace is None else Path(workspace).expanduser()
    folder, card_folder = locate.find_student(str(student), place)
    place = place or locate.workspace_of(folder)
    own = manifest.manifest_in(folder)
    is_named = evaluation is not None or card_folder is not None
    if evaluation is not None:
        card_folder = (place and locate.find_artefact(place, str(evaluation))) or Path(evaluation).expanduser()
    elif (folder / prediction.FILENAME).is_file():
        card_folder = folder
    elif card_folder is None and place and own:
        card_folder = locate.newest_evaluation(place, own.version)
    locate.check_signals(str(folder), locate.signals_version(own, place))
    opened, card, no_card = locate.open_student(folder, device, allow_encoder), None, ""
    if card_folder is None:
        no_card = f"{folder} has no evaluation here: give evaluation= to load, or use zero_shot"
    else:
        try:
            card = LoadedReadingCard.load(card_folder)
        except ContractError as fault:
            if is_named:
                raise
            card_folder, no_card = None, str(fault)
    if card is None:
        settings = settings or locate.ecg_settings(own, place)
        reader = Reader(opened, LoadedReadingCard.without_readings(settings), settings)
    else:
        if own and card.card.student != own.version:
            raise ContractError(f"{card_folder} is an evaluation of student-{card.card.student}, not of {folder}")
        locate.check_signals(str(folder), card.card.ecg_code_version)
        reader = Reader.with_card(opened, card)
    return EcgModel(reader, folder, card_folder, no_card)


@dataclass(frozen=True, repr=False)
class EcgModel:
    """A trained student, ready for ECG files. Research software, not a medical device.

    Wherever files are asked for: one file or several, of any accepted format, WFDB records, or folders of them. A file
    that cannot be trusted is a row with a reason, never an exception.

    Attributes:
        reader: applies the student.
        student: folder or file it was loaded from.
        evaluation: folder of its reading card; None without one.
        no_card: why there is none, a sentence.
    """

    reader: "Reader"
    student: Path
    evaluation: Path | None
    no_card: str = ""

    def __repr__(self) -> str:
        return f"EcgModel({self.student}, {self.evaluation or 'no evaluation'})"

    def predict(self, files: "Files", protocol: str = "") -> "pa.Table":
        """Answers the questions of the evaluation: probability, interval, uncertainty, decision, predict or refer.

        Args:
            files: see the class.
            protocol: how the score is computed, expected_echo, zero_shot, zero_shot_teacher or linear_probe; empty for
                the one of the evaluation's recipe.

        Returns:
            data_contracts.prediction.READINGS: a row for each file and endpoint, one row for a refused file.

        Raises:
            UserError: this student has no evaluation that this release can read, or that knows no such protocol.
        """
        return self._predicted(files, protocol).readings

    def predict_numbers(self, files: "Files", protocol: str = "") -> "pa.Table":
        """Predicts the numbers of the evaluation, such as LVEF: value, 90 % interval, deviation, predict or refer.

        Args:
            files, protocol: as `predict`; the protocol answers the questions that a number may contradict.

        Returns:
            data_contracts.prediction.NUMBERS: a row for each file and number, one row for a refused file.

        Raises:
            UserError: as `predict`.
        """
        return self._predicted(files, protocol).numbers

    def _predicted(self, files: "Files", protocol: str) -> "Predicted":
        if self.evaluation is None:
            raise UserError(self.no_card)
        return self.reader.predict(_listed(files), protocol)

    def embed(self, files: "Files") -> "pa.Table":
        """Gaussians of ECGs.

        Returns:
            data_contracts.prediction.GAUSSIANS: a row for each file, with mean and log-variance.
        """
        return self.reader.embed(_listed(files))

    def zero_shot(
        self, files: "Files", positive_prompts: str | Sequence[str], negative_prompts: str | Sequence[str]
    ) -> "pa.Table":
        """Asks a question of your own, in sentences of an echo report.

        Args:
            files: see the class.
            positive_prompts: sentences that are true if the answer is yes.
            negative_prompts: sentences that are true if the answer is no.

        Returns:
            data_contracts.prediction.SCORES: a row for each file; a score above 0.5 is nearer to the positive prompts.
            It is not calibrated.
        """
        from echoingecg.prediction.zero_shot import score_of_prompts

        sides = [(side,) if isinstance(side, str) else tuple(side) for side in (positive_prompts, negative_prompts)]
        if not all(sides):
            raise UserError("zero_shot: give at least one positive and one negative prompt")
        line = score_of_prompts(self.reader.student, *sides)
        return self._scored(files, lambda read: line.scores(read.mean))

    def plot(self, file: "File") -> Picture:
        """Draws the 12-lead page of one ECG, before and after filtering, with what was found. No names on it.

        Raises:
            Refusal: the file cannot be trusted.
            OSError: the file cannot be read.
        """
        from echoingecg.ecg.plot import draw, pages_of_file

        return Picture(draw(pages_of_file(Path(file), self.reader.settings)))

    def fine_tune(
        self,
        labels: "Mapping[File, int]",
        *,
        validation: "Collection[File] | None" = None,
        method: "TuningMethod" = "fine_tune",
        settings: TuningSettings | None = None,
        seed: int = 43,
    ) -> "FineTuned":
        """Trains a copy of the ECG encoder to answer a yes/no question; this student does not change.

        All signals are held in memory, 48 kB each.

        Args:
            labels: 0 or 1 for each ECG file.
            validation: the files among them that stop the training; by default a fifth of each class, drawn. Name them
                when a patient has several ECGs: all must be on one side.
            method: 'fine_tune' starts from the student's weights, 'lora' trains adapters beside them, 'scratch' starts
                from random weights.
            settings: epochs, learning rates, batch size.
            seed: of weights, order and draw.

        Raises:
            UserError: a label is neither 0 nor 1, or a side lacks a class.
        """
        from echoingecg.prediction.predictor import read_signals, stack_signals
        from echoingecg.student.fine_tuning import held_out_fifth

        outcomes = dict(zip(labels, read_signals([str(file) for file in labels], self.reader.settings), strict=True))
        refused = {str(file): outcome for file, outcome in outcomes.items() if isinstance(outcome, Refusal)}
        files = [file for file in labels if str(file) not in refused]
        label = np.array([labels[file] for file in files], np.int64)
        if validation is None:
            held_out = held_out_fifth(label, seed)
        else:
            chosen = {str(file) for file in validation}
            held_out = np.array([str(file) in chosen for file in files], bool)
        if any(set(label[side]) != {0, 1} for side in (held_out, ~held_out)):
            raise UserError("fine_tune: training and validation need ECGs of label 0 and of label 1, and no other")
        signals = stack_signals(outcomes.values())
        split = np.where(held_out, "validation", "train")
        fitted = self.reader.student.fine_tune(
            method, lambda rows: signals[rows], label, split, settings or TuningSettings(), seed
        )
        return FineTuned(self, fitted.model, fitted.epoch, fitted.loss, refused)

    def _scored(self, files: "Files", score: "Callable[[ReadBlock], np.ndarray]") -> "pa.Table":
        """A table of SCORES; `score` gives (k,) of a block's k ECGs that were not refused."""
        from echoingecg.evaluation.data.embed import GaussianTable
        from echoingecg.prediction.predictor import split_into_blocks

        def rows(read: "ReadBlock") -> Iterator[dict[str, Any]]:
            values, uncertainty = score(read), GaussianTable.from_log_var(read.mean, read.log_var).uncertainty
            return read.rows(lambda row: iter([{"score": values[row], "uncertainty": uncertainty[row]}]))

        return prediction.SCORES.build(
            [row for block in split_into_blocks(_listed(files)) for row in rows(self.reader.read(block))]
        )


@dataclass(frozen=True)
class FineTuned:
    """A yes/no classifier that `EcgModel.fine_tune` trained.

    Attributes:
        model: the student it was trained from.
        classifier: encoder and head, a torch module.
        epoch: the one with the least validation loss, from 1.
        validation_loss: class-balanced cross-entropy of that epoch.
        refused: labelled files that could not be used, with the reason.
    """

    model: EcgModel
    classifier: "Classifier" = field(repr=False)
    epoch: int
    validation_loss: float
    refused: Mapping[str, Refusal] = field(repr=False)

    def predict(self, files: "Files") -> "pa.Table":
        """Scores of ECG files.

        Returns:
            data_contracts.prediction.SCORES: a row for each file; the score of label 1, not calibrated, and the
            uncertainty of the student before training.
        """
        from echoingecg.prediction.predictor import stack_signals

        student = self.model.reader.student
        return self.model._scored(files, lambda read: student.score(self.classifier, stack_signals(read.outcomes)))


def _listed(files: "Files") -> list[str]:
    from echoingecg.prediction.files import list_ecgs

    return list_ecgs([fsdecode(file) for file in ([files] if isinstance(files, str | PathLike) else files)])
