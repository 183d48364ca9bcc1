"""EchoPrime: a video encoder and, where its files are there, a text encoder (Vukadinovic et al., arXiv 2410.09704).

Code and weights are MIT-licensed by their authors. Published preparation of a clip: every second of its first 32
frames, 224 x 224 px, normalised by mean and deviation of the authors' clips; a shorter clip is filled up with zeros.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.conventions import UserError
from echoingecg.teacher.networks.kind import TeacherKind, file_in, read_weights

if TYPE_CHECKING:
    from echoingecg.teacher.networks.frozen import FrozenTeacher

VIDEO, TEXT, VOCABULARY = "echo_prime_encoder.pt", "echo_prime_text_encoder.pt", "vocab.txt"
DIM = 512
_SIZE, _WINDOW, _STEP = 224, 16, 2
_MEAN, _STD = (29.110628, 28.076836, 29.096405), (47.989223, 46.456997, 47.20083)  # of values of 0 to 255
_CONTEXT = 512  # tokens
_HEAD_WIDTH = 64  # of BERT's attention


class Kind(TeacherKind):
    """EchoPrime's published files in a folder, `echo-prime:FOLDER`.

    The folder holds `echo_prime_encoder.pt`, and for sentences `echo_prime_text_encoder.pt` with the `vocab.txt` of
    BiomedBERT (uncased, abstracts). The view classifier and the weights of sections and views are not used: all clips
    of a study count alike.
    """

    def files(self) -> dict[str, Path]:
        """Finds the encoders. Raises UserError for a text encoder without its vocabulary."""
        folder = Path(self.place).expanduser()
        files = {"weights": file_in(self.settings, folder, (VIDEO,))}
        if (folder / TEXT).is_file():
            files |= {"text": folder / TEXT, "vocabulary": file_in(self.settings, folder, (VOCABULARY,))}
        return files

    def load(self, device: str, compiled: bool) -> "FrozenTeacher":
        """Builds the encoders; their weights must fit in every name and shape."""
        from torch import nn
        from torchvision.models.video import mvit_v2_s

        from echoingecg.teacher.networks.frozen import FrozenTeacher, Preprocessing

        if self.settings.image_size not in (0, _SIZE):
            raise UserError(f"teacher.image_size: EchoPrime takes {_SIZE} px, its positions are fixed")
        network = mvit_v2_s(weights=None)
        network.head[-1] = nn.Linear(network.head[-1].in_features, DIM)
        files = self.files()
        network.load_state_dict(read_weights(files["weights"]))
        mean, deviation = ([value / 255 for value in values] for values in (_MEAN, _STD))
        preprocessing = Preprocessing(_SIZE, mean, deviation, _WINDOW, _STEP, "zeros")
        encode = _text_encoder(files["text"], files["vocabulary"]) if "text" in files else None
        return FrozenTeacher(network, preprocessing, self.settings, device, compiled, encode)


def _text_encoder(weights: Path, vocabulary: Path) -> Any:
    """Builds a BERT that projects the state of the first token, [CLS], to 512 numbers.

    Depth and width are read from the weights; the published ones are those of BERT base.
    """
    import torch
    from torch import nn
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

    state = read_weights(weights)
    words, width = state["backbone.bert.embeddings.word_embeddings.weight"].shape
    layers = {key.split(".")[4] for key in state if key.startswith("backbone.bert.encoder.layer.")}
    config = BertConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=len(layers),
        num_attention_heads=width // _HEAD_WIDTH,
        intermediate_size=len(state["backbone.bert.encoder.layer.0.intermediate.dense.weight"]),
        max_position_embeddings=len(state["backbone.bert.embeddings.position_embeddings.weight"]),
    )
    whole = nn.ModuleDict({"backbone": BertForMaskedLM(config), "text_projection": nn.Linear(width, DIM)})
    whole.load_state_dict(state)
    whole.eval().requires_grad_(False)
    tokenizer = cache(lambda: BertTokenizerFast(vocab_file=str(vocabulary), do_lower_case=True))

    def encode(texts: list[str], where: torch.device) -> torch.Tensor:
        whole.to(where)
        tokens = tokenizer()(texts, padding=True, truncation=True, max_length=_CONTEXT, return_tensors="pt").to(where)
        states = whole["backbone"](**tokens, output_hidden_states=True).hidden_states[-1]
        projected: torch.Tensor = whole["text_projection"](states[:, 0])
        return projected

    return encode
