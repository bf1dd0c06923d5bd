"""A few conversations with two pictures, one or none, and their processor."""

import functools

import numpy as np

from mmjax.data.pipeline import Pipeline
from mmjax.data.plan import Mixture
from mmjax.data.source import InMemory
from mmjax.processors import dialogue

WORDS = dict(image_size=8, patch_size=4, max_images=2, max_length=40, tokenizer="words")


def picture(level):
    return np.full((8, 8, 3), level, np.uint8)


def talk(*said):
    roles = ("user", "assistant")
    return [{"role": roles[place % 2], "content": text} for place, text in enumerate(said)]


SOURCE = InMemory([
    {"image": [picture(10)], "conversation": talk("what is it", "a cat")},
    {"image": [picture(20), picture(30)], "conversation": talk("is <image> as <image>", "no")},
    {"conversation": talk("what", "a dog", "and it", "a cat")},
    {"conversation": talk("no answer to <image>", "no")},  # corrupt: there is no picture
    {"image": picture(40), "conversation": talk("what", "a", "<image>", "a dog")},
    {"image": [picture(50)], "conversation": talk("is it a cat", "no it is a dog")},
])  # fmt: skip
GOOD = 5


@functools.cache
def processor(**fields):
    return dialogue.build(dialogue.Config(**WORDS, **fields), lambda: [SOURCE], None)


def batch(**fields):
    """All rows, in the order of the first epoch."""
    one = processor(**fields)
    plan = one.plan(Mixture((len(SOURCE),), len(SOURCE), seed=1, steps=1), [SOURCE])
    return Pipeline([SOURCE], plan, one.train, seed=0).batch(0).arrays
