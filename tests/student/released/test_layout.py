"""Released weights: the text tower's configuration and tokenizer must be there and fit, nothing is guessed."""

import json

import pytest

from echoingecg.common import StoreError
from echoingecg.student.released.layout import read_released
from helpers.cases.released_files import edit_config, line_of


def test_attention_heads_are_never_guessed(case):
    assert case.read().bert.num_attention_heads == 4
    given = case.folder / "given.json"
    given.write_text(json.dumps(json.loads((case.folder / "config.json").read_text())["bert"]))
    (case.folder / "config.json").write_text("{}")
    assert "--text-config" in line_of(case)
    assert read_released(case.weights, case.scaler, case.text, given).bert.num_attention_heads == 4
    (case.folder / "config.json").unlink()
    assert "--text-config" in line_of(case)
    with pytest.raises(StoreError, match="no such file"):
        read_released(case.weights, case.scaler, case.text, case.folder / "none.json")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_attention_heads": 5}, "not a multiple"),
        ({"num_attention_heads": "4"}, "num_attention_heads: "),
        ({"model_type": "roberta"}, "model_type: "),
        ({"vocab_size": None}, "vocab_size: "),
        ({"hidden_act": "nonsense"}, "hidden_act: "),
        ({"num_hidden_layers": 3}, "16 missing, first 'text_encoder.backbone.encoder.layer.2."),
        ({"num_hidden_layers": 1}, "16 unknown, first 'text_encoder.backbone.encoder.layer.1."),
        ({"vocab_size": 121}, "word_embeddings.weight' is (120, 48), expected (121, 48)"),
    ],
)
def test_a_configuration_that_does_not_fit(case, changes, says):
    edit_config(case, **changes)
    assert says in line_of(case)


def test_the_tokenizer_must_be_there_and_of_the_weights(case):
    with pytest.raises(StoreError, match="hf download no/such-model") as caught:
        read_released(case.weights, case.scaler, "no/such-model")
    assert "\n" not in str(caught.value)
    path = case.folder / "bert/tokenizer.json"
    values = json.loads(path.read_text())
    del values["model"]["vocab"]["[unused0]"]
    path.write_text(json.dumps(values))
    assert "knows 119 words, the weights hold 120" in line_of(case)
    path.write_text("{}")
    assert "no tokenizer" in line_of(case)
