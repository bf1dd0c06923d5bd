"""Conversations with pictures and sounds: turns -> token ids, marked as read or as to be said.

* A conversation is a list of turns, {"role": "user" | "assistant" | "system", "content": text}, or
  LLaVA's {"from": "human" | "gpt" | "system", "value": text}.
  "<image>" in a text is the place of the example's next picture, "<audio>" of its next clip,
  "<video>" of its next video; where no text names a place, they stand before the first turn of the
  user. A content of parts holds them itself (data/messages.py).
* Each turn is `<role>`, its words, and `<end>`. A picture is as many `<image>` tokens as the model
  makes of it, a clip as many `<audio>` tokens as its own length gives, a video likewise. Only what
  the assistant says is learned, its `<end>` included.
* In words (LLaVA-1.5, https://arxiv.org/abs/2310.03744) the roles are "USER:" and "ASSISTANT:",
  only answers have an end, and the language model's own start stands first: nothing is new to it.
* To answer, the last turn of the assistant is left out, and its `<assistant>` stands last. What
  could be said to that, the whole conversation, stands beside it under a name of its own.

Letters: M pictures, P tokens of one, L tokens.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mmjax.data import messages
from mmjax.data.batching import Transform
from mmjax.data.messages import CLIPS, IMAGES, KINDS, VIDEOS
from mmjax.data.source import CorruptExample, Example
from mmjax.tokenizers.bpe import Tokenizer

IMAGE = IMAGES.token
AUDIO = CLIPS.token
VIDEO = VIDEOS.token
END = "<end>"
PADDING = "<pad>"
ROLES = {"user": "<user>", "assistant": "<assistant>", "system": "<system>"}
LLAVA_ROLES = {"human": "user", "gpt": "assistant", "system": "system"}
SPOKEN = {"user": "USER:", "assistant": "ASSISTANT:", "system": ""}  # roles in words
SPECIALS = (PADDING, END, IMAGE, *ROLES.values())
OTHERS = {"audio": "sounds", "video": "videos"}  # senses that say how many tokens a thing becomes
DIMENSIONS = {"image": 4, "audio": 3, "video": 5}  # axes of a row's things once they are prepared


@dataclasses.dataclass(frozen=True)
class AsConversation:
    """A question and its answer as a conversation, where an example has none; one in LLaVA's form
    in the form of the house."""

    question: str = "text"  # field
    answer: str = "answer"  # field; without it there is only the question
    conversation: str = "conversation"  # field that is made
    deterministic = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        if self.conversation in example:
            turns = example[self.conversation]
            if messages.in_parts(turns):
                return self._joined(example)
            if not _in_llava_form(turns):
                return example
            return {**example, self.conversation: list(map(_from_llava, turns, range(len(turns))))}
        if self.question not in example:
            raise CorruptExample(f"neither a {self.conversation!r} nor a {self.question!r}")
        turns = [{"role": "user", "content": example[self.question]}]
        if self.answer in example:
            turns.append({"role": "assistant", "content": example[self.answer]})
        return {**example, self.conversation: turns}

    def _joined(self, example: Example) -> Example:
        """A conversation whose messages have parts."""
        turns, held = messages.joined(checked(example[self.conversation], parts_too=True))
        for field in held:
            if things_of(example, field):
                raise CorruptExample(
                    f"{messages.KINDS[field].things} in parts of messages and in {field!r} "
                    "besides: give them in one of the two"
                )
        return {**example, self.conversation: turns, **held}


@dataclasses.dataclass(frozen=True)
class EachImage:
    """Encoded pictures, one, several or none -> `image` [M, ...]: each goes through the
    transforms."""

    transforms: tuple[Transform, ...]  # of a single picture, which make float32
    image_size: int  # pixels along each edge, where there is none
    most: int  # M; an example with more is corrupt
    field: ClassVar[str] = "image"

    @property
    def deterministic(self) -> bool:
        return all(getattr(one, "deterministic", False) for one in self.transforms)

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        pictures = things_of(example, "image")
        if len(pictures) > self.most:
            raise CorruptExample(f"{len(pictures)} pictures, more than max_images={self.most}")
        if not pictures:
            edge = self.image_size
            return {**example, "image": np.zeros((0, edge, edge, 3), np.float32)}
        made = []
        for picture in pictures:
            single: Example = {"image": messages.contents(picture, "picture")}
            for transform in self.transforms:
                single = transform(single, rng)
            made.append(single["image"])
        return {**example, "image": np.stack(made)}


@dataclasses.dataclass(frozen=True)
class EncodeConversation:
    """`conversation` -> `text` int32 [L] and `text_weight` float32 [L]; 1: what the assistant says.

    To answer: `text` up to there, and `answered`, `answered_weight` [L] with what was said.
    """

    tokenizer: Tokenizer
    image_tokens: int  # P; 0: the model does not see, and pictures are refused
    max_length: int  # tokens at most, pictures and clips included; a longer one is corrupt
    answered: bool  # False: up to where the assistant is to answer
    in_words: bool = False  # roles are words, not tokens of their own
    field: ClassVar[str] = "conversation"
    deterministic = True

    @property
    def padding(self) -> dict[str, int]:
        padding = self.tokenizer.special[PADDING]
        return {"text": padding, "answered": padding}

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        turns = checked(example["conversation"])
        counts = self._counts(example)
        whole = self._encoded(turns, counts)
        if self.answered:
            return {**example, **_named("text", whole)}
        if turns[-1]["role"] == "assistant":
            turns = turns[:-1]
        ids, weight = self._encoded(turns, counts)
        role = self._role("assistant")
        prompt = ids + role, weight + [0.0] * len(role)
        self._check(prompt[0])
        return {**example, **_named("text", prompt), **_named("answered", whole)}

    def _counts(self, example: Example) -> dict[str, list[int]]:
        """By token, how many of it each thing takes.

        Raises:
          CorruptExample: sounds or videos for a tokenizer that has no token for them.
        """
        counts = {IMAGE: [self.image_tokens] * len(things_of(example, "image"))}
        if counts[IMAGE] and not self.image_tokens:
            raise CorruptExample(f"{len(counts[IMAGE])} pictures, more than max_images=0")
        for field, things in OTHERS.items():
            token = KINDS[field].token
            if token in self.tokenizer.special:
                counts[token] = list(example.get(f"{field}_tokens", ()))
            elif things_of(example, field):
                raise CorruptExample(
                    f"the conversation has {things}, and the processor takes none: {field}"
                )
        return counts

    def _encoded(
        self, turns: Sequence[Mapping[str, Any]], counts: Mapping[str, Sequence[int]]
    ) -> tuple[list[int], list[float]]:
        """Token ids, and the weight of each."""
        ids: list[int] = []
        if self.in_words and "<start>" in self.tokenizer.special:
            ids.append(self.tokenizer.special["<start>"])
        weight = [0.0] * len(ids)
        left = {token: iter(each) for token, each in counts.items()}
        for turn in placed(turns, {token: len(each) for token, each in counts.items()}):
            role = self._role(turn["role"])
            said = self._said(turn, left)
            ids += role + said
            learned = float(turn["role"] == "assistant")
            weight += [0.0] * len(role) + [learned] * len(said)  # the role itself is given
        self._check(ids)
        return ids, weight

    def _check(self, ids: Sequence[int]) -> None:
        if len(ids) > self.max_length:
            raise CorruptExample(
                f"the conversation has {len(ids)} tokens, more than max_length={self.max_length}"
            )

    def _role(self, role: str) -> list[int]:
        if self.in_words:
            return self.tokenizer.encode(SPOKEN[role])
        return [self.tokenizer.special[ROLES[role]]]

    def _said(self, turn: Mapping[str, Any], left: Mapping[str, Iterator[int]]) -> list[int]:
        """Words and tokens of a turn, which takes its things from those that are left."""
        special = self.tokenizer.special
        ids: list[int] = []
        for piece in re.split("|".join(f"({token})" for token in left), turn["content"]):
            if piece in left:
                ids += [special[piece]] * next(left[piece])
            elif piece:
                ids += self.tokenizer.encode(piece)
        if not self.in_words or turn["role"] == "assistant":
            ids.append(special[END])
        return ids


def things_of(example: Example, field: str) -> list[Any]:
    """Pictures or clips of an example that has one, several or none."""
    things = example.get(field, ())
    several = type(things) in (list, tuple)  # a sound with its rate is one
    prepared = isinstance(things, np.ndarray) and things.ndim == DIMENSIONS[field]
    return list(things) if several or prepared else [things]


def _named(name: str, encoded: tuple[list[int], list[float]]) -> dict[str, np.ndarray]:
    """The fields of a text and its weights."""
    ids, weight = encoded
    return {name: np.asarray(ids, np.int32), f"{name}_weight": np.asarray(weight, np.float32)}


def _in_llava_form(turns: Any) -> bool:
    if not isinstance(turns, (list, tuple)):
        return False
    return any(isinstance(turn, Mapping) and "from" in turn for turn in turns)


def _from_llava(turn: Any, number: int) -> Any:
    """A turn in the form of the house. Raises CorruptExample for a role that there is not."""
    if not isinstance(turn, Mapping) or "from" not in turn:
        return turn  # whatever it is, it is named where it is read
    role = turn["from"]
    if role not in LLAVA_ROLES:
        raise CorruptExample(f"turn {number} is from {role!r}; there are {', '.join(LLAVA_ROLES)}")
    return {"role": LLAVA_ROLES[role], "content": turn.get("value")}


def checked(turns: Any, *, parts_too: bool = False) -> list[Mapping[str, Any]]:
    """The turns of a conversation. Raises CorruptExample for what is none.

    parts_too: a content may be a list of parts.
    """
    if not isinstance(turns, Sequence) or isinstance(turns, (str, bytes)) or not len(turns):
        raise CorruptExample("a conversation is a list of turns, and has one at least")
    kinds = (str, list, tuple) if parts_too else str
    for number, turn in enumerate(turns):
        if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), kinds):
            raise CorruptExample(f'turn {number} is no {{"role": ..., "content": text}}')
        if turn.get("role") not in ROLES:
            raise CorruptExample(
                f"turn {number} has the role {turn.get('role')!r}; there are {', '.join(ROLES)}"
            )
    return list(turns)


def placed(
    turns: Sequence[Mapping[str, Any]], counts: Mapping[str, int]
) -> list[Mapping[str, Any]]:
    """The turns with a place for each thing. Raises CorruptExample where they do not agree.

    counts: by token, how many there are.
    """
    names = {kind.token: kind.things for kind in messages.KINDS.values()}
    first = ""
    for token, count in counts.items():
        places = sum(turn["content"].count(token) for turn in turns)
        if not places:
            first += token * count
        elif places != count:
            raise CorruptExample(
                f"{count} {names[token]}, but {token} stands {places} times in the text"
            )
    if not first:
        return list(turns)
    out = list(turns)
    for number, turn in enumerate(out):
        if turn["role"] == "user":
            out[number] = {**turn, "content": first + turn["content"]}
            return out
    here = " and ".join(f"{count} {names[token]}" for token, count in counts.items() if count)
    raise CorruptExample(f"{here}, but no turn of the user to put them before")
