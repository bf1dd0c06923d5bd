"""Transcript transform: what is said -> the token ids that Whisper's decoder reads and writes.

* A text is the prompt (start, language, task, no timestamps), the words and the end. The prompt is
  read, the rest is learned: `text_weight`.
* Words begin with a space, as in Whisper's training.
* A text of more tokens than the limit raises `CorruptExample`: cut, it would teach to stop early.

Letters: L tokens.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mmjax.data.source import CorruptExample, Example
from mmjax.tokenizers.bpe import Tokenizer


@dataclasses.dataclass(frozen=True)
class EncodeTranscript:
    """str -> `text` int32 [L] and `text_weight` float32 [L].

    Of an evaluation `text` is the prompt alone, behind which the model writes, and `answered` with
    `answered_weight` is the whole; where nothing is known to be said, the prompt is all there is.
    """

    tokenizer: Tokenizer
    prompt: tuple[int, ...]  # tokens that every text begins with
    end: int  # token that ends a text
    max_length: int  # L: tokens of a text at most, prompt and end included
    learned: bool  # of training: `text` is the whole; of an evaluation: the prompt
    field: str = "text"  # that it works on
    deterministic = True  # may be remembered by the pipeline's cache

    @property
    def padding(self) -> dict[str, int]:
        """The ids that shorter texts are padded with."""
        return {self.field: self.end, "answered": self.end}

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        ids = [*self.prompt, *self.words(example[self.field]), self.end]
        if len(ids) > self.max_length:
            raise CorruptExample(
                f"the text has {len(ids)} tokens with its prompt and end, more than "
                f"max_length={self.max_length}"
            )
        whole = np.asarray(ids, np.int32)
        weight = np.ones(len(ids), np.float32)
        weight[: len(self.prompt)] = 0.0
        if self.learned:
            return {**example, "text": whole, "text_weight": weight}
        prompt = np.asarray(self.prompt, np.int32)
        return {
            **example,
            "text": prompt,
            "text_weight": np.zeros(len(prompt), np.float32),
            "answered": whole,
            "answered_weight": weight,
        }

    def words(self, text: str) -> list[int]:
        """Ids of the words alone."""
        return self.tokenizer.encode(f" {text.strip()}")
