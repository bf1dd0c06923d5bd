"""What some models do to a text before their tokenizer sees it, by Python's own rules for letters.

* WebText, as `open_clip` and the first CLIP: broken encodings mended by `ftfy` ("cafÃ©", curly
  quotes, ligatures, full-width letters, control characters), HTML entities (twice: "&amp;lt;"),
  white space, lower case. It matters for captions from the web: "it’s" is other ids without it. A
  model that was trained with it is read with it; those of the hub's CLIPTokenizer were run without.
* Captions, as SigLIP (https://arxiv.org/abs/2303.15343): lower case, no ASCII punctuation, single
  spaces; then the letters as its SentencePiece model has them, by the `sentencepiece` package.
* A saved tokenizer has it under "clean" of its file.
"""

import base64
import dataclasses
import functools
import html
import re
import string
from collections.abc import Callable, Mapping
from typing import Any

from mmjax.errors import UserError

SPACE = "▁"  # U+2581, a space in a SentencePiece model's pieces
# A letter that no table rewrites or joins with the next: spaces behind it are not the text's first.
BEFORE = "\ue000"
PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclasses.dataclass(frozen=True)
class WebText:
    """Mended, unescaped, with single spaces, in lower case."""

    def __call__(self, text: str) -> str:
        import ftfy  # a twentieth of a second that other tokenizers need not wait

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
        return " ".join(text.split()).lower()


@dataclasses.dataclass(frozen=True)
class Captions:
    """Lower case, without ASCII punctuation, with single spaces; then a SentencePiece model's
    letters, where the model's file is at hand."""

    lowercase: bool = True
    charsmap: str | None = None  # base64 of the model's; None: the tokenizer has rules of its own
    apart: tuple[str, ...] = ()  # special tokens, left where a text writes them; the first ends it

    def __call__(self, text: str) -> str:
        if self.charsmap is not None:
            text = SPACE + text.replace(SPACE, " ")
        if not self.apart:
            return self._plain(text)
        names = sorted(map(re.escape, self.apart), key=len, reverse=True)
        parts = re.split(f"({'|'.join(names)})", text)  # what is apart is at odd places
        parts[::2] = map(self._plain, parts[::2])
        return "".join(parts).removesuffix(self.apart[0])  # the tokenizer puts it there

    def _plain(self, text: str) -> str:
        text = text.lower() if self.lowercase else text
        text = re.sub(r"\s+", " ", text.translate(PUNCTUATION)).strip()
        return text if self.charsmap is None else letters(self.charsmap)(text)


def model_message() -> type:
    """The protobuf message that a SentencePiece model is; imported late, for others need not wait.

    Raises UserError: the installed protobuf is older than the one that the package was made with.
    """
    try:
        from sentencepiece.sentencepiece_model_pb2 import ModelProto
    except Exception as error:  # of ImportError and of protobuf's own kinds
        raise UserError(
            f"the sentencepiece package does not work with the installed protobuf ({error}): "
            "`pip install --upgrade protobuf` mends it"
        ) from error
    return ModelProto


@functools.lru_cache(maxsize=4)
def letters(charsmap: str) -> Callable[[str], str]:
    """What a SentencePiece model does to letters: each rewritten by the table, spaces as SPACE, one
    for several and none at the end.

    charsmap: base64 of a model's `precompiled_charsmap`; "": letters stay. Raises RuntimeError: it
    is damaged.
    """
    from sentencepiece import SentencePieceNormalizer

    model = model_message()()
    model.normalizer_spec.precompiled_charsmap = base64.b64decode(charsmap)
    model.normalizer_spec.add_dummy_prefix = False
    normalizer = SentencePieceNormalizer(model_proto=model.SerializeToString())
    return lambda text: normalizer.normalize(BEFORE + text)[1:]


Clean = WebText | Captions
KINDS: Mapping[str, type[Clean]] = {"web": WebText, "captions": Captions}


def to_json(clean: Clean) -> dict[str, Any]:
    """A cleaner as a file describes it: its kind, and the fields that differ from the defaults."""
    kind = next(name for name, one in KINDS.items() if isinstance(clean, one))
    first = {one.name: one.default for one in dataclasses.fields(clean)}
    now = {name: getattr(clean, name) for name in first}
    return {"kind": kind} | {name: now[name] for name in first if now[name] != first[name]}


def from_json(fields: Mapping[str, Any]) -> Clean:
    """The cleaner that a file describes. Raises KeyError or TypeError where it is another's."""
    rest = {**fields}
    return KINDS[rest.pop("kind")](**rest)
