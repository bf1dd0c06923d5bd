"""Captions, questions and answers, with the tokens that say what a text is for."""

import dataclasses

import numpy as np
import pytest

from mmjax.config import ConfigError
from mmjax.data.source import InMemory
from mmjax.processors import captioning

RED = np.full((20, 30, 3), (255, 0, 0), np.uint8)
ROWS = [
    {"image": RED, "text": "what colour is it", "answer": "red"},
    {"image": RED, "text": "is it red", "answer": ("yes", "certainly")},
]
CONFIG = captioning.Config(
    image_size=8, max_length=8, answer_length=3, tokenizer="words", vocab_size=40
)


@pytest.fixture(scope="module")
def processor():
    return captioning.build(CONFIG, lambda: [InMemory(ROWS)], None)


def test_questions_are_read_and_answers_written(processor):
    special = processor.tokenizer.special
    sizes = processor.sizes
    assert (sizes["start_id"], sizes["match_id"]) == (special["[DEC]"], special["[ENC]"])
    assert sizes["end_ids"] == sizes["generate.end_ids"] == (special["<end>"],)
    assert sizes["context_length"] == 8
    rng = np.random.default_rng(0)
    answers = set()
    for _ in range(20):
        example = dict(ROWS[1])
        for transform in processor.train:
            example = transform(example, rng)
        answers.add(processor.decode(example["answer"]))
    assert answers == {"yes", "certainly"}
    batch = processor.encode(ROWS)
    assert processor.decode(batch["text"][0]) == "what colour is it"
    assert processor.fill["answer"] == processor.fill["text"] == special["<pad>"]


def test_a_caption_begins_as_it_is_told(processor):
    prompt = processor.prompt(["", "is it"])
    opening = processor.tokenizer.special["[DEC]"]
    assert prompt["mask"].tolist() == [[False, False, True], [True, True, True]]
    assert prompt["inputs"][0, 2] == prompt["inputs"][1, 0] == opening
    assert processor.decode(prompt["inputs"][1]) == "is it"


def test_it_comes_back_from_its_folder(processor, tmp_path):
    processor.save(tmp_path)
    assert captioning.build(CONFIG, None, tmp_path) == processor


def test_berts_vocabulary_gets_blips_tokens():
    config = dataclasses.replace(CONFIG, tokenizer="bert", start="[CLS]", end="[SEP]", pad="[PAD]")
    sizes = captioning.build(config, None, None).sizes
    assert (sizes["start_id"], sizes["match_id"], sizes["vocab_size"]) == (30_522, 30_523, 30_524)
    assert sizes["end_ids"] == (102,) and sizes["padding_id"] == 0


def test_packing_is_refused():
    with pytest.raises(ConfigError, match="set pack=0"):
        captioning.build(dataclasses.replace(CONFIG, pack=4), lambda: [InMemory(ROWS)], None)
