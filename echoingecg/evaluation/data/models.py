"""What every model makes of the paired ECGs: the student under test, other students, external models, no network.

A `Space` is where ECGs and sentences of one model can be compared; `LinearScore` is a probability whose logit is linear
in an ECG's mean embedding, the form that zero-shot and linear probe share.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.special import expit

from data_contracts.evaluation_details import EXTERNAL
from echoingecg.common import ContractError, Progress, UserError
from echoingecg.ecg.beats import MEASUREMENT_NAMES, measure_ecgs
from echoingecg.evaluation.data import embed, names
from echoingecg.evaluation.data.inputs import EvaluationInputs, EvaluationPairs
from echoingecg.recipe import EvaluationSettings

MAX_TEXTS = 1000  # reports of which the text modality's mean is taken
EncodeText = Callable[[Sequence[str]], embed.GaussianTable]


@dataclass(frozen=True)
class Space:
    """A space in which ECGs and sentences can be compared.

    Attributes:
        ecgs: r ECGs.
        encode_text: puts echo sentences into the space.
        scale: the student's learned scale of the match logit.
        model: name of the model that embedded the ECGs.
    """

    ecgs: embed.GaussianTable
    encode_text: EncodeText
    scale: float
    model: str = names.STUDENT


def student_space(student: embed.StudentModel, ecgs: embed.GaussianTable, model: str = names.STUDENT) -> Space:
    """The space of a student's own text tower."""
    dim = ecgs.mean.shape[1]
    return Space(ecgs, lambda texts: embed.embed_prompts(student, tuple(texts), dim), student.scale, model)


def teacher_space(teacher: embed.TextTower, own: Space) -> Space:
    """The space of the teacher's text tower, in which sentences have no variance.

    Training drew the student's ECGs to the teacher's echo studies, which lie near the teacher's texts.
    """
    dim = own.ecgs.mean.shape[1]

    def encode_text(texts: Sequence[str]) -> embed.GaussianTable:
        mean = teacher.embed_text(list(texts))
        if mean.shape != (len(texts), dim):
            raise ContractError(f"teacher: sentences embed to {mean.shape}, expected ({len(texts)}, {dim})")
        return embed.GaussianTable.from_points(mean)

    return Space(own.ecgs, encode_text, own.scale)


def centre_space(space: Space, training: np.ndarray, texts: Sequence[str]) -> Space | names.Skipped:
    """The space after subtracting each modality's training mean and scaling to unit length again.

    ECGs and texts each lie in a narrow cone. The offset between the cones is the same for all and says nothing about a
    patient ("collapse" in Connect, Collapse, Corrupt: Zhang et al., ICLR 2024).

    Args:
        space: of any model.
        training: (r,) bool, ECGs of the training split.
        texts: echo reports of the training split; at most MAX_TEXTS of them are read, evenly spread.

    Returns:
        The centred space, or Skipped where there is no training ECG or no report.
    """
    if not training.any() or not texts:
        return names.Skipped(
            f"the training split has no {'echo report' if training.any() else 'paired ECG'} to centre by"
        )
    chosen = [texts[index] for index in np.linspace(0, len(texts) - 1, min(len(texts), MAX_TEXTS)).astype(int)]
    of_ecgs = space.ecgs.mean[training].mean(axis=0, dtype=np.float64)
    of_texts = space.encode_text(chosen).mean.mean(axis=0, dtype=np.float64)
    return replace(
        space,
        ecgs=_shifted(space.ecgs, of_ecgs),
        encode_text=lambda sentences: _shifted(space.encode_text(sentences), of_texts),
    )


def _shifted(gaussians: embed.GaussianTable, by: np.ndarray) -> embed.GaussianTable:
    mean = gaussians.mean - by
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    return replace(gaussians, mean=(mean / np.maximum(length, np.finfo(np.float32).tiny)).astype(np.float32))


def all_spaces(
    own: Space, teacher: embed.TextTower | None, centring: tuple[np.ndarray, Sequence[str]] | None
) -> dict[str, Space | names.Skipped]:
    """Spaces of the student under test, by the suffix of the protocols' names.

    Args:
        own: the space of its own text tower.
        teacher: None when the teacher has no text tower.
        centring: `training` and `texts` of `centred`; None leaves the centred spaces out.
    """
    theirs = names.Skipped("this teacher has no text tower") if teacher is None else teacher_space(teacher, own)
    spaces: dict[str, Space | names.Skipped] = {"": own, names.TEACHER: theirs}
    if centring is not None:
        for suffix, space in tuple(spaces.items()):
            spaces[suffix + names.CENTRED] = (
                space if isinstance(space, names.Skipped) else centre_space(space, *centring)
            )
    return spaces


def read_external(name: str, path: Path) -> pa.Table:
    """Embeddings of one external model, read from the Parquet file that the user names.

    Args:
        name: of the model in the recipe.
        path: Parquet with the columns of data_contracts.evaluation_details.EXTERNAL. Other columns are not read; lists
            of other float types or of fixed size are accepted.

    Raises:
        UserError: no such file, a column is missing or of another kind, rows of different lengths, a value that
            is not finite.
    """
    where = f"evaluation.external '{name}'"
    try:
        table = pq.read_table(path, columns=EXTERNAL.schema.names)
        external = EXTERNAL.check(table.select(EXTERNAL.schema.names).cast(EXTERNAL.schema))
    except (OSError, KeyError, ValueError, pa.ArrowException, ContractError) as fault:
        first = next(iter(str(fault).splitlines()), type(fault).__name__)
        columns = " and ".join(EXTERNAL.schema.names)
        raise UserError(f"{where}: {path} is no Parquet table of {columns}: {first}") from fault
    embedding = external["embedding"].combine_chunks()
    if external.num_rows and pc.count_distinct(pc.list_value_length(embedding)).as_py() != 1:
        raise UserError(f"{where}: embeddings of different lengths: one model gives one length")
    if not pc.all(pc.is_finite(embedding.flatten()), skip_nulls=False).as_py() and external.num_rows:
        raise UserError(f"{where}: an embedding holds a value that is missing or not finite")
    return external


def external_features(name: str, table: pa.Table, content_hash: list[str]) -> np.ndarray:
    """The embeddings of some ECGs.

    Args:
        name: of the model in the recipe.
        table: of `read_external`.
        content_hash: (r,) of the ECGs' files, in the order wanted; may repeat.

    Returns:
        (r, D) float32.

    Raises:
        UserError: an ECG has no embedding. Numbers in one table must come from the same patients.
    """
    rows = pc.index_in(pa.array(content_hash, pa.string()), value_set=table["content_hash"])
    if rows.null_count:
        raise UserError(
            f"evaluation.external '{name}': {rows.null_count} of {len(rows)} paired ECGs have no embedding: models are "
            f"compared on the same ECGs, so embed every content_hash of the pairs (docs/protocols.md)"
        )
    values = table["embedding"].combine_chunks().take(rows).flatten().to_numpy()
    return values.reshape(len(rows), len(values) // max(len(rows), 1))


@dataclass(frozen=True)
class Models:
    """What every model makes of the r paired ECGs; nothing here depends on an endpoint.

    Attributes:
        ecgs: embedded by the student under test.
        trunk: (r, F) float32, features of its trunk.
        spaces: of the student under test, by suffix of the protocols' names.
        others: spaces of the compared students.
        features: mean embeddings (r, D) by model, the student under test first.
        measurements: (r, f) of the filtered ECGs, columns as in echoingecg.ecg.beats.NAMES.
    """

    ecgs: embed.GaussianTable
    trunk: np.ndarray
    spaces: dict[str, Space | names.Skipped]
    others: tuple[Space, ...]
    features: dict[str, np.ndarray]
    measurements: np.ndarray

    def prompted(self, protocol: str) -> Iterator[tuple[str, Space | names.Skipped]]:
        """Name in the tables and space, for each space in which a prompted protocol runs."""
        for suffix, space in self.spaces.items():
            yield protocol + suffix, space
        for space in self.others:
            yield names.at_model(protocol, space.model), space


def read_models(
    inputs: EvaluationInputs, pairs: EvaluationPairs, settings: EvaluationSettings, progress: Progress
) -> Models:
    """Embeds the paired ECGs by every model, and measures them.

    Args:
        inputs: of the stage.
        pairs: of the same inputs.
        settings: say whether to centre.
        progress: receives the number of ECGs done.

    Raises:
        ContractError: a student's output is not finite or of another width than it should be.
        UserError: an external model lacks a paired ECG.
    """
    ecgs, trunk = embed.embed_with_features(inputs.student, inputs.signals, pairs.signal_row, inputs.dim, progress)
    own = student_space(inputs.student, ecgs)
    centring = (pairs.split == "train", inputs.training_texts) if settings.centre else None
    others = tuple(
        student_space(other, embed.embed_ecgs(other, inputs.signals, pairs.signal_row, other.dim, progress), name)
        for name, other in inputs.compared.items()
    )
    external = {}
    for name, table in inputs.external.items():
        external[name] = external_features(name, table, [inputs.content_hashes[row] for row in pairs.signal_row])
    return Models(
        ecgs=ecgs,
        trunk=trunk,
        spaces=all_spaces(own, inputs.teacher, centring),
        others=others,
        features={names.STUDENT: ecgs.mean} | {space.model: space.ecgs.mean for space in others} | external,
        measurements=_measure_ecgs(inputs.signals, pairs.signal_row),
    )


def _measure_ecgs(signals: embed.Signals, rows: np.ndarray) -> np.ndarray:
    parts = [
        measure_ecgs(signals.read(rows[first : first + embed.CHUNK])) for first in range(0, len(rows), embed.CHUNK)
    ]
    return np.concatenate([np.empty((0, len(MEASUREMENT_NAMES))), *parts])


@dataclass(frozen=True)
class LinearScore:
    """A probability whose logit is linear in the mean embedding: sigmoid(weight . mean + bias).

    Attributes:
        weight: (D,) float64.
        bias: of the logit.
    """

    weight: np.ndarray
    bias: float

    @property
    def steepness(self) -> float:
        """Length of `weight`: by how much the logit changes at most when the embedding moves by 1."""
        return float(np.linalg.norm(self.weight))

    def scores(self, mean: np.ndarray) -> np.ndarray:
        """Probabilities in [0, 1], (n,) float64, of mean embeddings (n, D)."""
        return expit(self.log_odds(mean))

    def log_odds(self, mean: np.ndarray) -> np.ndarray:
        """Log-odds of the scores, (n,) float64, of mean embeddings (n, D)."""
        logit: np.ndarray = mean.astype(np.float64) @ self.weight + self.bias
        return logit
