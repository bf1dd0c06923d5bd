"""Ids of the reference tokenizers, for tests that run without them: tokenizers.json.

    python -m tests.golden.make_tokenizers

* Run it once where `transformers` is and once where `open_clip` is: each writes its own columns.
* `references` are also what the live comparison (tests/test_parity_tokenizers.py) calls.
"""

import importlib.metadata
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

from mmjax.processors import vocabularies
from tests.golden.strings import varied

FILE = Path(__file__).with_name("tokenizers.json")
COUNT = 331

Encode = Callable[[list[str]], list[list[int]]]


def references() -> dict[str, Encode]:
    """Name in `vocabularies` -> the reference, of those that are installed here."""
    found: dict[str, Encode] = {}
    if importlib.util.find_spec("transformers"):
        import transformers as hf

        def encode(kind: type, *parts: str) -> Encode:
            name = {"CLIPTokenizer": "clip", "GPT2Tokenizer": "gpt2"}.get(kind.__name__, "bert")
            model = json.loads(vocabularies.load(name).json)["model"]
            given = {part: model[part] for part in parts}
            given["merges"] = [tuple(pair) for pair in given.get("merges", ())]
            reference = kind(**given, split_special_tokens=True)
            return lambda texts: reference(texts, add_special_tokens=False)["input_ids"]

        found["clip"] = encode(hf.CLIPTokenizer, "vocab", "merges")
        found["gpt2"] = encode(hf.GPT2Tokenizer, "vocab", "merges")
        found["bert"] = encode(hf.BertTokenizer, "vocab")
    if importlib.util.find_spec("open_clip"):
        from open_clip.tokenizer import SimpleTokenizer

        reference = SimpleTokenizer()
        found["open_clip"] = lambda texts: [reference.encode(text) for text in texts]
    return found


def comparable(name: str, text: str) -> bool:
    """open_clip turns these into its special tokens; here no text ever does."""
    return name != "open_clip" or not any(
        special in text for special in ("<start_of_text>", "<end_of_text>")
    )


def main() -> None:
    """Writes the columns of the references that are here, and keeps the others."""
    texts = [text for _, text in varied(COUNT)]
    golden = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"texts": texts}
    if golden["texts"] != texts:
        golden = {"texts": texts}
    for name, encode in references().items():
        ids = encode(texts)
        golden[name] = [
            one if comparable(name, text) else None for one, text in zip(ids, texts, strict=True)
        ]
        package = "open_clip_torch" if name == "open_clip" else "transformers"
        version = importlib.metadata.version(package)
        golden.setdefault("made_with", {})[name] = f"{package} {version}"
    text = json.dumps(golden, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    FILE.write_text(text + "\n", encoding="utf-8")
    print(f"{FILE}: {len(text):,} characters, {', '.join(sorted(golden))}")


if __name__ == "__main__":
    main()
