"""The golden small model as its publisher would hand it over: a torch file, a joblib file, a tokenizer."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.preprocessing import StandardScaler
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from echoingecg.common import ContractError
from echoingecg.student.released.layout import ReleasedModel, read_released

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
VOCABULARY = 120


@dataclass(frozen=True)
class Case:
    """The files, and what is in them."""

    folder: Path
    state: dict[str, Tensor]

    @property
    def weights(self) -> Path:
        return self.folder / "echoingecg.pt"

    @property
    def scaler(self) -> Path:
        return self.folder / "ecg_scaler.pkl"

    @property
    def text(self) -> str:
        return str(self.folder / "bert")

    def write(self, state: object) -> None:
        torch.save(state, self.weights)

    def read(self) -> ReleasedModel:
        return read_released(self.weights, self.scaler, self.text)


def write_case(golden: Path, folder: Path) -> Case:
    """Writes the files of the golden small model."""
    source = golden / "released_layout"
    case = Case(folder, load_file(source / "state_dict.safetensors"))
    shutil.copyfile(source / "config.json", folder / "config.json")
    case.write(case.state)
    joblib.dump(fitted_scaler(), case.scaler)
    Path(case.text).mkdir()
    word_pieces().save(str(Path(case.text) / "tokenizer.json"))
    return case


def fitted_scaler(leads: int = 12, **options: bool) -> StandardScaler:
    """A StandardScaler of some leads, in the range of ECGs (mV), none like another."""
    random = np.random.default_rng(0)
    scale, mean = 0.02 * np.arange(1, leads + 1), 0.01 * np.arange(leads)
    return StandardScaler(**options).fit(random.normal(size=(50, leads)) * scale + mean)


def word_pieces() -> Tokenizer:
    """A WordPiece tokenizer of 120 tokens, as BERT's are made: letters, their continuations, a few words."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.%:-"
    words = ["ecg", "echo", "report", "data", "given", "the", "for", "is"]
    tokens = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words]
    tokens += [f"[unused{number}]" for number in range(VOCABULARY - len(tokens))]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def edit_config(case: Case, **changes: object) -> None:
    """Changes the BERT's part of the config.json beside the weights; None removes a field."""
    path = case.folder / "config.json"
    values = json.loads(path.read_text())
    values["bert"] = {key: value for key, value in (values["bert"] | changes).items() if value is not None}
    path.write_text(json.dumps(values))


def line_of(case: Case) -> str:
    """The one line that refuses the case's files."""
    with pytest.raises(ContractError) as caught:
        case.read()
    assert "\n" not in str(caught.value)
    return str(caught.value)
