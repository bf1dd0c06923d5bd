"""SentencePiece's `.model` files: the ids of SigLIP, T5, Llama and Gemma.

SentencePiece https://arxiv.org/abs/1808.06226, unigram models https://arxiv.org/abs/1804.10959,
SigLIP's captions https://arxiv.org/abs/2303.15343.

* The `sentencepiece` package reads and checks the file; a `tokenizers` backend of its pieces is
  what encodes, so that it can be saved as a tokenizer.json and knows special tokens as others do.
* What is done to a text is only in part in the file; the rest is settled by the class that reads
  it. KINDS has the classes that are known.
* Ids are those of the same class in `transformers` 5. There T5, Llama and Gemma are a `tokenizers`
  backend as here; SigLIP is SentencePiece itself, behind lower case and without punctuation.
* SigLIP's texts come to the backend as cleaning.Captions leaves them.
* A BPE's merges are not in the file: they are the pairs of pieces that make a piece, in order.
"""

import base64
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from tokenizers import Tokenizer as Backend

from mmjax.tokenizers.bpe import Tokenizer, TokenizerError
from mmjax.tokenizers.cleaning import SPACE, Captions, model_message

# The numbers of algorithms in sentencepiece_model.proto.
UNIGRAM = 1
BPE = 2
ALGORITHMS = {UNIGRAM: "unigram", BPE: "BPE", 3: "word", 4: "char"}
# The numbers of types of a piece, there.
UNKNOWN = 2
CONTROL = 3
USER_DEFINED = 4


@dataclasses.dataclass(frozen=True)
class Model:
    """What mmjax uses of a `.model` file."""

    pieces: list[tuple[str, float]]  # with their scores
    types: list[int]  # of each piece
    algorithm: int  # UNIGRAM, BPE or another of ALGORITHMS
    byte_fallback: bool  # unknown letters are spelt in bytes
    charsmap: bytes  # how letters are normalised; empty: not at all

    @property
    def unknown(self) -> int:
        """The id that stands for text that no piece spells."""
        return self.types.index(UNKNOWN)


def read(path: Path) -> Model:
    """Reads a `.model` file. Raises TokenizerError where it is none, cut off or damaged."""
    message = model_message()()
    from sentencepiece import SentencePieceProcessor

    data = path.read_bytes()
    try:
        SentencePieceProcessor(model_proto=data)  # refuses what does not hang together
        message.ParseFromString(data)
        if not (message.HasField("trainer_spec") and message.HasField("normalizer_spec")):
            raise ValueError("it ends before the rules of its trainer and normalizer")
        charsmap = message.normalizer_spec.precompiled_charsmap
        # the table's texts lie behind its tree, whose size comes first; nobody else checks them
        charsmap[4 + int.from_bytes(charsmap[:4], "little") :].decode()
        pieces = [(piece.piece.encode().decode(), piece.score) for piece in message.pieces]
    except (RuntimeError, ValueError, AttributeError) as error:
        raise TokenizerError(
            f"{path} is no SentencePiece model, or it is cut off or damaged ({error}); fetch it "
            "again, or put a tokenizer.json beside it"
        ) from error
    return Model(
        pieces,
        [piece.type for piece in message.pieces],
        message.trainer_spec.model_type,
        message.trainer_spec.byte_fallback,
        charsmap,
    )


def _siglip(model: Model, settings: Mapping[str, Any]) -> Backend:
    backend = Backend(models.Unigram(model.pieces, model.unknown, model.byte_fallback))
    backend.decoder = decoders.Metaspace()
    for role in ("eos_token", "unk_token"):
        name = name_of(settings[role])
        backend.add_tokens([AddedToken(name, normalized=False, special=True)])
    return backend


def _t5(model: Model, settings: Mapping[str, Any]) -> Backend:
    extra = [(f"<extra_id_{n}>", 0.0) for n in reversed(range(settings["extra_ids"]))]
    backend = Backend(models.Unigram([*model.pieces, *extra], model.unknown, False))
    if model.charsmap:
        backend.normalizer = normalizers.Precompiled(model.charsmap)
    words = pre_tokenizers.WhitespaceSplit()
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.Metaspace()])
    backend.decoder = decoders.Metaspace()
    _add_pieces(backend, model)
    backend.add_special_tokens([AddedToken(name, normalized=False) for name, _ in extra])
    return backend


def _llama(model: Model, settings: Mapping[str, Any]) -> Backend:
    backend = _bpe(model)
    spaces = settings.get("add_prefix_space")
    scheme = "never" if spaces is False else "always" if settings.get("legacy") else "first"
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    if scheme != "never":
        backend.decoder = decoders.Sequence([backend.decoder, decoders.Strip(" ", 1, 0)])
    return backend


def _gemma(model: Model, settings: Mapping[str, Any]) -> Backend:
    backend = _bpe(model)
    backend.normalizer = normalizers.Replace(" ", SPACE)
    return backend


def _siglip2(model: Model, settings: Mapping[str, Any]) -> Backend:
    backend = _gemma(model, settings)
    rules = [normalizers.Lowercase(), backend.normalizer]
    backend.normalizer = normalizers.Sequence(rules)
    return backend


def _bpe(model: Model) -> Backend:
    numbers = {piece: number for number, (piece, _) in enumerate(model.pieces)}
    merges = [
        (piece[:cut], piece[cut:])
        for piece in numbers
        for cut in range(1, len(piece))
        if piece[:cut] in numbers and piece[cut:] in numbers
    ]
    unknown = model.pieces[model.unknown][0]
    bpe = models.BPE(numbers, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    backend = Backend(bpe)
    spaces = decoders.Replace(SPACE, " ")
    backend.decoder = decoders.Sequence([spaces, decoders.ByteFallback(), decoders.Fuse()])
    _add_pieces(backend, model)
    return backend


def _add_pieces(backend: Backend, model: Model) -> None:
    """Adds control pieces as special tokens, user-defined ones as tokens that are found whole."""
    for (piece, _), kind in zip(model.pieces, model.types, strict=True):
        if kind in (CONTROL, USER_DEFINED):
            token = AddedToken(piece, normalized=False, special=kind == CONTROL)
            backend.add_tokens([token])


@dataclasses.dataclass(frozen=True)
class Kind:
    """A class of `transformers` that reads a `.model`."""

    build: Callable[[Model, Mapping[str, Any]], Backend]  # by a folder's settings
    algorithm: int  # of the models that it reads
    settings: Mapping[str, Any]  # where a folder says nothing


T5 = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "<pad>", "extra_ids": 100}
SIGLIP = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "</s>", "model_max_length": 64}
LLAMA = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "padding_side": "left"}
GEMMA = {
    "unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>",
    "mask_token": "<mask>", "padding_side": "left",
}  # fmt: skip
SIDES = ("lstrip", "rstrip", "single_word")  # what a token does to the white space about it
KINDS = {
    "SiglipTokenizer": Kind(_siglip, UNIGRAM, SIGLIP),
    "Siglip2Tokenizer": Kind(_siglip2, BPE, GEMMA),
    "T5Tokenizer": Kind(_t5, UNIGRAM, T5),
    "LlamaTokenizer": Kind(_llama, BPE, LLAMA),
    "GemmaTokenizer": Kind(_gemma, BPE, GEMMA),
}


def load(path: Path, kind: str, settings: Mapping[str, Any]) -> Tokenizer:
    """Of a `.model` file.

    Args:
      kind: one of KINDS.
      settings: of the folder's other files, over the kind's own.

    Raises:
      TokenizerError: a damaged file, one of another algorithm, an added token of another id.
    """
    model = read(path)
    reader = KINDS[kind]
    if model.algorithm != reader.algorithm:
        held = ALGORITHMS.get(model.algorithm, model.algorithm)
        wanted = ALGORITHMS[reader.algorithm]
        raise TokenizerError(f"{path} is a {held} model; a {kind} is made of a {wanted} model")
    try:
        backend = reader.build(model, settings)
    except Exception as error:  # the package raises bare Exception for every fault of the file
        raise TokenizerError(f"{path} is damaged: {error}") from error
    add_tokens(backend, settings, path)
    ends = reader.algorithm == UNIGRAM  # always, there
    start = None if ends or not settings.get("add_bos_token") else settings.get("bos_token")
    end = settings.get("eos_token") if ends or settings.get("add_eos_token") else None
    names = [name_of(one) if one else "" for one in (start, end)]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{names[0]} $A {names[1]}".strip(),
        special_tokens=[(name, backend.token_to_id(name)) for name in names if name],
    )
    tokenizer = Tokenizer(backend, str(path))
    if kind != "SiglipTokenizer":
        return tokenizer
    letters = base64.b64encode(model.charsmap).decode()
    return tokenizer.cleaned(captions(settings, letters))


def captions(settings: Mapping[str, Any], letters: str | None = None) -> Captions:
    """What SigLIP does to a text, by a folder's settings. letters: the charsmap, in base64."""
    return Captions(settings.get("do_lower_case", True), letters)


def add_tokens(backend: Backend, settings: Mapping[str, Any], path: Path) -> None:
    """Those that a folder's settings name; what is not in the vocabulary gets the next id.

    Raises TokenizerError: a token has another id than they say.
    """
    listed = settings.get("added_tokens_decoder", {})
    for number, token in sorted(listed.items(), key=lambda item: int(item[0])):
        backend.add_tokens([AddedToken(**token)])
        if (found := backend.token_to_id(token["content"])) != int(number):
            raise TokenizerError(
                f"{path.parent}: {token['content']!r} is to be {number}, but {path.name} makes it "
                f"{found}"
            )
    named = [value for key, value in settings.items() if key.endswith("_token")]
    for key in ("additional_special_tokens", "extra_special_tokens"):
        named += settings.get(key) or ()
    there = {token.content for token in backend.get_added_tokens_decoder().values()}
    for token in (one for one in named if isinstance(one, str | Mapping)):
        if (name := name_of(token)) not in there:
            sides = {} if isinstance(token, str) else {one: token.get(one, False) for one in SIDES}
            backend.add_tokens([AddedToken(name, special=True, normalized=False, **sides)])
            there.add(name)


def name_of(token: str | Mapping[str, Any]) -> str:
    """The text of a token that settings write as a string or as a dict of its fields."""
    return token if isinstance(token, str) else token["content"]
