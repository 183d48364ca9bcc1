"""The training data: signals, teacher targets, and the pairs of the training and the validation split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.conventions import Method, Split
from echoingecg.common import ContractError, fingerprint, hash_array

Kind = Literal["ecg_echo", "ecg_text"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class SignalReader(Protocol):
    """Random access to ECGs in mV, leads in the order of conventions.LEADS, not standardised."""

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Reads the rows (n,) int64 as (n, 12, 1000) float32, in the given order. May be called from any thread."""
        ...


@dataclass(frozen=True)
class EchoPairs:
    """P ECG-echo pairs.

    Attributes:
        ecg: (P,) int64, rows of the signals.
        study: (P,) int64, rows of the teacher's targets.
    """

    ecg: np.ndarray
    study: np.ndarray

    def __len__(self) -> int:
        return len(self.ecg)


@dataclass(frozen=True)
class TextPairs:
    """P ECG-text pairs.

    Attributes:
        ecg: (P,) int64, rows of the signals.
        text: P reports, without prompt.
        method: the examination that each report describes.
    """

    ecg: np.ndarray
    text: tuple[str, ...]
    method: tuple[Method, ...]

    def __len__(self) -> int:
        return len(self.ecg)


@dataclass(frozen=True)
class Pairs:
    """The pairs of one split."""

    echo: EchoPairs
    text: TextPairs

    def count(self, kind: Kind) -> int:
        """Returns the number of pairs of one kind."""
        return len(self.echo if kind == "ecg_echo" else self.text)

    @property
    def ecgs(self) -> np.ndarray:
        """The signals' rows that occur in the pairs, each once, ascending; int64."""
        return np.union1d(self.echo.ecg, self.text.ecg)


@dataclass(frozen=True)
class TrainingData:
    """All data that training reads.

    Attributes:
        signals: the ECGs.
        target_mean: (S, D) float32, unit-length teacher mean of each study.
        target_log_var: (S, D) float32, log-variance of each study.
        train: pairs to learn from; the scaler is fitted on their ECGs.
        validation: pairs for early stopping; may be empty.
    """

    signals: SignalReader
    target_mean: np.ndarray
    target_log_var: np.ndarray
    train: Pairs
    validation: Pairs

    @classmethod
    def from_tables(
        cls,
        signals: SignalReader,
        record_ids: Sequence[str],
        study_ids: Sequence[str],
        target_mean: np.ndarray,
        target_log_var: np.ndarray,
        ecg_echo: pa.Table,
        ecg_text: pa.Table,
    ) -> Self:
        """Makes training data from the tables of the pairs artefact.

        Args:
            signals: the ECGs; row i is record_ids[i].
            record_ids: of the signals.
            study_ids: row i of the targets is study_ids[i].
            target_mean: (S, D) float32.
            target_log_var: (S, D) float32.
            ecg_echo: table of contract pairs.ECG_ECHO.
            ecg_text: table of contract pairs.ECG_TEXT.

        Raises:
            ContractError: a pair names an ECG or a study that is not there.
        """

        def split(name: Split) -> Pairs:
            echo, text = (table.filter(pc.equal(table["split"], name)) for table in (ecg_echo, ecg_text))
            return Pairs(
                EchoPairs(_rows(echo["record_id"], record_ids, "ECG"), _rows(echo["study_id"], study_ids, "study")),
                TextPairs(
                    _rows(text["record_id"], record_ids, "ECG"),
                    tuple(text["text"].to_pylist()),
                    tuple(text["method"].to_pylist()),
                ),
            )

        return cls(signals, target_mean, target_log_var, split("train"), split("validation"))

    @property
    def dim(self) -> int:
        """Embedding width of the teacher."""
        return int(self.target_mean.shape[1])

    def fingerprint(self) -> str:
        """Returns a digest of pairs, targets and the number of signals; the signals' samples are not read."""
        arrays = [self.target_mean, self.target_log_var]
        texts = []
        for pairs in (self.train, self.validation):
            arrays += [pairs.echo.ecg, pairs.echo.study, pairs.text.ecg]
            texts += [pairs.text.text, pairs.text.method]
        return fingerprint([len(self.signals), [hash_array(array) for array in arrays], texts])


def _rows(names: pa.ChunkedArray, known: Sequence[str], what: str) -> np.ndarray:
    indices = pc.index_in(names, value_set=pa.array(known, pa.string()))
    if indices.null_count:
        raise ContractError(f"{indices.null_count} pairs name an {what} that its artefact lacks: run stage pairs again")
    return indices.to_numpy().astype(np.int64)
