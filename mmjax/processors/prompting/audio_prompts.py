"""Prompts with sounds between their words, as Qwen2-Audio was trained on them.

    batch = processor(["dog.wav"], ["<|audio_bos|><|AUDIO|><|audio_eos|>What is it?"])
    part = {"type": "audio", "audio": "dog.wav"}
    batch = processor.chat([{"role": "user", "content": [part, {"type": "text", "text": "And?"}]}])
    generator(batch, Options(max_new_tokens=32))  # or model.apply(variables, **batch)

* The audio token of a text becomes as many as the model has vectors for that clip; ids and frames
  are those of `Qwen2AudioProcessor`, which pads every clip to 30 seconds: processors/sounds.py
  leaves the silence out. A clip that is longer is refused; the reference cuts it.
* Sounds are [B, M, T, F] with `audio_mask` [B, M, T]: each row has its own, in the order of its
  text, and zeros behind them.
* A folder without a chat template has the one that the reference's class has.

Letters: B batch, L tokens, M clips of a row at most, T frames, F mel bins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.data.source import DataError
from mmjax.models import vlm
from mmjax.processors.checkpoints import checkpoint, speech
from mmjax.processors.checkpoints.chat_template import ChatTemplate
from mmjax.processors.prompting import prompts
from mmjax.processors.sounds import Clips

STEP = 100  # frames, a second: few compilations
# Turns between <|im_start|> and <|im_end|>; clips are numbered through the conversation.
TEMPLATE = """\
{%- set clips = namespace(number=0) -%}
{%- if messages[0]['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{%- for turn in messages -%}
{{- '<|im_start|>' + turn['role'] + '\\n' -}}
{%- if turn['content'] is string -%}
{{- turn['content'] -}}
{%- else -%}
{%- for part in turn['content'] -%}
{%- if part['type'] == 'audio' or 'audio' in part or 'audio_url' in part -%}
{%- set clips.number = clips.number + 1 -%}
{{- 'Audio ' ~ clips.number ~ ': <|audio_bos|><|AUDIO|><|audio_eos|>\\n' -}}
{%- elif 'text' in part -%}
{{- part['text'] -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


@dataclasses.dataclass(frozen=True)
class Processor(prompts.Processor):
    """Prepares prompts with sounds."""

    audio_id: int = 0  # the audio token
    clips: Clips | None = None  # what becomes of a clip; None: the folder does not say
    kind: ClassVar[str] = "audio"
    thing: ClassVar[str] = "clip"
    keys: ClassVar[tuple[str, ...]] = ("audio", "audio_url", "path")

    def __call__(
        self,
        audio: Any = None,
        text: str | Sequence[str] | None = None,
        answers: str | Sequence[str] | None = None,
        special: bool = True,
    ) -> dict[str, np.ndarray]:
        """A batch: "inputs" and "mask" [B, L], "sounds" and "audio_mask" where there are any.

        Args:
          audio: those of all texts, one behind the other, or a list of each text's; each is a
            path, encoded bytes, samples at 16 kHz or a `Sound`.
          text: prompts, in which the audio token stands for a clip.
          answers: what is learned behind each prompt; "prefix" [B, L] is then True on the prompts.
          special: the tokenizer's own tokens stand about a text.

        Raises:
          DataError: clips that are more or fewer than audio tokens, a vocabulary without them.
          CorruptExample: a clip that cannot be read or is too long.
        """
        texts = [text] if isinstance(text, str) else list(text or ())
        if not texts:
            raise DataError("there is no text: a prompt with a clip has an audio token")
        token = self._written(self.audio_id)
        rows = self._by_row(audio, [one.count(token) for one in texts], token)
        if not any(rows):
            return self._batch(texts, answers, special)
        if self.clips is None:
            raise DataError("the checkpoint's folder does not say how sounds are prepared")
        heard = [[self.clips(clip) for clip in row] for row in rows]
        counts = [[int(self.clips.tower.tokens(clip.sound)) for clip in row] for row in heard]
        texts = [prompts.expanded(one, token, row) for one, row in zip(texts, counts, strict=True)]
        sounds = dict(zip(("sounds", "audio_mask"), self.clips.batch(heard), strict=True))
        return self._batch(texts, answers, special) | sounds

    @property
    def takes(self) -> tuple[str, ...]:
        """As every processor's."""
        return ("text",) if self.clips is None else ("audio", "text")

    def inputs(self, fields: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """As every processor's: a row's clip, or its list."""
        return self(fields.get("audio"), fields.get("text"))


def load(folder: Path, config: vlm.Config) -> Processor | None:
    """Of a checkpoint's folder; None where it has no texts."""
    read = checkpoint.load(folder, max_length=None)
    if read is None:
        return None
    clips = None
    if any(name in read.files for name in checkpoint.PICTURES):
        encoder = config.audio.encoder
        mel = speech.whisper(folder, bins=encoder.bins, seconds=encoder.frames / 100).mel
        clips = Clips(config.audio, mel, STEP)
    end = prompts.special_token(folder, "eos_token")
    template = prompts.template_of(folder, read) or ChatTemplate(TEMPLATE, {"eos_token": end})
    kwargs = dict(template=template, end=end, audio_id=config.audio_id, clips=clips)
    return Processor(None, read.tokens, read.files, **kwargs)
