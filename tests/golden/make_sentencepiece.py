"""Makes tests/golden/sentencepiece: small models, and the ids that `transformers` makes of them.

    python -m tests.golden.make_sentencepiece     # needs sentencepiece and transformers 5

* Trained on the captions of the bundled sets: a unigram model with nmt_nfkc, as SigLIP's and T5's,
  and BPE with bytes for unknown letters and no normalisation, as Llama's and Gemma's.
* `written` and `reference` are also what the live comparison (tests/test_parity_sentencepiece.py)
  calls.
"""

import csv
import io
import json
import lzma
import string
import tempfile
from pathlib import Path
from typing import Any

from mmjax.datasets import bundled
from tests.golden.strings import SENTENCES, varied

HERE = Path(__file__).with_name("sentencepiece")
COUNT = 331
BPE = dict(
    model_type="bpe", byte_fallback=True, split_digits=True,
    normalization_rule_name="identity", remove_extra_whitespaces=False,
)  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "unigram": dict(
        model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        required_chars=string.ascii_letters + string.digits + string.punctuation,
    ),
    "llama": BPE,
    "gemma": dict(
        **BPE, add_dummy_prefix=False, allow_whitespace_only_pieces=True,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3, eos_piece="<eos>", bos_piece="<bos>",
        user_defined_symbols=["<mask>", "<start_of_turn>", "\n\n", "▁▁"],
    ),
}  # fmt: skip
SPECIAL = dict(lstrip=False, normalized=False, rstrip=False, single_word=False, special=True)
SIGLIP = {**SPECIAL, "lstrip": True, "rstrip": True}
# Name -> class, model, and the rest of tokenizer_config.json.
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "siglip": (
        "SiglipTokenizer", "unigram",
        {"added_tokens_decoder": {"1": {"content": "</s>", **SIGLIP},
                                  "2": {"content": "<unk>", **SIGLIP}}},
    ),
    "siglip_bare": ("SiglipTokenizer", "unigram", {}),
    "t5": ("T5Tokenizer", "unigram", {}),
    "mt5": ("T5Tokenizer", "unigram", {"extra_ids": 0}),
    "llama": (
        "LlamaTokenizer", "llama", {"legacy": True, "add_bos_token": True, "add_eos_token": False}
    ),
    "llama_first": (
        "LlamaTokenizer", "llama",
        {"legacy": False, "add_bos_token": True, "add_eos_token": True, "pad_token": "[PAD]",
         "added_tokens_decoder": {"1": {"content": "<s>", **SPECIAL},
                                  "500": {"content": "[PAD]", **SPECIAL}}},
    ),
    "llama_no_space": ("LlamaTokenizer", "llama", {"add_prefix_space": False}),
    "gemma": ("GemmaTokenizer", "gemma", {"add_bos_token": True}),
    "siglip2": (
        "Siglip2Tokenizer", "gemma",
        {"add_eos_token": True, "padding_side": "right", "model_max_length": 64},
    ),
}  # fmt: skip


def written(folder: Path, name: str) -> Path:
    """A hub folder of a case, with nothing but the model and tokenizer_config.json."""
    kind, model, settings = CASES[name]
    folder.mkdir(parents=True, exist_ok=True)
    file = "spiece.model" if model == "unigram" else "tokenizer.model"
    (folder / file).write_bytes(lzma.decompress((HERE / f"{model}.model.xz").read_bytes()))
    text = json.dumps({"tokenizer_class": kind, **settings})
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    return folder


def reference(folder: Path, name: str) -> Any:
    """The tokenizer that `transformers` makes of such a folder."""
    import transformers

    transformers.logging.set_verbosity_error()
    return getattr(transformers, CASES[name][0]).from_pretrained(folder)


def captions() -> list[str]:
    """Of the bundled sets; the sentences bring letters of many scripts."""
    found = list(SENTENCES)
    for name, column in (("librivox", "text"), ("emoji", "label"), ("sounds", "text")):
        text = bundled.read(name, f"{name}.csv").decode("utf-8")
        found += [row[column] for row in csv.DictReader(io.StringIO(text))]
    return found


def main() -> None:
    """Trains the models and writes the ids."""
    import sentencepiece

    for name, options in MODELS.items():
        out = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(captions()), model_writer=out, vocab_size=500, num_threads=1,
            character_coverage=0.99, minloglevel=2, **options,
        )  # fmt: skip
        (HERE / f"{name}.model.xz").write_bytes(lzma.compress(out.getvalue(), preset=9))
    texts, ids = [text for _, text in varied(COUNT)], {}
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:
            theirs = reference(written(Path(folder) / name, name), name)
            ids[name] = [theirs(text)["input_ids"] for text in texts]
    content = json.dumps(ids, separators=(",", ":")).encode()
    (HERE / "ids.json.xz").write_bytes(lzma.compress(content, preset=9))


if __name__ == "__main__":
    main()
