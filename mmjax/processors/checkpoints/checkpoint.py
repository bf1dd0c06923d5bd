"""What prepares the inputs of a checkpoint: its pictures and its texts, from its own files.

* Pixels: pixels.py. Ids: those of the reference, with the special tokens, the side of
  padding and the longest length that the files say; special tokens that are written in a text are
  read as such, as there.
* The files are kept as they were read, and `save` writes them back.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import tokenizers

from mmjax.data.batching import Transform
from mmjax.data.captions import captions
from mmjax.data.source import Example
from mmjax.layers.patches import Patches
from mmjax.processors import base
from mmjax.processors.checkpoints import pixels as checkpoint_pixels
from mmjax.processors.checkpoints.pixels import Pixels
from mmjax.tokenizers import pretrained, sentencepiece

PICTURES = ("preprocessor_config.json", "processor_config.json")
TOKENIZER = ("tokenizer.json", "vocab.json", "vocab.txt", *pretrained.PIECES)
KEPT = (
    *PICTURES, *TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "merges.txt", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
ARGUMENTS = {"image": "images", "text": "ids", "text_mask": "mask"}  # of an encoder's call
DECODER_ARGUMENTS = {"text": "inputs", "text_mask": "mask"}  # layers/decoding.py
LONGEST = 1 << 20  # a model_max_length beyond it means that there is none


@dataclasses.dataclass(frozen=True)
class Tokens:
    """How a checkpoint's tokenizer turns texts into padded ids and their mask."""

    # with its own special tokens about a text; its repr is the whole vocabulary
    backend: tokenizers.Tokenizer = dataclasses.field(repr=False)
    pad: int  # the id of padding
    max_length: int | None = None  # tokens; longer texts are cut, special tokens kept
    padding: Literal["longest", "max_length"] = "longest"  # what a batch is padded to
    side: Literal["right", "left"] = "right"  # of the padding
    clean: Callable[[str], str] | None = None  # what a text goes through first
    read_padding: bool = False  # SigLIP: padding is part of a text, and the mask leaves nothing out

    def __call__(self, texts: str | Sequence[str]) -> dict[str, np.ndarray]:
        """ids int32 [B, L] and mask bool [B, L], True where a token is (or all is read)."""
        rows = [self.encode(one) for one in ([texts] if isinstance(texts, str) else texts)]
        length = max(map(len, rows))
        if self.padding == "max_length" and self.max_length is not None:
            length = self.max_length
        ids = np.full((len(rows), length), self.pad, np.int32)
        mask = np.full((len(rows), length), self.read_padding)
        for row, found in enumerate(rows):
            place = slice(0, len(found)) if self.side == "right" else slice(-len(found), None)
            ids[row, place if found else slice(0)] = found
            mask[row, place if found else slice(0)] = True
        return {"ids": ids, "mask": mask}

    def encode(self, text: str) -> list[int]:
        """Ids of one text with its special tokens, not padded."""
        text = self.clean(text) if self.clean else text
        encoded = self.backend.encode(text)
        if self.max_length is not None:
            if len(encoded) > self.max_length:  # cut before its special tokens are put about it
                more = self.backend.num_special_tokens_to_add(False)
                encoded = self.backend.encode(text, add_special_tokens=False)
                encoded.truncate(max(0, self.max_length - more))
                encoded = self.backend.post_process(encoded)
        return encoded.ids

    def decode(self, ids: Any) -> str:
        """Text of ids [L], special tokens left out."""
        return self.backend.decode([int(one) for one in ids], skip_special_tokens=True).strip()


@dataclasses.dataclass(frozen=True)
class PrepareImage:
    """`image`: a picture in any form -> float32 [H, W, C], as the checkpoint wants it."""

    pixels: Pixels
    field: ClassVar[str] = "image"
    deterministic: ClassVar[bool] = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        return {**example, "image": self.pixels([example["image"]])[0]}


@dataclasses.dataclass(frozen=True)
class PrepareText:
    """`text`: one or several texts -> ids int32 [L], or [K, L] with "text_mask"."""

    tokens: Callable[[Sequence[str]], dict[str, np.ndarray]]
    field: ClassVar[str] = "text"
    deterministic: ClassVar[bool] = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        found = self.tokens(captions(example))
        if not isinstance(example["text"], str | bytes):
            return {**example, "text": found["ids"], "text_mask": found["mask"]}
        return {**example, "text": found["ids"][0], "text_mask": found["mask"][0]}


@dataclasses.dataclass(frozen=True)
class Processor(base.Processor):
    """Prepares pictures, texts or both, as a checkpoint was trained on them."""

    pixels: Pixels | None  # None: it has no pictures
    tokens: Tokens | None  # None: it has no texts
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict, repr=False)  # its own
    # the model's names of what is prepared: a decoder reads "inputs"
    arguments: Mapping[str, str] = dataclasses.field(default_factory=lambda: ARGUMENTS, repr=False)
    ragged: ClassVar[Mapping[str, int]] = {"text": 2}

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        """Pixels and ids, of those that the checkpoint takes."""
        image = (PrepareImage(self.pixels),) if self.pixels else ()
        text = (PrepareText(self.tokens),) if self.tokens else ()
        return (*image, *text)

    @property
    def fill(self) -> Mapping[str, int]:
        return {"text": self.tokens.pad} if self.tokens else {}

    def __call__(self, images: Any = None, text: str | Sequence[str] | None = None) -> dict:
        """A batch: "images" (float32 [B, H, W, C], or Patches), "ids" and "mask" [B, L]; or by the
        names in `arguments`.

        Args:
          images: one or several of: a path, encoded bytes, a Pillow image, uint8 [H, W, 3].
        """
        batch: dict[str, np.ndarray | Patches] = {}
        if images is not None:
            batch[self.arguments["image"]] = _there(self.pixels, "pictures")(images)
        if text is not None:
            tokens = _there(self.tokens, "texts")(text)
            batch[self.arguments["text"]] = tokens["ids"]
            batch[self.arguments["text_mask"]] = tokens["mask"]
        return batch

    def inputs(self, fields: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """As every processor's."""
        return self(images=fields.get("image"), text=fields.get("text"))

    def show(self, arrays: Mapping[str, Any], row: int) -> dict[str, Any]:
        """The picture of a row, or several side by side, and its words."""
        shown: dict[str, Any] = {}
        if "image" in arrays and self.pixels is not None and self.pixels.patch is None:
            pixels = np.asarray(arrays["image"][row])
            several = pixels if pixels.ndim == 4 else pixels[None]
            shown["image"] = np.concatenate([self.pixels.undone(one) for one in several], axis=1)
        if "text" in arrays and self.tokens is not None:
            shown["text"] = self.tokens.decode(arrays["text"][row])
        return shown

    def resized(self, image_size: int) -> Processor:
        """Its file of pictures says so too."""
        if self.pixels is None:
            return super().resized(image_size)
        pixels = self.pixels.resized(image_size)
        files = dict(self.files)
        for name in PICTURES:
            written = _json(files, name)
            config = written.get("image_processor", written)
            if _of_pictures(config):
                config |= pixels.fields()
                files[name] = (json.dumps(written, indent=2) + "\n").encode()
                break
        return dataclasses.replace(self, pixels=pixels, files=files)

    def save(self, folder: str | Path) -> None:
        """Writes its files as they were read."""
        for name, content in self.files.items():
            (Path(folder) / name).write_bytes(content)


def _there(part: Any, what: str) -> Any:
    if part is None:
        raise ValueError(f"the checkpoint's folder has no file that says how {what} are prepared")
    return part


def load(
    folder: str | Path, arguments: Mapping[str, str] = ARGUMENTS, **settings: Any
) -> Processor | None:
    """Of a folder; None where it has neither kind of file.

    Args:
      arguments: field -> name of the argument of the model's call.
      settings: fields of `Tokens` that the family knows better than the files.
    """
    folder = Path(folder)
    files = {name: (folder / name).read_bytes() for name in KEPT if (folder / name).is_file()}
    pixels = None
    for name in PICTURES:
        config = _json(files, name)
        config = config.get("image_processor", config)
        if _of_pictures(config):
            pixels = checkpoint_pixels.from_config(config, str(folder / name))
            break
    has = any(name in files for name in TOKENIZER)
    tokens = _tokens(folder, settings) if has else None
    return Processor(pixels, tokens, files, arguments) if pixels or tokens else None


def _of_pictures(config: Mapping[str, Any]) -> bool:
    """Whether a file's fields are those of an image processor, in old files an "extractor"."""
    names = {"image_processor_type", "feature_extractor_type", "image_mean"}
    return bool(names & set(config)) and "sampling_rate" not in config


def _tokens(folder: Path, settings: Mapping[str, Any]) -> Tokens:
    tokenizer = pretrained.load(folder)
    backend = tokenizer.copy_of_backend()
    config = pretrained.settings_of(folder)
    pad = next((config[key] for key in ("pad_token", "eos_token") if config.get(key)), None)
    name = pad["content"] if isinstance(pad, Mapping) else pad
    number = backend.token_to_id(name) if name else None
    longest = config.get("model_max_length")
    fields: dict[str, Any] = {
        "pad": 0 if number is None else number,
        "max_length": longest if longest and longest < LONGEST else None,
        "side": config.get("padding_side", "right"),
        **settings,
    }
    if tokenizer.clean is not None:
        added = [token.content for token in backend.get_added_tokens_decoder().values()]
        added.sort(key=lambda token: token != sentencepiece.name_of(config["eos_token"]))
        fields["clean"] = dataclasses.replace(tokenizer.clean, apart=tuple(added))
    return Tokens(backend, **fields)


def _json(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    return json.loads(files[name]) if name in files else {}
