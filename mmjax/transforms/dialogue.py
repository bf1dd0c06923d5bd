"""Conversations with pictures: turns -> token ids, each token marked as read or as to be said.

* A conversation is a list of turns, {"role": "user" | "assistant" | "system", "content": text}.
  "<image>" in a text is the place of the example's next picture; where no text names a place, the
  pictures stand before the first turn of the user.
* Each turn is `<role>`, its words, and `<end>`. A picture is as many `<image>` tokens as the model
  makes of it. Only what the assistant says is learned, its `<end>` included.
* To answer, the last turn of the assistant is left out, and its `<assistant>` stands last.

Letters: M pictures, P tokens of one, L tokens.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mmjax.data.batching import Transform
from mmjax.data.source import CorruptExample, Example
from mmjax.tokenizers.bpe import Tokenizer

IMAGE = "<image>"
END = "<end>"
PADDING = "<pad>"
ROLES = {"user": "<user>", "assistant": "<assistant>", "system": "<system>"}
SPECIALS = (PADDING, END, IMAGE, *ROLES.values())


@dataclasses.dataclass(frozen=True)
class AsConversation:
    """A question and its answer as a conversation, where an example has none."""

    question: str = "text"  # field
    answer: str = "answer"  # field; without it there is only the question
    conversation: str = "conversation"  # field that is made
    deterministic = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        if self.conversation in example:
            return example
        if self.question not in example:
            raise CorruptExample(f"neither a {self.conversation!r} nor a {self.question!r}")
        turns = [{"role": "user", "content": example[self.question]}]
        if self.answer in example:
            turns.append({"role": "assistant", "content": example[self.answer]})
        return {**example, self.conversation: turns}


@dataclasses.dataclass(frozen=True)
class EachImage:
    """One encoded picture or several -> `image` [M, ...]: each goes through the transforms."""

    transforms: tuple[Transform, ...]  # of a single picture
    field: ClassVar[str] = "image"

    @property
    def deterministic(self) -> bool:
        return all(getattr(one, "deterministic", False) for one in self.transforms)

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        pictures = example["image"]
        if not isinstance(pictures, (list, tuple)):
            pictures = [pictures]
        made = []
        for picture in pictures:
            single: Example = {"image": picture}
            for transform in self.transforms:
                single = transform(single, rng)
            made.append(single["image"])
        return {**example, "image": np.stack(made)}


@dataclasses.dataclass(frozen=True)
class EncodeConversation:
    """`conversation` -> `text` int32 [L], and to learn from `text_weight` float32 [L]; 1: is to be
    said."""

    tokenizer: Tokenizer
    image_tokens: int  # P
    max_length: int  # tokens at most, pictures included; a longer conversation is corrupt
    answered: bool  # False: up to where the assistant is to answer
    field: ClassVar[str] = "conversation"
    deterministic = True

    @property
    def padding(self) -> dict[str, int]:
        return {"text": self.tokenizer.special[PADDING]}

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        turns = checked(example["conversation"])
        if not self.answered and turns[-1]["role"] == "assistant":
            turns = turns[:-1]
        pictures = len(example["image"]) if "image" in example else 0
        turns = placed(turns, pictures)
        ids: list[int] = []
        weight: list[float] = []
        for turn in turns:
            said = self._turn(turn)
            ids += said
            learned = float(turn["role"] == "assistant")
            weight += [0.0] + [learned] * (len(said) - 1)  # the role itself is given
        if not self.answered:
            ids.append(self.tokenizer.special[ROLES["assistant"]])
        if len(ids) > self.max_length:
            raise CorruptExample(
                f"the conversation has {len(ids)} tokens, more than max_length={self.max_length}"
            )
        made = {**example, "text": np.asarray(ids, np.int32)}
        if self.answered:
            made["text_weight"] = np.asarray(weight, np.float32)
        return made

    def _turn(self, turn: Mapping[str, Any]) -> list[int]:
        special = self.tokenizer.special
        ids = [special[ROLES[turn["role"]]]]
        for number, words in enumerate(turn["content"].split(IMAGE)):
            if number:
                ids += [special[IMAGE]] * self.image_tokens
            ids += self.tokenizer.encode(words)
        return [*ids, special[END]]


def checked(turns: Any) -> list[Mapping[str, Any]]:
    """The turns of a conversation. Raises CorruptExample for what is none."""
    if not isinstance(turns, Sequence) or isinstance(turns, (str, bytes)) or not len(turns):
        raise CorruptExample("a conversation is a list of turns, and has one at least")
    for number, turn in enumerate(turns):
        if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), str):
            raise CorruptExample(f'turn {number} is no {{"role": ..., "content": text}}')
        if turn.get("role") not in ROLES:
            raise CorruptExample(
                f"turn {number} has the role {turn.get('role')!r}; there are {', '.join(ROLES)}"
            )
    return list(turns)


def placed(turns: Sequence[Mapping[str, Any]], pictures: int) -> list[Mapping[str, Any]]:
    """The turns with a place for each picture. Raises CorruptExample where they do not agree."""
    places = sum(turn["content"].count(IMAGE) for turn in turns)
    if places == pictures:
        return list(turns)
    if places:
        raise CorruptExample(f"{pictures} pictures, but {IMAGE} stands {places} times in the text")
    out = list(turns)
    for number, turn in enumerate(out):
        if turn["role"] == "user":
            out[number] = {**turn, "content": IMAGE * pictures + turn["content"]}
            return out
    raise CorruptExample(f"{pictures} pictures, but no turn of the user to put them before")
