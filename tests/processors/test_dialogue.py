"""Conversations as batches: another number of pictures in each row, packed or apart."""

import dataclasses

import numpy as np
import pytest

from mmjax.config import ConfigError
from mmjax.processors import dialogue
from mmjax.transforms.dialogue import things_of
from tests.talks import GOOD, SOURCE, batch, picture, processor, talk


def test_rows_with_another_number_of_pictures():
    arrays = batch()
    counts = [len(things_of(row, "image")) for row in SOURCE.examples]
    assert arrays["image_mask"].sum(1).tolist() == [counts[row] for row in arrays["index"]]
    assert arrays["weight"].sum() == GOOD
    levels = arrays["image"][arrays["image_mask"]][:, 0, 0, 0]
    assert len(set(levels.tolist())) == 5
    assert processor().show(arrays, int(arrays["index"].argmin()))["image"].shape == (8, 8, 3)


def test_packed_rows_hold_what_rows_apart_hold():
    apart = batch()
    packed = batch(pack=3, pack_length=24)
    assert packed["text"].shape[0] == 2 and packed["text"].shape[2] == 24
    for name in ("image", "image_mask", "index", "weight"):
        np.testing.assert_array_equal(packed[name], apart[name])
    for row in range(len(SOURCE)):
        pack, place = divmod(row, 3)
        here = packed["text_segment"][pack] == place
        mask = apart["text_mask"][row]
        np.testing.assert_array_equal(packed["text"][pack][here], apart["text"][row][mask])
        weight = apart["text_weight"][row][mask]
        np.testing.assert_array_equal(packed["text_weight"][pack][here], weight)
        position = packed["text_position"][pack][here]
        np.testing.assert_array_equal(position, np.arange(mask.sum()))
        assert here.any(1).sum() == mask.any()  # in one row
        shown = processor(pack=3, pack_length=24).show(packed, row)
        assert shown["text"] == processor().show(apart, row)["text"]


def test_packs_that_cannot_be():
    with pytest.raises(ConfigError, match="does not divide into packs of 4"):
        batch(pack=4)
    with pytest.raises(ConfigError, match="of 'text' has length .*, a row has 10"):
        batch(pack=3, pack_length=10)


def test_an_evaluation_holds_the_prompt_and_what_was_said():
    arrays = processor().encode([SOURCE[2]])

    def words(ids):
        return processor().decode(ids.tolist())

    assert words(arrays["text"][0]) == "what a dog and it"
    assert words(arrays["answered"][0]) == "what a dog and it a cat"
    first = arrays["answered"][0][arrays["answered_weight"][0] > 0]
    assert words(first) == "a dog a cat"
    assert words(arrays["text"][0][arrays["text_weight"][0] > 0]) == "a dog"


def test_the_vocabulary_of_a_language_model(tmp_path):
    """What it lacks stands behind it, and it is as long as devices can share."""
    config = dataclasses.replace(processor().config, tokenizer="gpt2")
    made = dialogue.build(config, lambda: [SOURCE], None)
    assert made.sizes["image_id"] >= 50_257
    assert made.sizes["language.vocab_size"] == 50_304
    text = made.encode([SOURCE[0]])["text"][0].tolist()
    assert made.decode(text) == "what is it"
    made.save(tmp_path)
    again = dialogue.build(config, None, tmp_path)
    assert again.sizes == made.sizes
    in_words = dialogue.build(dataclasses.replace(config, roles="words"), lambda: [], None)
    assert in_words.sizes["image_id"] == 50_257  # nothing but a picture is new
    with pytest.raises(FileNotFoundError, match="no tokenizer 'llama'"):
        dialogue.build(dataclasses.replace(config, tokenizer="llama"), lambda: [], None)
    paper = dialogue.build(dataclasses.replace(config, tokenizer="llama"), None, None)
    assert paper.sizes["language.vocab_size"] == config.vocab_size


def test_a_batch_of_chats_with_and_without_pictures():
    shown = {"role": "user", "content": [{"type": "image", "image": picture(9)}]}
    made = processor().chat([[shown], talk("what")])
    assert set(made) == {"inputs", "mask", "images", "image_mask"}
    assert made["image_mask"].tolist() == [[True], [False]]
    assert set(processor().chat([talk("what")])) == {"inputs", "mask"}
