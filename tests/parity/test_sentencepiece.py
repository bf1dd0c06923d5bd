"""SentencePiece models of hub folders against `transformers`, live: ids, padding, decoded text.

10,000 varied strings, those of them with decomposed letters, and texts that write special tokens.
"""

import random
import unicodedata

import numpy as np
import pytest

from mmjax.conversion import siglip
from mmjax.models import clip
from mmjax.processors.checkpoints import checkpoint as checkpoint_processor
from mmjax.tokenizers import cleaning, pretrained
from tests.golden.make_sentencepiece import CASES, reference, written
from tests.golden.strings import varied

pytestmark = pytest.mark.parity
PAIRS = varied(10_000)
SPECIALS = ("</s>", "<s>", "<eos>", "<unk>", "<pad>", "<extra_id_7>", "<start_of_turn>", "\n\n")


def decomposed():
    kinds = ("sentence", "words", "english")
    return [unicodedata.normalize("NFD", text) for kind, text in PAIRS if kind in kinds]


def with_specials():
    draw = random.Random(0)
    return [
        "".join(draw.choice((word, word, *SPECIALS, " ", ", ")) for word in text.split())
        for _, text in PAIRS[:2000]
    ]


@pytest.fixture(params=CASES)
def name(request):
    pytest.importorskip("transformers")
    return request.param


def test_ids_and_back(name, tmp_path):
    folder = written(tmp_path, name)
    ours = checkpoint_processor.load(folder, max_length=None).tokens
    theirs = reference(folder, name)
    slow = name in ("siglip", "siglip_bare")  # SentencePiece itself
    texts = [text for _, text in PAIRS] + decomposed() + with_specials()
    wrong = []
    for text in texts:
        ids = theirs(text, truncation=False)["input_ids"]
        if ours.encode(text) != ids:
            wrong.append(text)
        elif not slow:  # there the reference gives no white space between special tokens
            assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True).strip(), text
    assert not wrong, f"{len(wrong)} of {len(texts)} differ, as {wrong[:3]}"


def test_letters_of_siglip_and_what_its_texts_write(tmp_path):
    """Each letter, marks in any order, and special tokens taken for text."""
    import sentencepiece

    folder = written(tmp_path, "siglip")
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    ours = cleaning.letters(pretrained.load(folder).clean.charsmap)
    letters = [chr(code) for code in range(1, 0x30000) if not 0xD800 <= code < 0xE000]
    marks = [one for one in letters if unicodedata.combining(one)] + [" ", "a"]
    draw = random.Random(1)
    mixed = ["".join(draw.choices(marks, k=9)) + draw.choice(letters) for _ in range(20_000)]
    wrong = [one for one in letters + mixed if f"▁{ours(f'a{one}')}" != theirs.normalize(f"a{one}")]
    assert not wrong, f"{len(wrong)} differ, as {wrong[:3]!a}"
    tokenizer, theirs = pretrained.load(folder), reference(folder, "siglip")
    options = dict(split_special_tokens=True, truncation=False, add_special_tokens=False)
    for text in with_specials():
        assert tokenizer.encode(text) == theirs(text, **options)["input_ids"], text


@pytest.mark.parametrize("padding", ["longest", "max_length"])
def test_batches(name, padding, tmp_path):
    folder = written(tmp_path, name)
    theirs, length = reference(folder, name), 12
    if theirs.pad_token is None:
        theirs.pad_token = theirs.eos_token
    ours = checkpoint_processor.load(folder, padding=padding, max_length=length)
    texts = ["A photo, of a CAT!", "", "  two words ", "</s>", "<eos> ΟΔΟΣ ", "red " * 40]
    options = dict(padding=padding, max_length=length, truncation=True, return_tensors="np")
    want, out = theirs(texts, **options), ours(text=texts)
    np.testing.assert_array_equal(out["ids"], want["input_ids"])
    np.testing.assert_array_equal(out["mask"], want["attention_mask"])


@pytest.mark.parametrize("beside", ["its model", "nothing"])
def test_siglip_with_a_tokenizer_json(beside, tmp_path):
    """As the hub has it: made as T5's is, with what SigLIP does to captions left out or not."""
    theirs = reference(written(tmp_path / "siglip", "siglip"), "siglip")
    folder = written(tmp_path / "siglip", "siglip")
    pretrained.load(written(tmp_path / "t5", "t5")).save(folder / "tokenizer.json")
    if beside == "nothing":
        (folder / "spiece.model").unlink()
    ours = checkpoint_processor.load(folder, padding="max_length")
    kinds = ("sentence", "words", "english", "digits", "web", "spaces", "block", "long")
    texts = [text for kind, text in PAIRS if kind in kinds]
    want = theirs(texts, padding="max_length", truncation=True, return_tensors="np")["input_ids"]
    wrong = np.flatnonzero((ours(text=texts)["ids"] != want).any(1))
    assert not len(wrong), f"{len(wrong)} of {len(texts)} differ: {[texts[i] for i in wrong[:3]]}"


@pytest.mark.parametrize("name", ["siglip", "siglip2"])
def test_processors_of_pairs(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    folder = written(tmp_path, name)
    images = transformers.SiglipImageProcessorPil()
    theirs = transformers.SiglipProcessor(images, reference(folder, name))
    images.save_pretrained(folder)
    if name == "siglip2":  # the hub's folders of one fixed size name the class that it builds on
        path = folder / "tokenizer_config.json"
        path.write_text(path.read_text().replace("Siglip2Tokenizer", "GemmaTokenizer"))
    ours = siglip.processor(folder, clip.VARIANTS["SigLIP-B/16"])
    texts = [text for _, text in PAIRS[:3000]]
    options = dict(padding="max_length", truncation=True, max_length=64, return_tensors="np")
    want, out = theirs(text=texts, **options), ours(text=texts)
    np.testing.assert_array_equal(out["ids"], want["input_ids"])
    picture = np.full((9, 12, 3), 200, np.uint8)
    both = ours(images=picture, text=texts[0])
    want = theirs(images=picture, text=texts[0], **options)
    np.testing.assert_array_equal(both["ids"], want["input_ids"])
    pixels = np.moveaxis(np.asarray(want["pixel_values"]), 1, -1)
    np.testing.assert_allclose(both["images"], pixels, atol=1e-5)
