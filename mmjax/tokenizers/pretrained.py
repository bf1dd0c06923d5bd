"""The tokenizers of CLIP, GPT-2, RoBERTa, Qwen2 and BERT from their vocabulary files, with the
published ids.

CLIP (https://arxiv.org/abs/2103.00020), GPT-2 and its kin (byte-level BPE), BERT (WordPiece,
https://arxiv.org/abs/1810.04805).

* The ids of both byte-pair vocabularies follow from the list of merges alone: the bytes (in CLIP
  also as ends of words), then the merges in order, then the special tokens.
* Ids are those of `transformers` with split_special_tokens=True: "<|endoftext|>" inside a text is
  text. `clip(..., web=True)` gives those of `open_clip`, which mends the text first: cleaning.py.
* `load` reads a `tokenizer.json`, or a hub folder: its `tokenizer.json`, else a SentencePiece model
  (sentencepiece.py), `vocab.json` with `merges.txt` or `vocab.txt`, with the settings of
  `tokenizer_config.json`. SigLIP's goes by its SentencePiece model first, as in the reference.
* A `tokenizer.json` is taken at its word. `transformers` 5 makes Llama's anew, and puts no space in
  front of a text that begins with one; Llama's own SentencePiece does, and so does the file.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from tokenizers import Tokenizer as Backend

from mmjax.tokenizers import bpe, sentencepiece
from mmjax.tokenizers.bpe import Tokenizer, TokenizerError
from mmjax.tokenizers.cleaning import WebText

CLIP_START = "<|startoftext|>"
CLIP_END = "<|endoftext|>"
GPT2_END = "<|endoftext|>"
ROBERTA_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")  # "<mask>" is as a folder's settings say
BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PIECES = ("spiece.model", "tokenizer.model")  # SentencePiece models
CLASSES = {
    "siglip": "SiglipTokenizer", "siglip_text_model": "SiglipTokenizer",
    "siglip2": "Siglip2Tokenizer", "siglip2_text_model": "Siglip2Tokenizer", "t5": "T5Tokenizer",
    "mt5": "T5Tokenizer", "llama": "LlamaTokenizer", "gemma": "GemmaTokenizer",
    "gemma2": "GemmaTokenizer", "bert": "BertTokenizer", "roberta": "RobertaTokenizer",
    "gpt2": "GPT2Tokenizer", "qwen2": "Qwen2Tokenizer", "clip": "CLIPTokenizer",
    "clip_text_model": "CLIPTokenizer", "blip": "BertTokenizer", "llava": "LlamaTokenizer",
    "paligemma": "GemmaTokenizer",
}  # fmt: skip
# What a class says where a folder says nothing; for others: sentencepiece.KINDS.
OWN: Mapping[str, Mapping[str, Any]] = {
    "BertTokenizer": {"pad_token": "[PAD]"},
    "CLIPTokenizer": {"pad_token": CLIP_END, "eos_token": CLIP_END},
    "GPT2Tokenizer": {"eos_token": GPT2_END},
    "Qwen2Tokenizer": {"pad_token": GPT2_END, "eos_token": GPT2_END},
    "RobertaTokenizer": {"pad_token": "<pad>", "eos_token": "</s>", "mask_token": "<mask>"},
}
OTHERS = (
    "Any kind is read from a tokenizer.json, which "
    "`AutoTokenizer.from_pretrained(...).save_pretrained(...)` writes"
)
# CLIP's words: English contractions, letters, single digits, runs of anything else.
QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CLIP_WORDS = r"'(?:[sſ]|t|re|ve|m|ll|d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


def byte_symbols() -> list[str]:
    """The character that stands for each of the 256 bytes, in the order of GPT-2's ids.

    Bytes that print stand for themselves and come first; the others are U+0100 and on.
    """
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in prints] + [chr(0x100 + i) for i in range(256 - len(prints))]


def merges_of(text: str) -> list[tuple[str, str]]:
    """The pairs of a `merges.txt`: one a line, a first line of "#version" left out."""
    lines = text.split("\n")
    if lines[0].startswith("#version") or lines[0].startswith('"bpe_simple_vocab'):
        lines = lines[1:]
    pairs = [tuple(line.rstrip("\r").split(" ")) for line in lines if line.strip()]
    for number, pair in enumerate(pairs, 1):
        if len(pair) != 2:
            raise TokenizerError(f"merge {number} is {' '.join(pair)!r}: two tokens are expected")
    return pairs


def clip(
    merges: Sequence[tuple[str, str]],
    vocab: Mapping[str, int] | None = None,
    *,
    web: bool = False,
    where: str = "CLIP's tokenizer",
) -> Tokenizer:
    """Lower-case byte-level BPE whose last piece of a word ends in "</w>".

    vocab: of a file; None: follows from the merges. CLIP's own has 49,408 ids.
    web: texts are mended as by `open_clip`.
    """
    if vocab is None:
        symbols = byte_symbols()
        pieces = [*symbols, *(symbol + "</w>" for symbol in symbols), *map("".join, merges)]
        vocab = _numbered([*pieces, CLIP_START, CLIP_END])
    model = models.BPE(
        vocab=dict(vocab),
        merges=list(merges),
        unk_token=CLIP_END,
        continuing_subword_prefix="",
        end_of_word_suffix="</w>",
    )
    backend = Backend(model)
    words = CLIP_WORDS
    if not web:  # each rule as `transformers` has it; `open_clip` differs in these as well
        rules = [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " ")]
        backend.normalizer = normalizers.Sequence([*rules, normalizers.Lowercase()])
        words = rf"<\|startoftext\|>|<\|endoftext\|>|{words.replace('ſ', '')}"
    words = pre_tokenizers.Split(Regex(words), behavior="removed", invert=True)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not web)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, byte_level])
    backend.decoder = decoders.ByteLevel()
    tokenizer = _finished(backend, (CLIP_START, CLIP_END), CLIP_START, CLIP_END, where)
    return tokenizer.cleaned(WebText()) if web else tokenizer


def gpt2(
    merges: Sequence[tuple[str, str]],
    vocab: Mapping[str, int] | None = None,
    *,
    prefix_space: bool = False,
    where: str = "GPT-2's tokenizer",
) -> Tokenizer:
    """Byte-level BPE that keeps every byte; a word's piece begins with the space before it.

    prefix_space: a space is put before the text, so that its first word is like the others.
    vocab: of a file; None: follows from the merges. GPT-2's own has 50,257 ids.
    """
    if vocab is None:
        vocab = _numbered([*byte_symbols(), *map("".join, merges), GPT2_END])
    return _finished(_byte_level(merges, vocab, prefix_space), (GPT2_END,), "", "", where)


def roberta(
    merges: Sequence[tuple[str, str]],
    vocab: Mapping[str, int],
    *,
    prefix_space: bool = False,
    where: str = "RoBERTa's tokenizer",
) -> Tokenizer:
    """GPT-2's pieces under other ids, between "<s>" and "</s>"."""
    if not {"<s>", "</s>"} <= set(vocab):
        raise TokenizerError(f"{where} has no <s> and </s>: it is not a RoBERTa vocabulary")
    backend = _byte_level(merges, vocab, prefix_space)
    specials = [one for one in ROBERTA_SPECIALS if one in vocab]
    backend.add_special_tokens([AddedToken(one, normalized=False) for one in specials])
    ends = [(name, backend.token_to_id(name)) for name in ("</s>", "<s>")]
    backend.post_processor = processors.RobertaProcessing(*ends, add_prefix_space=prefix_space)
    return Tokenizer(backend, where)


def qwen2(
    merges: Sequence[tuple[str, str]],
    vocab: Mapping[str, int],
    *,
    where: str = "Qwen2's tokenizer",
) -> Tokenizer:
    """Byte-level BPE of NFC texts, each digit on its own; its special tokens are in no vocabulary,
    a folder's settings name them."""
    backend = _byte_level(merges, vocab, False)
    backend.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(QWEN2_WORDS), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, byte_level])
    return Tokenizer(backend, where)


def bert(
    vocab: Sequence[str] | Mapping[str, int],
    *,
    lowercase: bool = True,
    strip_accents: bool | None = None,
    split_chinese: bool = True,
    where: str = "BERT's tokenizer",
) -> Tokenizer:
    """WordPiece: the longest known piece first; a word with an unknown part is "[UNK]".

    strip_accents: None as lowercase. split_chinese: each Chinese character is a word.
    """
    if not isinstance(vocab, Mapping):
        vocab = _numbered(vocab)
    missing = [name for name in BERT_SPECIALS[:4] if name not in vocab]
    if missing:
        raise TokenizerError(f"{where} has no {', '.join(missing)}: it is not a BERT vocabulary")
    backend = Backend(models.WordPiece(vocab=dict(vocab), unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=split_chinese,
        strip_accents=strip_accents,
        lowercase=lowercase,
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    specials = [name for name in BERT_SPECIALS if name in vocab]
    return _finished(backend, specials, "[CLS]", "[SEP]", where)


def load(path: str | Path) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, or of a folder as hubs keep them.

    Raises FileNotFoundError, or TokenizerError that says what the folder has.
    """
    folder = Path(path)
    if not folder.is_dir():
        return bpe.load(folder)
    settings = settings_of(folder)
    kind = settings["tokenizer_class"]
    where = str(folder)
    file = next((folder / name for name in PIECES if (folder / name).exists()), None)
    if (folder / "tokenizer.json").exists() and not (file and kind == "SiglipTokenizer"):
        tokenizer = bpe.load(folder / "tokenizer.json")
        if kind == "SiglipTokenizer":
            return tokenizer.cleaned(sentencepiece.captions(settings))
        return tokenizer
    if file:
        if kind in sentencepiece.KINDS:
            return sentencepiece.load(file, kind, settings)
        raise TokenizerError(
            f"{folder} is a {kind or 'tokenizer of no stated kind'}; of {file.name} are read "
            f"{', '.join(sentencepiece.KINDS)}: tokenizer_class in tokenizer_config.json. {OTHERS}"
        )
    if (folder / "vocab.txt").exists():
        lines = _text(folder / "vocab.txt").split("\n")
        tokenizer = bert(
            [line.rstrip("\r") for line in (lines if lines[-1] else lines[:-1])],
            lowercase=settings.get("do_lower_case", True),
            strip_accents=settings.get("strip_accents"),
            split_chinese=settings.get("tokenize_chinese_chars", True),
            where=where,
        )
        return _with_added(tokenizer, settings, folder / "vocab.txt")
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        try:
            tokenizer = _of_merges(folder, kind, settings)
        except TokenizerError:
            raise
        except Exception as error:  # the package raises bare Exception for every fault
            raise TokenizerError(
                f"{folder}: vocab.json does not fit merges.txt: {error}"
            ) from error
        return _with_added(tokenizer, settings, folder / "vocab.json")
    have = sorted(one.name for one in folder.iterdir())
    raise TokenizerError(
        f"{folder} holds no tokenizer.json, no {', no '.join(PIECES)}, no vocab.json with "
        f"merges.txt, no vocab.txt; it holds {', '.join(have[:10]) or 'nothing'}"
    )


def _of_merges(folder: Path, kind: str, settings: Mapping[str, Any]) -> Tokenizer:
    vocab = _json(folder / "vocab.json")
    merges = merges_of(_text(folder / "merges.txt"))
    space = bool(settings.get("add_prefix_space"))
    where = str(folder)
    if not kind:  # RoBERTa's vocabulary has the end token of GPT-2's too
        marks = {CLIP_START: "CLIPTokenizer", "<s>": "RobertaTokenizer", GPT2_END: "GPT2Tokenizer"}
        kind = next((marks[mark] for mark in marks if mark in vocab), "")
    if kind == "CLIPTokenizer":
        return clip(merges, vocab, where=where)
    if kind == "RobertaTokenizer":
        return roberta(merges, vocab, prefix_space=space, where=where)
    if kind == "Qwen2Tokenizer":
        return qwen2(merges, vocab, where=where)
    if kind == "GPT2Tokenizer":
        return gpt2(merges, vocab, prefix_space=space, where=where)
    raise TokenizerError(
        f"{folder} is a {kind or 'tokenizer of no stated kind'}; of vocab.json and merges.txt "
        f"CLIP, GPT-2, RoBERTa and Qwen2 are read. {OTHERS}"
    )


def _with_added(tokenizer: Tokenizer, settings: Mapping[str, Any], file: Path) -> Tokenizer:
    backend = tokenizer.copy_of_backend()
    sentencepiece.add_tokens(backend, settings, file)
    return Tokenizer(backend, str(file.parent))


def settings_of(folder: Path) -> dict[str, Any]:
    """What a folder says of its tokenizer, "tokenizer_class" without "Fast", over the class's own.

    Where no class is named the model's type names it ("": neither does).
    """
    config = _json(folder / "tokenizer_config.json", {})
    special = _json(folder / "special_tokens_map.json", {})
    kind = str(config.get("tokenizer_class") or "").removesuffix("Fast")
    model = _json(folder / "config.json", {}).get("model_type")
    if not kind or model == "siglip2":
        kind = CLASSES.get(model, kind)
    reader = sentencepiece.KINDS.get(kind)
    own = reader.settings if reader else OWN.get(kind, {})
    if "added_tokens_decoder" in config:  # files of that time say all in one, and may disagree
        special = {}
    settings = {**own, **config, **special, "tokenizer_class": kind}
    settings.setdefault("model_max_length", settings.get("max_len"))  # its first name
    named = {sentencepiece.name_of(one) for one in special.values() if isinstance(one, str | dict)}
    added = {
        number: {"content": name, "special": name in named, "normalized": name not in named}
        for name, number in _json(folder / "added_tokens.json", {}).items()
    }
    return {"added_tokens_decoder": added, **settings}


def _byte_level(
    merges: Sequence[tuple[str, str]], vocab: Mapping[str, int], prefix_space: bool
) -> Backend:
    backend = Backend(models.BPE(vocab=dict(vocab), merges=list(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    backend.decoder = decoders.ByteLevel()
    return backend


def _numbered(pieces: Sequence[str]) -> dict[str, int]:
    return {piece: number for number, piece in enumerate(pieces)}


def _finished(
    backend: Backend, specials: Sequence[str], start: str, end: str, where: str
) -> Tokenizer:
    """The tokenizer with its special tokens. Start and end are kept for others who read the saved
    file; mmjax adds them itself."""
    backend.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in specials]
    )
    if start:
        numbers = [(name, backend.token_to_id(name)) for name in (start, end)]
        template = f"{start} $A {end}"
        backend.post_processor = processors.TemplateProcessing(
            single=template, pair=f"{template} $B:1 {end}:1", special_tokens=numbers
        )
    return Tokenizer(backend, where)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path} is not UTF-8: {error}") from error


def _json(path: Path, default: Any = None) -> Any:
    if default is not None and not path.exists():
        return default
    try:
        found = json.loads(_text(path))
    except ValueError as error:
        raise TokenizerError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise TokenizerError(f"{path} holds {type(found).__name__}, not names and values")
    return found
