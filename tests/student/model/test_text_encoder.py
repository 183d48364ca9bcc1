"""The prompt wrap, the built-in tokenizer, ragged batches."""

import numpy as np
import pytest
from tokenizers import Tokenizer

from echoingecg.common import TrainingError
from echoingecg.recipe import ModelSettings
from echoingecg.student.model.text_encoder import TokenisedTexts, built_in_tokenizer, text_tower, wrap


def test_wrap():
    expected = "Given the data for ECHO. The corresponding ECHO report is : lvef 55 %\n\n."
    assert wrap("LVEF 55 %", "ECHO") == expected


def test_words_punctuation_and_single_digits():
    tokenizer = built_in_tokenizer(["LVEF is 45%, LVEF"], 20)
    assert tokenizer.encode("lvef IS 54%.").tokens == ["[CLS]", "lvef", "is", "5", "4", "%", "[UNK]", "[SEP]"]


def test_vocabulary_is_sorted_by_count_then_word_and_holds_every_digit():
    vocabulary = built_in_tokenizer(["b b a a c 7"], 20).get_vocab()
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    assert words == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "7", "c", *"012345689"]


def test_equal_texts_equal_bytes_and_round_trip():
    texts = [f"word{i % 7} and {i}" for i in range(50)]
    one, two = (built_in_tokenizer(texts, 12).to_str(pretty=True) for _ in range(2))
    assert one == two
    assert Tokenizer.from_str(one).encode(texts[3]).ids == built_in_tokenizer(texts, 12).encode(texts[3]).ids


def test_batches_are_padded_to_their_longest():
    texts = ["a", "a b c", "", "a b"]
    tokenizer = built_in_tokenizer(texts, 4)
    tokens = TokenisedTexts.from_texts(tokenizer, texts, pad=0)
    assert len(tokens) == 4
    rows = np.array([3, 1, 2, 3])
    ids, mask = tokens.batch(rows)
    assert ids.shape == mask.shape == (4, 4)  # a b c and its ends were cut to 4
    for row, found, kept in zip(rows, ids, mask.bool(), strict=True):
        assert found[kept].tolist() == tokenizer.encode(texts[row]).ids
        assert not found[~kept].any()
    ids, _ = tokens.batch(np.array([2]))
    assert ids.shape == (1, 2)


def test_a_model_that_is_not_there_is_one_line_that_says_how(tmp_path):
    with pytest.raises(TrainingError, match="copy FOLDER here") as caught:
        text_tower(ModelSettings(text=str(tmp_path)), [])
    assert "\n" not in str(caught.value)


def test_a_local_folder(tmp_path):
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    backbone = BertModel(
        BertConfig(
            vocab_size=40,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            max_position_embeddings=16,
        )
    )
    backbone.save_pretrained(tmp_path)
    made = built_in_tokenizer(["one two three"], 16)
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(tmp_path)
    tower = text_tower(ModelSettings(text=str(tmp_path), text_tokens=16), [])
    expected = backbone.state_dict()
    assert all(tensor.equal(expected[name]) for name, tensor in tower.backbone.state_dict().items())
    assert tower.tokenizer.encode("one three").tokens == ["[CLS]", "one", "three", "[SEP]"]
    with pytest.raises(TrainingError, match="at most 16"):
        text_tower(ModelSettings(text=str(tmp_path), text_tokens=17), [])
