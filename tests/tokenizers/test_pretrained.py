"""CLIP, GPT-2 and BERT: the ids of the reference tokenizers, from names, files and hub folders."""

import json
import pickle
from pathlib import Path

import pytest

from mmjax.processors import vocabularies
from mmjax.processors.checkpoints import checkpoint as checkpoint_processor
from mmjax.tokenizers import bpe, pretrained
from mmjax.tokenizers.bpe import TokenizerError
from mmjax.tokenizers.cleaning import WebText
from mmjax.transforms.text import Tokenize

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "tokenizers.json").read_text())
SIZES = {"clip": 49408, "open_clip": 49408, "gpt2": 50257, "bert": 30522}


def vocabulary(name):
    """(vocab, merges) as they would be in a hub's files."""
    model = json.loads(vocabularies.load(name).json)["model"]
    return model["vocab"], model.get("merges")


def written(folder, name, **settings):
    """A hub folder of the older layout, without tokenizer.json."""
    folder.mkdir()
    vocab, merges = vocabulary(name)
    if merges:
        lines = "\n".join(" ".join(pair) for pair in merges)
        (folder / "merges.txt").write_text(f"#version: 0.2\n{lines}\n", encoding="utf-8")
        (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    else:
        (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("name", vocabularies.NAMES)
def test_ids_are_those_of_the_reference(name):
    tokenizer = vocabularies.load(name)
    assert tokenizer.vocab_size == SIZES[name]
    rows = [row for row, ids in enumerate(GOLDEN[name]) if ids is not None]
    assert len(rows) > 290
    found = tokenizer.encode_batch([GOLDEN["texts"][row] for row in rows])
    wrong = [
        GOLDEN["texts"][row]
        for row, ids in zip(rows, found, strict=True)
        if ids != GOLDEN[name][row]
    ]
    assert not wrong
    assert tokenizer.encode(GOLDEN["texts"][0]) == GOLDEN[name][0]


@pytest.mark.parametrize("name", vocabularies.NAMES)
def test_saved_loaded_and_sent_to_a_worker(name, tmp_path):
    tokenizer = vocabularies.load(name)
    copy = pickle.loads(pickle.dumps(tokenizer))
    text = "It’s a &lt;red&gt; FOX, “naïve” <|endoftext|> [SEP]"
    assert copy.encode(text) == tokenizer.encode(text) == tokenizer.encode_batch([text])[0]
    assert copy.fingerprint == tokenizer.fingerprint
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = pretrained.load(tmp_path)
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert not set(tokenizer.encode(text)) & set(tokenizer.special.values())


def test_special_tokens_by_what_they_are_for():
    ids = {
        name: [vocabularies.load(name).special[role] for role in ("<start>", "<end>", "<pad>")]
        for name in vocabularies.NAMES
    }
    assert ids["clip"] == ids["open_clip"] == [49406, 49407, 49407]
    assert ids["gpt2"] == [50256] * 3 and ids["bert"] == [101, 102, 0]
    special = vocabularies.load("clip").special
    assert list(special) == ["<|startoftext|>", "<|endoftext|>"] and special.get("<end>") == 49407
    assert "<end>" in special and "[CLS]" not in special
    out = Tokenize(vocabularies.load("clip"), 77)({"text": "a photo of a cat"})
    assert out["text"].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407]


@pytest.mark.parametrize(
    ("name", "text", "back"),
    [
        ("clip", "A photo, of  naïve CATS!", "a photo , of naïve cats !"),
        ("gpt2", "  A photo of\nCATS 🦊", "A photo of\nCATS 🦊"),
        ("bert", "A photograph of Café unaffableness", "a photograph of cafe unaffableness"),
    ],
)
def test_decoded(name, text, back, tmp_path):
    tokenizer = vocabularies.load(name)
    assert tokenizer.decode(tokenizer.encode(text)) == back


def test_hub_folders(tmp_path):
    text = "A naïve Fox's <|endoftext|>"
    for name, kind in (("clip", "CLIPTokenizer"), ("gpt2", "GPT2TokenizerFast"), ("bert", "")):
        folder = written(tmp_path / name, name, tokenizer_class=kind)
        assert pretrained.load(folder).encode(text) == vocabularies.load(name).encode(text)
        (folder / "tokenizer_config.json").unlink()  # what it is shows in the vocabulary
        loaded = vocabularies.load(folder)
        assert loaded.encode(text) == vocabularies.load(name).encode(text)
        assert loaded.special["<end>"] == vocabularies.load(name).special["<end>"]
    cased = pretrained.load(written(tmp_path / "cased", "bert", do_lower_case=False))
    assert cased.encode("fox") != cased.encode("FOX")
    spaced = pretrained.load(written(tmp_path / "spaced", "gpt2", add_prefix_space=True))
    assert spaced.encode("fox") == vocabularies.load("gpt2").encode(" fox")


def merged(folder, kind, vocab, **settings):
    """A folder of GPT-2's merges and another vocabulary."""
    folder.mkdir()
    merges = "\n".join(" ".join(pair) for pair in vocabulary("gpt2")[1])
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    return folder


def test_roberta_is_not_taken_for_gpt2_whose_end_token_it_has_too(tmp_path):
    base = {piece: number + 4 for piece, number in vocabulary("gpt2")[0].items()}
    vocab = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, **base, "<mask>": 50_261}
    folder = merged(tmp_path / "roberta", "roberta", vocab, max_len=9)
    text, ids = "A naïve Fox's tail", vocabularies.load("gpt2").encode("A naïve Fox's tail")
    tokens = checkpoint_processor.load(folder).tokens
    assert tokens.encode(text) == [0, *(one + 4 for one in ids), 2]
    assert tokens.encode("a<mask>") == [0, vocab["a"], 50_261, 2]
    assert (tokens.pad, tokens.max_length, tokens.side) == (1, 9, "right")
    (folder / "config.json").unlink()  # what it is shows in the vocabulary
    tokenizer = pretrained.load(folder)
    assert tokenizer.encode(text) == [one + 4 for one in ids]
    assert [tokenizer.special[role] for role in ("<start>", "<end>", "<pad>")] == [0, 2, 1]


def test_qwen2_has_its_special_tokens_beside_its_vocabulary(tmp_path):
    vocab = {piece: number for piece, number in vocabulary("gpt2")[0].items() if number < 50_256}
    folder = merged(tmp_path / "qwen2", "qwen2", vocab, pad_token="<|endoftext|>")
    (folder / "added_tokens.json").write_text('{"<|endoftext|>": 50256, "<|im_start|>": 50257}')
    tokens = checkpoint_processor.load(folder).tokens
    assert tokens.encode("<|im_start|>user") == [50_257, *vocabularies.load("gpt2").encode("user")]
    pieces = [tokens.decode([one]) for one in tokens.encode("cafe\u0301 12")]
    assert pieces == ["c", "af", "é", "", "1", "2"]  # composed; each digit on its own
    assert tokens.pad == 50_256


@pytest.mark.parametrize(
    ("settings", "pad"), [({"pad_token": None}, 3), ({"added_tokens_decoder": {}}, 0)]
)
def test_which_file_names_the_special_tokens(settings, pad, tmp_path):
    """The older special_tokens_map.json counts unless tokenizer_config.json lists all tokens."""
    folder = written(tmp_path / "bert", "bert", tokenizer_class="BertTokenizer", **settings)
    (folder / "special_tokens_map.json").write_text('{"pad_token": "[unused2]"}')
    assert checkpoint_processor.load(folder).tokens.pad == pad


def test_a_file_that_draws_its_merges_is_read_without(tmp_path):
    keys = json.loads(vocabularies.load("gpt2").json)
    keys["model"]["dropout"] = 0.5
    (tmp_path / "tokenizer.json").write_text(json.dumps(keys), encoding="utf-8")
    text = "unquestionably reproducible " * 9
    ids = vocabularies.load("gpt2").encode(text)
    assert bpe.load(tmp_path / "tokenizer.json").encode(text) == ids
    assert checkpoint_processor.load(tmp_path).tokens.encode(text) == ids


def test_a_hub_tokenizer_json_of_clip_decodes_without_its_suffix(tmp_path):
    keys = json.loads(vocabularies.load("clip").json)
    keys["decoder"] = {"type": "ByteLevel"} | dict.fromkeys(
        ("add_prefix_space", "trim_offsets", "use_regex"), True
    )
    (tmp_path / "tokenizer.json").write_text(json.dumps(keys), encoding="utf-8")
    loaded = bpe.load(tmp_path / "tokenizer.json")
    assert loaded.decode(loaded.encode("red foxes")) == "red foxes"


def test_what_is_none_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no tokenizer 'clop': .*nor one of clip"):
        vocabularies.load("clop")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(TokenizerError, match="no vocab.txt; it holds model.safetensors"):
        pretrained.load(tmp_path)
    folder = written(tmp_path / "other", "gpt2", tokenizer_class="CTRLTokenizer")
    with pytest.raises(TokenizerError, match="is a CTRLTokenizer;.*save_pretrained"):
        pretrained.load(folder)
    (folder / "merges.txt").write_text("#version: 0.2\na b\na b c\n")
    with pytest.raises(TokenizerError, match="merge 2 is 'a b c'"):
        pretrained.load(folder)
    (folder / "merges.txt").write_text("a b\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "RobertaTokenizer"}')
    with pytest.raises(TokenizerError, match="other has no <s> and </s>: it is not a RoBERTa"):
        pretrained.load(folder)
    (folder / "vocab.json").write_text('{"<s>": 0, "</s>": 1}')
    with pytest.raises(TokenizerError, match="other: vocab.json does not fit merges.txt: .*`a`"):
        pretrained.load(folder)
    (folder / "vocab.json").write_text("{")
    with pytest.raises(TokenizerError, match="vocab.json is not JSON"):
        pretrained.load(folder)
    with pytest.raises(TokenizerError, match=r"no \[PAD\], \[UNK\].*not a BERT vocabulary"):
        pretrained.bert(["a", "b"])


def test_cleaning():
    text = "caf\u00c3\u00a9  &amp;lt;\u201cRED\u201d\nfox&#39;s ﬁn"
    assert WebText()(text) == 'café <"red" fox\'s fin'


def test_golden_strings_are_those_of_the_generator():
    from tests.golden.make_tokenizers import COUNT
    from tests.golden.strings import varied

    assert [text for _, text in varied(COUNT)] == GOLDEN["texts"]
