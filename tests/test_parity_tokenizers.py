"""10,000 varied strings: the same ids as `transformers` (CLIP, GPT-2, BERT) and `open_clip`.

What is installed is compared. The strings leave out letters younger than Unicode 15, which the
references' own regular expressions know only by version.
"""

import json

import pytest

from mmjax.data import vocabularies
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
