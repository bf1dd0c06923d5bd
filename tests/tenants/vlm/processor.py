"""Pictures and questions with answers: pixels, and one row of tokens that asks and answers."""

import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np

from mmjax.data.plan import Bucketed, buckets
from mmjax.processors import base
from mmjax.processors.base import AtLeast
from mmjax.tokenizers import bpe, words
from mmjax.transforms import images
from mmjax.transforms.decode import DecodeImage


@dataclasses.dataclass(frozen=True)
class Config:
    image_size: int = 16  # pixels along each edge
    max_length: int = 24  # tokens of a question with its answer


@dataclasses.dataclass(frozen=True)
class Ask:
    """`text`: <start> question <end> answer <pad>, and `text_weight`: 1 on what is to be said."""

    tokenizer: bpe.Tokenizer
    max_length: int
    answered: bool  # False: the prompt alone
    field: ClassVar[str] = "text"

    def __call__(self, example, rng=None):
        special = self.tokenizer.special
        ids = [special["<start>"], *self.tokenizer.encode(example["text"]), special["<end>"]]
        weight = [0.0] * len(ids)
        if self.answered:
            answer = [*self.tokenizer.encode(example["answer"]), special["<pad>"]]
            ids += answer
            weight += [1.0] * len(answer)
        made = {**example, "text": np.asarray(ids[: self.max_length], np.int32)}
        return {**made, "text_weight": np.asarray(weight[: self.max_length], np.float32)}


class Processor(base.Processor):
    ragged = {"text": 1, "text_weight": 1}
    arguments = {"image": "images", "text": "ids", "text_mask": "mask"}

    def __init__(self, config, tokenizer):
        self.config = config
        self.tokenizer = tokenizer
        size = config.image_size
        self.normalize = images.Normalize()
        self.pixels = (DecodeImage(), images.Resize(size), images.CenterCrop(size), self.normalize)

    @property
    def train(self):
        return (*self.pixels, Ask(self.tokenizer, self.config.max_length, True))

    @property
    def evaluate(self):
        return (*self.pixels, Ask(self.tokenizer, self.config.max_length, False))

    @property
    def sizes(self):
        special = self.tokenizer.special
        return {
            "decoder.vocab_size": AtLeast(self.tokenizer.vocab_size),
            "image_size": self.config.image_size,
            "end_id": special["<pad>"],
        }

    def lengths(self, source):
        ask = self.train[-1]
        rows = [ask(source[row])["text"] for row in range(len(source))]
        return {"text": np.asarray([len(row) for row in rows])}

    def plan(self, plan, sources):
        lengths = [self.lengths(source)["text"] for source in sources]
        edges = buckets(self.config.max_length, most=2)
        return Bucketed(plan, lengths, edges, field="text", also=("text_weight",))

    def shape(self, source):
        longest = int(self.lengths(source)["text"].max())
        return {"text": (longest,), "text_weight": (longest,)}

    def show(self, arrays, row):
        shown = {}
        if "image" in arrays:
            shown["image"] = self.normalize.undone(arrays["image"][row])
        ids = arrays["text"][row][np.asarray(arrays["text_mask"][row])]
        return {**shown, "text": self.tokenizer.decode(ids)}

    def save(self, folder):
        path = Path(folder) / "tokenizer.json"
        if not path.exists():
            self.tokenizer.save(path)


def build(config, sources, saved):
    if saved is not None and (saved / "tokenizer.json").exists():
        return Processor(config, bpe.load(saved / "tokenizer.json"))
    rows = [paper(config)]
    if sources is not None:
        rows = [row for source in sources() for row in source.examples]
    texts = [f"{row['text']} {row['answer']}" for row in rows]
    return Processor(config, words.train(texts, 200))


def paper(config):
    return {
        "image": np.zeros((16, 16, 3), np.uint8),
        "text": "what is the shape", "answer": "circle", "group": 0, "label": 0,
    }  # fmt: skip
