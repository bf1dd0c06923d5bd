"""CapFilt: what is kept of web texts and captions, bad pictures, going on, and real checkpoints."""

import dataclasses
import json
import os

import jax
import numpy as np
import pytest
import tokenizers
from flax.linen import unbox
from PIL import Image

import mmjax
from mmjax.commands import capfilt
from mmjax.config import ConfigError
from mmjax.conversion import blip as conversion
from mmjax.conversion.load import Loaded
from mmjax.data.source import DataError
from mmjax.datasets import emoji
from mmjax.errors import NotFinite
from mmjax.generation.options import Options
from mmjax.layers import transformer
from mmjax.main import main
from mmjax.models import blip, vit
from mmjax.readers import manifest
from mmjax.run import captioned
from mmjax.run.attention import attended
from mmjax.run.blip import Blip

THINGS = ("pizza", "tiger", "red heart", "automobile", "sunflower")
BODY = transformer.Config(width=16, layers=1, heads=2, hidden=32)
READ = dataclasses.replace(BODY, norm="post", initialisation="bert")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"a an of the red big cat pizza tiger heart".split()]
VOCABULARY = [*WORDS, "[DEC]", "[ENC]"]
WHOLE = blip.Config(
    vit.Config(image_size=8, patch_size=4, transformer=BODY), len(VOCABULARY), 24, READ,
    embedding=8, start_id=len(WORDS), match_id=len(WORDS) + 1, end_ids=(3,),
)  # fmt: skip
GREEDY = Options(max_new_tokens=6, suppressed=(0, 1, 2, 3, len(WORDS), len(WORDS) + 1))


@pytest.fixture
def photos(tmp_path):
    """Five drawings in two folders; most have texts beside them; a broken one among them."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    drawn = {one.name: one.images[0] for one in emoji.concepts()}
    for number, name in enumerate(THINGS):
        stem = f"{'deep/' * (number % 2)}{name}"
        (folder / f"{stem}.webp").write_bytes(drawn[name])
        if number:
            (folder / f"{stem}.txt").write_text(f"the {name}\n\na big cat\n")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


class Stub(Blip):
    """A captioner and a filter that look at the colour of a picture alone."""

    def __init__(self, scores=None):
        self.config = WHOLE
        self.scores = scores
        params = {"one": np.ones(1 + (scores is not None), np.float32)}
        self.loaded = Loaded("native", blip.Model(WHOLE), params, None, WHOLE)
        self.asked = []

    def pixels(self, pictures):
        return np.stack([picture.mean((0, 1)) for picture in pictures])

    def image_tokens(self, pixels):
        self.asked.append(len(pixels))
        return pixels

    def write(self, context, options, seeds, begin):
        assert len(context) == len(seeds) and options.top_p == 0.9 and options.temperature == 1
        pairs = zip(seeds.tolist(), context, strict=True)
        return [f"{begin} {seed % 97} {colour[0]:.0f}" for seed, colour in pairs]

    def match(self, context, places, texts, size):
        assert len(context) == size and all(0 <= place < size for place in places)
        if self.scores is not None:
            return np.array([self.scores(text) for text in texts], np.float32)
        return np.array([0.9 if "cat" in text else 0.2 for text in texts], np.float32)


def options(photos, **changes):
    given = dict(data=str(photos), captioner="here", out=str(photos.parent / "filtered.jsonl"))
    return capfilt.Options(**{**given, "batch_size": 2, "chunk": 2, "prompt": "a", **changes})


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def filtered(photos, captioner=None, matcher=None, **changes):
    captioner = captioner or Stub()
    chosen = options(photos, **changes)
    return capfilt.filtered(captioner, matcher or captioner, captioned.open(chosen.data), chosen)


def test_texts_that_match_are_written_for_the_manifest_reader(photos, tmp_path, capsys):
    model = Stub(lambda text: 0.75 if text.startswith("a ") else 0.25)
    found = filtered(photos, model)
    assert found.judged == {"web": 8, "synthetic": 5} and found.kept == {"web": 4, "synthetic": 5}
    assert found.pictures == 5 and len(found.faults) == 1
    said = capsys.readouterr().out
    assert "web       4 of 8 kept, 4 dropped" in said
    assert "synthetic 5 of 5 kept, 0 dropped" in said
    assert "broken.png: no image format we know" in said and "note: 1 cannot be read" in said
    assert "filtered.jsonl: 9 texts, from 5 pictures" in said
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob("*.draft"))

    rows = lines(tmp_path / "filtered.jsonl")
    assert {row["source"] for row in rows} == {"web", "synthetic"}
    assert {row["match"] for row in rows} == {0.75}
    assert {row["image"] for row in rows} >= {"photos/deep/tiger.webp", "photos/pizza.webp"}
    columns = dict(match=dict(kind="float"), kind=dict(name="source", kind="text"))
    columns = {name: manifest.Column(**column) for name, column in columns.items()}
    source = manifest.open(manifest.Config(str(tmp_path / "filtered.jsonl"), columns=columns))
    assert len(source) == 9 and set(source[0]) >= {"image", "text", "match", "kind"}
    assert len(np.unique(source.column("group"))) < 9, "texts of a picture are one group"
    assert set(model.asked) == {2}, "every batch has one shape"


def test_the_filter_may_be_another_model(photos, tmp_path):
    matcher = Stub(lambda text: 0.6)
    found = filtered(photos, matcher=matcher, threshold=0.6)
    assert found.kept == found.judged and set(matcher.asked) == {2}
    with pytest.raises(DataError, match=r"not one of 13 texts stays at threshold=0.7: .* is 0.600"):
        filtered(photos, matcher=matcher, threshold=0.7)
    quiet = Stub(lambda text: 0.6)
    filtered(photos, matcher=quiet, threshold=0.55)  # what was judged is still there
    assert quiet.asked == []
    with pytest.raises(NotFinite, match="webp: the filter's probability is no number"):
        filtered(photos, matcher=Stub(lambda text: np.nan))


def test_stopped_it_goes_on_where_it_was(photos, tmp_path):
    out = tmp_path / "filtered.jsonl"
    filtered(photos, chunk=1, threshold=0.1)
    undisturbed = out.read_bytes()
    out.unlink()

    class Stopped(Stub):
        def match(self, context, places, texts, size):
            if len(self.asked) == 3:
                raise KeyboardInterrupt
            return super().match(context, places, texts, size)

    with pytest.raises(KeyboardInterrupt):
        filtered(photos, Stopped(), chunk=1, threshold=0.1)
    assert not out.exists()
    again = Stub()
    found = filtered(photos, again, chunk=1, threshold=0.1)
    assert len(again.asked) == 3 and out.read_bytes() == undisturbed
    assert found.pictures == 5 and len(found.faults) == 1, "what was met before is told again"
    filtered(photos, chunk=1, threshold=0.1, seed=1)
    assert out.read_bytes() != undisturbed
    filtered(photos, chunk=5, threshold=0.1, batch_size=4)
    assert sorted(lines(out), key=str) == sorted(map(json.loads, undisturbed.splitlines()), key=str)


def test_pictures_of_a_manifest_are_captioned_once(photos, tmp_path):
    rows = [
        {"file": "photos/pizza.webp", "says": "a pizza"},
        {"file": "photos/deep/tiger.webp", "says": ["a tiger", " "]},
        {"file": "photos/pizza.webp", "says": "a big cat"},
        {"file": str(photos / "sunflower.webp"), "says": None},
        {"file": None, "says": "nowhere"},
    ]
    path = tmp_path / "web.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = captioned.open(str(path), "file", "says")
    assert [os.path.basename(one) for one in found.paths] == [
        "pizza.webp", "tiger.webp", "sunflower.webp",
    ]  # fmt: skip
    assert found.texts == (("a pizza", "a big cat"), ("a tiger",), ())
    assert len(found.faults) == 1 and "line 5" in found.faults[0]
    assert captioned.open(str(path), "file").texts == ((), (), ())
    with pytest.raises(DataError, match="no column 'image'; it has: file, says"):
        captioned.open(str(path))


def test_what_cannot_be_done_is_said(photos, tmp_path, capsys):
    given = [f"--data={photos}", f"--out={tmp_path}/a.jsonl", "--captioner=emoji_clip"]
    for flags, message in (
        (given[:2], "needs --data=, --captioner= and --out="),
        ([*given, "--out=a.csv"], "the manifest is a .jsonl"),
        ([*given, "--threshold=2"], "threshold=2.0: a probability, 0 to 1"),
        ([*given, "--batch_size=0"], "batch_size=0: 1 or more"),
        ([*given, "--data=emoji"], "give a folder of pictures, or a manifest of them"),
    ):
        assert main(["--mode=capfilt", *flags]) == 2
        assert message in capsys.readouterr().err
    other = Loaded("native", vit.Model(WHOLE.image), {}, None, WHOLE.image)
    with pytest.raises(ConfigError, match="a vit neither describes pictures nor matches texts: gi"):
        Blip(other)
    reader = Stub()
    reader.config = dataclasses.replace(WHOLE, texts="encoder")
    writer = Stub()
    writer.config = dataclasses.replace(
        WHOLE, texts="decoder", embedding=0, matching=False, scale_init=None
    )
    with pytest.raises(ConfigError, match="the captioner writes no texts"):
        filtered(photos, reader)
    with pytest.raises(ConfigError, match="the filter has no head that matches.* with --filter="):
        filtered(photos, writer)


def checkpoint(folder, texts, params):
    """A part of the whole model, as the hub has it."""
    folder.mkdir(exist_ok=True)
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, "[UNK]")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.add_special_tokens([word for word in VOCABULARY if word[0] == "["])
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    backend.save(str(folder / "tokenizer.json"))
    pixels = {"image_processor_type": "BlipImageProcessor", "size": {"height": 8, "width": 8}}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    config, own = conversion.separated(WHOLE, params, texts)
    mmjax.save(Loaded("blip", blip.Model(config), own, None, config), folder)
    return folder


def drawn():
    """Parameters of the whole model that leave no part without influence."""
    shapes = jax.eval_shape(blip.Model(WHOLE).init, jax.random.key(0), *blip.inputs(WHOLE))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jax.numpy.asarray(0.5 * rng.normal(size=x.shape), "float32"),
                        unbox(shapes)["params"])  # fmt: skip


@pytest.mark.slow
def test_checkpoints_of_the_hub_and_a_whole_model(photos, tmp_path, monkeypatch):
    """They say the same; a run that was stopped ends with the file of one that was not."""
    params = drawn()
    captioner = checkpoint(tmp_path / "captions", "decoder", params)
    matcher = checkpoint(tmp_path / "matching", "encoder", params)
    out = tmp_path / "filtered.jsonl"
    flags = [
        "--mode=capfilt", f"--data={photos}", f"--captioner={captioner}", f"--filter={matcher}",
        f"--out={out}", "--batch_size=2", "--chunk=2", "--threshold=0", "--max_new_tokens=5",
        "--temperature=4",
    ]  # fmt: skip
    assert main(flags) == 0
    undisturbed = lines(out)
    assert len(undisturbed) == 13
    assert len({row["match"] for row in undisturbed}) > 5
    assert len({row["text"] for row in undisturbed if row["source"] == "synthetic"}) > 1

    out.unlink()
    kept = capfilt.Chunks.put

    def put(chunks, number, content):
        if number == 2:
            raise KeyboardInterrupt
        kept(chunks, number, content)

    monkeypatch.setattr(capfilt.Chunks, "put", put)
    assert main(flags) == 130 and not out.exists()
    monkeypatch.undo()
    assert main(flags) == 0
    assert lines(out) == undisturbed

    processor = mmjax.load(captioner).processor
    whole = Blip(Loaded("native", blip.Model(WHOLE), params, processor, WHOLE))
    chosen = options(photos, threshold=0.0, max_new_tokens=5, temperature=4.0, prompt="")
    capfilt.filtered(whole, whole, captioned.open(str(photos)), chosen)
    for one, other in zip(lines(out), undisturbed, strict=True):
        assert one["match"] == pytest.approx(other.pop("match"), abs=2e-5)
        assert {**one, "match": None} == {**other, "match": None}


@pytest.mark.slow
def test_a_match_is_that_of_the_text_behind_enc(tmp_path):
    """Whatever it is padded to; and where such a model looks, for a caption and for an answer."""
    params = drawn()
    of_hub = mmjax.load(checkpoint(tmp_path / "captions", "decoder", params))
    processor = of_hub.processor
    model = Loaded("native", blip.Model(WHOLE), params, processor, WHOLE)
    whole = Blip(model)
    pixels = whole.pixels([np.asarray(Image.new("RGB", (9, 9), name)) for name in ("red", "blue")])
    texts = ["the red heart", "a cat", "a big red cat"]
    found = whole.match(whole.image_tokens(pixels), [0, 0, 1], texts, size=2)
    read = processor(text=texts)
    ids = np.concatenate([np.full((3, 1), WHOLE.match_id), read["ids"][:, 1:]], axis=1)
    output = jax.jit(model.model.apply)(model.variables, pixels[[0, 0, 1]], ids, read["mask"])
    np.testing.assert_allclose(jax.nn.softmax(output.matching)[:, 1], found, atol=1e-5)

    red = np.zeros((8, 8, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    caption = attended(model, red, options=GREEDY)
    config, own = conversion.separated(WHOLE, params, "both")
    answering = Loaded("native", blip.Model(config), own, processor, config)
    answer = attended(answering, red, "the red heart", GREEDY)
    for looked in (caption, answer):
        assert looked.maps.shape[1:] == (1, 2, 2) and len(looked.maps) == len(looked.words) > 0
        shares = looked.maps.sum((1, 2, 3))
        assert (shares > 0.05).all() and (shares < 1).all()  # the class token has the rest
        assert np.abs(looked.picture.astype(int) - red).max() <= 1
    assert not np.array_equal(caption.maps[0], answer.maps[0])
    same = attended(of_hub, red, options=GREEDY)
    assert same.words == caption.words
    np.testing.assert_allclose(same.maps, caption.maps, atol=1e-5)
    with pytest.raises(ConfigError, match="answers no questions: it has texts='shared', not 'bot"):
        attended(model, red, "the red heart")
    with pytest.raises(ConfigError, match="BLIP describes one picture, not 2: ask it of each"):
        attended(model, [red, red])
