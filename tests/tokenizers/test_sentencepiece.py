"""SentencePiece models in hub folders: the ids of the reference; what is refused, and why."""

import dataclasses
import json
import lzma
import pickle
import sys

import pytest

from mmjax.errors import UserError
from mmjax.processors.checkpoints import checkpoint as checkpoint_processor
from mmjax.tokenizers import bpe, cleaning, pretrained, sentencepiece
from mmjax.tokenizers.bpe import TokenizerError
from mmjax.transforms.text import Tokenize
from tests.golden.make_sentencepiece import CASES, COUNT, HERE, written
from tests.golden.strings import varied

PAIRS = varied(COUNT)


@pytest.fixture(scope="module")
def golden():
    return json.loads(lzma.decompress((HERE / "ids.json.xz").read_bytes()))


def configured(folder, **settings):
    """Another tokenizer_config.json."""
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("name", CASES)
def test_ids_are_those_of_the_reference(name, golden, tmp_path):
    tokens = checkpoint_processor.load(written(tmp_path, name)).tokens
    tokens = dataclasses.replace(tokens, max_length=None)
    for (_, text), ids in zip(PAIRS, golden[name], strict=True):
        assert tokens.encode(text) == ids, text


@pytest.mark.parametrize("name", CASES)
def test_saved_and_sent_to_a_worker(name, tmp_path):
    tokenizer = pretrained.load(written(tmp_path / "pieces", name))
    tokenizer.save(tmp_path / "tokenizer.json")
    text = "It's a  ΣΊΣΥΦΟΣ (red), 「語」 </s> <extra_id_0>"
    ids = tokenizer.encode(text)
    assert pickle.loads(pickle.dumps(tokenizer)).encode(text) == ids
    assert pretrained.load(tmp_path).encode(text) == ids
    if not name.endswith("t5"):  # whose pieces hold the special tokens, as in the reference
        assert not (set(ids) - {tokenizer.special["<unk>"]}) & set(tokenizer.special.values())


def test_what_the_class_says_holds_where_a_folder_says_nothing(tmp_path):
    siglip = checkpoint_processor.load(written(tmp_path / "siglip", "siglip_bare"))
    assert (siglip.tokens.pad, siglip.tokens.max_length, siglip.tokens.side) == (1, 64, "right")
    assert (
        siglip(text="  A photo, of a CAT! ")["ids"].tolist()
        == siglip(text="a photo of a cat")["ids"].tolist()
    )
    assert siglip(text="cat " * 99)["ids"].shape == (1, 64)
    assert siglip.tokens.decode(siglip.tokens.encode("A Red, face")) == "a red face"
    t5 = checkpoint_processor.load(written(tmp_path / "t5", "t5")).tokens
    assert (t5.pad, t5.max_length, t5.side) == (0, None, "right")
    assert t5.backend.token_to_id("<extra_id_0>") == 599
    gemma = checkpoint_processor.load(written(tmp_path / "gemma", "gemma")).tokens
    assert (gemma.pad, gemma.side) == (0, "left")
    first = checkpoint_processor.load(written(tmp_path / "first", "llama_first")).tokens
    assert (first.pad, first.side) == (500, "left")
    assert first.encode("a </s>")[:1] + first.encode("a </s>")[-2:] == [1, 2, 2]
    tokenizer = pretrained.load(tmp_path / "siglip")
    assert [tokenizer.special[role] for role in ("<end>", "<pad>")] == [1, 1]
    assert Tokenize(tokenizer, 9, start=None)({"text": "A face!"})["text"][-1] == 1
    assert siglip.files["spiece.model"] == (tmp_path / "siglip" / "spiece.model").read_bytes()


def test_the_models_type_names_the_class_where_no_file_does(tmp_path):
    folder = written(tmp_path / "llama", "llama_first")
    (folder / "tokenizer_config.json").unlink()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "special_tokens_map.json").write_text('{"pad_token": "[PAD]"}')
    (folder / "added_tokens.json").write_text('{"[PAD]": 500, "<more>": 501}')
    llama = checkpoint_processor.load(folder).tokens
    assert llama.pad == 500 and llama.encode("<more>[PAD]") == [501, 500]
    gemma = written(tmp_path / "gemma", "gemma")
    (gemma / "config.json").write_text('{"model_type": "siglip2"}')
    lower = pretrained.load(configured(gemma, tokenizer_class="GemmaTokenizerFast"))
    assert lower.encode("FACE") == lower.encode("face")


def test_siglip_with_a_tokenizer_json_goes_by_its_model_and_else_is_made_plain(tmp_path):
    both = written(tmp_path / "both", "siglip")
    ids = pretrained.load(both).encode("Its a red face")
    pretrained.load(written(tmp_path / "t5", "t5")).save(both / "tokenizer.json")
    assert pretrained.load(both).encode("It's a RED face.") == ids
    (both / "spiece.model").unlink()
    assert pretrained.load(both).encode("It's a RED face.") == ids


def test_a_damaged_model_says_so(tmp_path):
    path = written(tmp_path, "llama") / "tokenizer.model"
    data = path.read_bytes()
    parts = [data[:cut] for cut in range(0, len(data) - 1, 29)]
    spoilt = [b"\xff" * 40, b"1 2 3\n" * 99, b"x " * 9, data.replace(b"</s>", b"\xff/s>")]
    for broken in (*parts, *spoilt):
        path.write_bytes(broken)
        with pytest.raises(
            TokenizerError, match="tokenizer.model is no SentencePiece model, or it"
        ):
            pretrained.load(tmp_path)
    path = written(tmp_path / "unigram", "t5") / "spiece.model"
    path.write_bytes(path.read_bytes()[:200_000])  # in the midst of the charsmap
    with pytest.raises(TokenizerError, match="spiece.model is no .* cut off or damaged "):
        sentencepiece.read(path)
    path = written(tmp_path / "letters", "t5") / "spiece.model"
    table = sentencepiece.read(path).charsmap
    for found, instead in (("힣".encode(), b"\xff\xff\xff"), (table[400:800], bytes(400))):
        path.write_bytes(data := path.read_bytes().replace(found, instead))
        assert found not in data
        with pytest.raises(TokenizerError, match="spiece.model is no .* or damaged"):
            pretrained.load(path.parent)
        written(path.parent, "t5")


def test_a_protobuf_that_is_too_old_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece.sentencepiece_model_pb2", None)
    with pytest.raises(UserError, match="pip install --upgrade protobuf"):
        cleaning.model_message()


def test_a_file_says_what_is_done_to_texts_first(tmp_path):
    file = tmp_path / "tokenizer.json"
    tokenizer = pretrained.load(written(tmp_path / "siglip", "siglip"))
    configured(tmp_path / "siglip", tokenizer_class="SiglipTokenizer", do_lower_case=False)
    cased = pretrained.load(tmp_path / "siglip")
    assert cased.fingerprint != tokenizer.fingerprint
    assert cased.encode("RED!") != tokenizer.encode("RED!") == tokenizer.encode("red")
    cased.save(file)
    assert bpe.load(file).encode("RED!") == cased.encode("RED!")
    file.write_text(json.dumps({**json.loads(cased.json), "clean": {"kind": "washing"}}))
    with pytest.raises(TokenizerError, match="tokenizer.json is not a readable.*'washing'"):
        bpe.load(file)


def test_what_is_not_known_is_refused(tmp_path):
    folder = configured(written(tmp_path, "t5"), tokenizer_class="XLNetTokenizer")
    with pytest.raises(TokenizerError, match="is a XLNetTokenizer; .*T5Tokenizer.*save_pretrained"):
        pretrained.load(folder)
    with pytest.raises(TokenizerError, match="is a tokenizer of no stated kind"):
        pretrained.load(configured(folder))
    with pytest.raises(TokenizerError, match="a unigram model; a LlamaTokenizer is made of a BPE"):
        pretrained.load(configured(folder, tokenizer_class="LlamaTokenizer"))
    added = {"7": {"content": "<more>", "special": True}}
    configured(folder, tokenizer_class="T5Tokenizer", added_tokens_decoder=added)
    with pytest.raises(TokenizerError, match="'<more>' is to be 7, but spiece.model makes it 600"):
        pretrained.load(folder)
