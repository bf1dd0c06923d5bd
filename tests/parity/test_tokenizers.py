"""10,000 varied strings: the same ids as `transformers` (CLIP, GPT-2, BERT) and `open_clip`.

What is installed is compared. The strings leave out letters younger than Unicode 15, which the
references' own regular expressions know only by version.
"""

import json

import pytest

from mmjax.processors import vocabularies
from mmjax.processors.checkpoints import checkpoint as checkpoint_processor
from mmjax.tokenizers import pretrained
from tests.golden.make_tokenizers import comparable, references
from tests.golden.strings import varied

pytestmark = pytest.mark.parity
PAIRS = varied(10_000)


@pytest.fixture(scope="module")
def installed():
    return references()


@pytest.mark.parametrize("name", vocabularies.NAMES)
def test_ids(name, installed):
    if name not in installed:
        pytest.skip(f"the reference of {name} is not installed here")
    texts = [text for _, text in PAIRS if comparable(name, text)]
    assert len(texts) > 9_700
    ours, theirs = vocabularies.load(name).encode_batch(texts), installed[name](texts)
    wrong = [text for text, a, b in zip(texts, ours, theirs, strict=True) if list(a) != list(b)]
    assert not wrong, f"{len(wrong)} differ, the first: {wrong[:3]}"


@pytest.mark.parametrize("name", ["clip", "gpt2", "bert"])
def test_a_folder_written_by_the_reference(name, tmp_path):
    hf = pytest.importorskip("transformers")
    kind = {"clip": hf.CLIPTokenizer, "gpt2": hf.GPT2Tokenizer, "bert": hf.BertTokenizer}[name]
    model = json.loads(vocabularies.load(name).json)["model"]
    merges = {"merges": [tuple(pair) for pair in model["merges"]]} if "merges" in model else {}
    reference = kind(vocab=model["vocab"], **merges)
    reference.save_pretrained(tmp_path)
    loaded, texts = pretrained.load(tmp_path), [text for _, text in PAIRS[:2000]]
    assert loaded.encode_batch(texts) == vocabularies.load(name).encode_batch(texts)
    for text in texts:  # white space at the ends is not kept here
        ids = loaded.encode(text)
        assert loaded.decode(ids) == reference.decode(ids, skip_special_tokens=True).strip()


@pytest.mark.parametrize("name", ["roberta", "qwen2"])
def test_a_folder_of_vocabulary_and_merges(name, tmp_path):
    hf = pytest.importorskip("transformers")
    model = json.loads(vocabularies.load("gpt2").json)["model"]
    vocab = {piece: number + 4 for piece, number in model["vocab"].items() if number < 50_256}
    added = {"<|im_start|>": 50_260, "<|endoftext|>": 50_261}
    if name == "roberta":
        vocab |= {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 50_262, **added}
    else:
        vocab = {piece: number - 4 for piece, number in vocab.items()}
        added = {"<|im_start|>": 50_256, "<|endoftext|>": 50_257}
        (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (tmp_path / "merges.txt").write_text(merges, encoding="utf-8")
    (tmp_path / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": name}))
    reference = hf.AutoTokenizer.from_pretrained(tmp_path)
    ours = checkpoint_processor.load(tmp_path).tokens
    texts = [
        "a <mask>b<s> c",
        "<|im_start|>user\n <|endoftext|> x",
        *(one for _, one in PAIRS[:3000]),
    ]
    wrong = [one for one in texts if ours.encode(one) != reference(one)["input_ids"]]
    assert not wrong, f"{len(wrong)} of {len(texts)} differ, as {wrong[:3]}"
    assert ours.pad == reference.pad_token_id
