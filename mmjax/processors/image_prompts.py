"""Prompts with pictures between their words, as a vision-language checkpoint was trained on them.

    batch = processor(images=[cat, dog, cow], text=["<image> or <image>?", "a <image>"])
    batch = processor.chat([conversation, another])
    generator(batch, Options(max_new_tokens=32))  # or model.apply(variables, **batch)

* An image token of a text becomes as many as the model has vectors for a picture; ids and pixels
  are those of `LlavaProcessor` and `PaliGemmaProcessor`.
* Pictures are [B, M, H, W, C] with `image_mask` [B, M]: each row has its own, in the order of its
  text, and zeros behind them.

Letters: B batch, L tokens, M pictures of a row at most, H and W pixels, C channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.source import DataError
from mmjax.processors import chat_template, checkpoint, tiles
from mmjax.processors.chat_template import ChatTemplate, Message
from mmjax.tokenizers import pretrained


@dataclasses.dataclass(frozen=True)
class Processor(checkpoint.Processor):
    """Prepares prompts with pictures."""

    image_id: int = 0  # the image token
    image_tokens: int = 0  # that a picture becomes
    template: ChatTemplate | None = None  # how a conversation is written
    start: str = ""  # "<bos>": PaliGemma's, which stands behind the pictures
    end: str = ""  # "<eos>": behind an answer that is learned
    # AnyRes: rows and columns of tiles that a picture may be cut into, besides the whole; (): none
    grids: tuple[tuple[int, int], ...] = ()

    @property
    def image_token(self) -> str:
        """As it is written in a text.

        Raises:
          DataError: the tokenizer does not know it.
        """
        name = self._tokens.backend.id_to_token(self.image_id)
        if name is None:
            raise DataError(
                f"the image token, id {self.image_id}, is missing from the tokenizer's vocabulary "
                f"of {self._tokens.backend.get_vocab_size()}: add it there, or set image_id"
            )
        return name

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        answers: str | Sequence[str] | None = None,
        special: bool = True,
    ) -> dict[str, np.ndarray]:
        """A batch: "inputs" and "mask" [B, L], "images" and "image_mask" where there are any.

        Args:
          images: those of all texts, one behind the other, or a list of each text's; each is a
            path, encoded bytes, a Pillow image or uint8 [H, W, 3].
          text: prompts, in which the image token stands for a picture.
          answers: what is learned behind each prompt; "prefix" [B, L] is then True on the prompts.
          special: the tokenizer's own tokens stand about a text.

        Raises:
          DataError: pictures that are more or fewer than image tokens, a vocabulary without them.
        """
        texts = [text] if isinstance(text, str) else list(text or ())
        if not texts:
            raise DataError("there is no text: a prompt with a picture has an image token")
        token = self.image_token
        if self.start and images is not None and not any(token in one for one in texts):
            # PaliGemma's prompts may leave them out: the pictures come first then
            counts = _given(images, len(texts))
            texts = [token * count + one for count, one in zip(counts, texts, strict=True)]
        rows = _by_row(images, [one.count(token) for one in texts], token)
        rows = [[self._tiles(picture) for picture in row] for row in rows]
        if self.start:
            texts = [self._with_start(one) for one in texts]
            special = False
        texts = [self._expanded(one, row) for one, row in zip(texts, rows, strict=True)]
        ids = [self._ids(one, special) for one in texts]
        batch = {}
        if answers is not None:
            said = [answers] if isinstance(answers, str) else answers
            ids, read = self._answered(ids, said)
            batch["prefix"] = self._padded(read, False)
        batch["inputs"] = self._padded(ids, self._tokens.pad).astype(np.int32)
        batch["mask"] = self._padded([[True] * len(one) for one in ids], False)
        return batch | self._pictures([sum(row, []) for row in rows])

    def chat(
        self,
        conversations: Sequence[Message] | Sequence[Sequence[Message]],
        *,
        answer: bool = True,
        **variables: Any,
    ) -> dict[str, np.ndarray]:
        """The batch of one or several conversations; a part {"type": "image"} holds its picture.

        Args:
          answer: the model's answer is next.
          variables: more that the chat template reads.

        Raises:
          ChatTemplateError: no template, a broken one, or one that refuses the conversation.
          DataError: pictures that are more or fewer than the template puts down.
        """
        if self.template is None:
            raise chat_template.ChatTemplateError(
                "the checkpoint has no chat template: write the prompt yourself, or give it one"
            )
        if isinstance(conversations[0], Mapping):
            conversations = [conversations]
        texts = [self.template(one, answer=answer, **variables) for one in conversations]
        images = [pictures_of(one) for one in conversations]
        start = self.template.tokens.get("bos_token")
        written = start is not None and texts[0].startswith(start)
        return self(images if any(images) else None, texts, special=not written)

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer, as far as the tokenizer's settings say."""
        names = {self.end}
        if self.template is not None:
            names.add(self.template.tokens.get("eos_token", ""))
        ids = [self._tokens.backend.token_to_id(name) for name in sorted(names - {""})]
        return tuple(number for number in ids if number is not None)

    def decode(self, ids: Sequence[int]) -> str:
        """The words of an answer."""
        return self._tokens.decode(ids)

    @property
    def _tokens(self) -> checkpoint.Tokens:
        if self.tokens is None:
            raise DataError("the checkpoint's folder has no tokenizer")
        return self.tokens

    def _with_start(self, text: str) -> str:
        """PaliGemma's prompt: pictures, the start token, the question, the end of a line."""
        head, token, tail = text.rpartition(self.image_token)
        return f"{head}{token}{self.start}{tail}\n"

    def _tiles(self, picture: Any) -> list[Any]:
        """What the model reads of a picture: itself, or the whole and its tiles."""
        if not self.grids or self.pixels is None:
            return [picture]
        pixels = self.pixels
        edge = pixels.crop[0] if pixels.crop else pixels.height or pixels.shortest
        return tiles.tiles(picture, self.grids, edge, pixels.resample)

    def _expanded(self, text: str, pictures: Sequence[list[Any]]) -> str:
        """With as many image tokens as the pictures, and their tiles, have vectors."""
        words = text.split(self.image_token)
        counts = [self.image_tokens * len(one) for one in pictures]
        between = [self.image_token * count for count in counts]
        return "".join(a + b for a, b in zip(words, [*between, ""], strict=True))

    def _ids(self, text: str, special: bool) -> list[int]:
        if special:
            return self._tokens.encode(text)
        return self._tokens.backend.encode(text, add_special_tokens=False).ids

    def _answered(
        self, prompts: Sequence[list[int]], answers: Sequence[str]
    ) -> tuple[list[list[int]], list[list[bool]]]:
        """Prompts with the answers behind them, and which of their tokens are the prompt's."""
        if len(prompts) != len(answers):
            raise DataError(f"{len(prompts)} prompts have {len(answers)} answers")
        ids = []
        read = []
        for prompt, answer in zip(prompts, answers, strict=True):
            said = self._ids(f"{answer}{self.end}", False)
            ids.append([*prompt, *said])
            read.append([True] * len(prompt) + [False] * len(said))
        return ids, read

    def _padded(self, rows: Sequence[Any], fill: int) -> np.ndarray:
        length = max(map(len, rows))
        out = np.full((len(rows), length), fill)
        for row, values in enumerate(rows):
            first = length - len(values) if self._tokens.side == "left" else 0
            out[row, first : first + len(values)] = values
        return out

    def _pictures(self, rows: Sequence[Sequence[Any]]) -> dict[str, np.ndarray]:
        """Pixels of each row's pictures, and which are there."""
        if not any(rows):
            return {}
        if self.pixels is None:
            raise DataError("the checkpoint's folder does not say how pictures are prepared")
        counts = np.array([len(row) for row in rows])
        mask = np.arange(counts.max())[None] < counts[:, None]
        pixels = self.pixels([one for row in rows for one in row])
        images = np.zeros((*mask.shape, *pixels.shape[1:]), np.float32)
        images[mask] = pixels
        return {"images": images, "image_mask": mask}


def pictures_of(conversation: Sequence[Message]) -> list[Any]:
    """The pictures of a conversation, in order.

    Raises:
      DataError: a part that is no text and holds no picture.
    """
    pictures = []
    for message in conversation:
        content = message.get("content")
        for part in content if isinstance(content, list | tuple) else ():
            if part.get("type") == "image":
                held = [part[key] for key in ("image", "path") if part.get(key) is not None]
                if not held:
                    raise DataError(
                        f"a part of the {message.get('role')}'s message is an image, and holds "
                        "none: give it as 'image' or 'path'"
                    )
                pictures.append(held[0])
    return pictures


def _given(images: Any, texts: int) -> list[int]:
    """How many pictures each text has: as its list says, or one."""
    if isinstance(images, list | tuple) and images and isinstance(images[0], list | tuple):
        if len(images) != texts:
            raise DataError(f"{texts} texts have {len(images)} lists of pictures")
        return [len(own) for own in images]
    return [1] * texts


def _by_row(images: Any, counts: Sequence[int], token: str) -> list[list[Any]]:
    """The pictures of each text, of which `counts` are asked for."""
    if images is None:
        given: list[Any] = []
    elif isinstance(images, list | tuple):
        given = list(images)
    else:
        given = [images]
    if given and isinstance(given[0], list | tuple):
        if len(given) != len(counts):
            raise DataError(f"{len(counts)} texts have {len(given)} lists of pictures")
        for row, (own, count) in enumerate(zip(given, counts, strict=True)):
            if len(own) != count:
                raise DataError(f"text {row} has {count} {token} and {len(own)} pictures")
        return [list(own) for own in given]
    if len(given) != sum(counts):
        raise DataError(
            f"the texts have {sum(counts)} {token} and {len(given)} pictures: each picture has one"
        )
    ends = np.cumsum(counts)
    return [given[end - count : end] for end, count in zip(ends, counts, strict=True)]


def load(folder: Path, image_id: int, image_tokens: int, **fields: Any) -> Processor | None:
    """Of a checkpoint's folder; None where it has neither pixels nor texts.

    Args:
      fields: more of the processor.
    """
    read = checkpoint.load(folder, max_length=None)
    if read is None:
        return None
    settings = pretrained.settings_of(folder)
    template = chat_template.found(folder, settings, read.files)
    kwargs = dict(image_id=image_id, image_tokens=image_tokens, template=template, **fields)
    return Processor(read.pixels, read.tokens, read.files, **kwargs)


def special_token(folder: Path, key: str) -> str:
    """Of a tokenizer's settings: "bos_token"; "" where they do not say."""
    token = pretrained.settings_of(folder).get(key) or ""
    return token["content"] if isinstance(token, Mapping) else token
