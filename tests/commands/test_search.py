"""Embedding and searching: files, manifests, bad pictures, going on, and a known answer."""

import dataclasses
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mmjax
from mmjax import tree
from mmjax.commands import embed, search
from mmjax.config import ConfigError
from mmjax.data.source import CorruptExample, DataError
from mmjax.datasets import emoji
from mmjax.errors import NotFinite
from mmjax.main import main
from mmjax.processors import base
from mmjax.processors.checkpoints.pixels import Pixels
from mmjax.readers import embeddings
from mmjax.run import listing

GOLDEN = Path(__file__).parents[1] / "golden" / "checkpoints"
THINGS = ("pizza", "tiger", "red heart", "automobile", "cat face", "sunflower")


@pytest.fixture(scope="module")
def encoder():
    return embed.Encoder(mmjax.load("emoji_clip"))


@pytest.fixture
def photos(tmp_path):
    """Six drawings as files in two folders, a broken one, and a manifest of them."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    drawn = {one.name: one.images[0] for one in emoji.concepts()}
    lines = []
    for number, name in enumerate(THINGS):
        path = f"{'deep/' * (number % 2)}{name}.webp"
        (folder / path).write_bytes(drawn[name])
        lines.append({"picture": path, "text": f"a drawing of a {name}"})
    (folder / "z_broken.png").write_bytes(b"no picture")
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


class Padded(base.Processor):
    """A processor of a tiny checkpoint, which has no files for one."""

    def __init__(self, config):
        size, self.text = config.image.image_size, config.text
        cut = dict(patch=config.image.patch_size, patches=config.image.patches)
        self.pixels = Pixels(
            **(cut if config.image.native_aspect else dict(height=size, width=size))
        )

    takes = ("image", "text")
    arguments = {"image": "images", "text": "ids", "text_mask": "mask"}
    evaluate = ()

    def inputs(self, fields):
        if "image" in fields:
            return {"images": self.pixels(fields["image"])}
        text = fields["text"]
        longest = self.text.context_length
        length = longest if self.text.padded_in_full else min(longest, max(map(len, text)))
        ids = np.zeros((len(text), length), np.int32)
        for row, one in enumerate(text):
            numbers = [1 + ord(letter) % 7 for letter in one][:length]
            ids[row, : len(numbers)] = numbers
        return {"ids": ids, "mask": ids > 0}


@pytest.mark.parametrize("name", ["clip", "siglip", "siglip2", "open_clip_vit", "open_clip_rn"])
def test_checkpoints_of_every_kind_are_encoded_as_one_by_one(name):
    loaded = mmjax.load(GOLDEN / name)
    if loaded.processor is None:
        loaded = dataclasses.replace(loaded, processor=Padded(loaded.config))
    encoder = embed.Encoder(loaded)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (40 + 9 * i, 50, 3)).astype(np.uint8) for i in range(3)]
    together = encoder.images(pictures, 4)
    assert together.shape == (3, loaded.config.embedding)
    np.testing.assert_allclose(encoder.images(pictures[2:], 4)[0], together[2], atol=1e-5)
    texts = encoder.texts(["a cat", "a dog"], 4)
    np.testing.assert_allclose(encoder.texts(["a dog"], 4)[0], texts[1], atol=1e-5)
    assert encoder.fingerprint != embed.Encoder(mmjax.load("emoji_clip")).fingerprint


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match="a bert has no vectors .* give a CLIP or a SigLIP"):
        embed.Encoder(mmjax.load(GOLDEN.parent / "bert" / "bert"))
    with pytest.raises(ConfigError, match="does not say how its inputs are prepared"):
        embed.Encoder(mmjax.load(GOLDEN / "clip"))


@pytest.mark.parametrize("suffix", embeddings.SUFFIXES)
def test_a_folder_is_embedded_and_what_is_broken_left_out(photos, tmp_path, capsys, suffix):
    out = tmp_path / f"photos{suffix}"
    found = embed.run(embed.Options(str(photos), str(out), batch_size=2, chunk=3))
    said = capsys.readouterr().out
    assert "1 of 7 cannot be read" in said and "z_broken.png: no image format we know" in said
    assert f"photos{suffix}: 6 images x 192" in said
    assert found.vectors.shape == (6, 192) and found.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)
    assert found.rows.tolist() == list(range(6))
    assert found.names == tuple(sorted(found.names)) and "deep/tiger.webp" in found.names
    assert found.about["kind"] == "images" and found.about["model"] == "emoji_clip"
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob("*.draft"))


def test_batches_and_chunks_do_not_matter(encoder, photos, tmp_path):
    rows = listing.open(str(photos))
    one, other = (
        embed.embed(encoder, rows, embed.Options(str(photos), str(tmp_path / name), **sizes))
        for name, sizes in (("a.npy", dict(chunk=2)), ("b.parquet", dict(batch_size=2)))
    )
    np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)
    assert one.names == other.names


def test_stopped_it_goes_on_where_it_was(encoder, photos, tmp_path):
    options = embed.Options(str(photos), str(tmp_path / "out.npy"), batch_size=2, chunk=2)
    rows = listing.open(str(photos))
    read = []

    def get(row, stop=4):
        read.append(row)
        if row == stop:
            raise KeyboardInterrupt
        return rows.get(row)

    def listed(get):
        return listing.Listing(len(rows), get, rows.name, rows.fingerprint)

    with pytest.raises(KeyboardInterrupt):
        embed.embed(encoder, listed(get), options)
    assert not (tmp_path / "out.npy").exists()
    read.clear()
    found = embed.embed(encoder, listed(lambda row: get(row, -1)), options)
    assert read == [4, 5, 6]
    assert found.names == embed.embed(encoder, rows, options).names
    # of other data nothing is taken over
    with pytest.raises(KeyboardInterrupt):
        embed.embed(encoder, listed(get), options)
    (photos / "pizza.webp").write_bytes((photos / "red heart.webp").read_bytes())
    rows = listing.open(str(photos))
    read.clear()
    embed.embed(encoder, listed(lambda row: get(row, -1)), options)
    assert read == list(range(7))


def test_texts_of_unknown_words_are_left_out(encoder, tmp_path, capsys):
    (tmp_path / "lines.txt").write_text("a cat\nxylograph\nred heart\n")
    data, out = str(tmp_path / "lines.txt"), str(tmp_path / "out.npy")
    options = embed.Options(data, out, kind="texts")
    found = embed.embed(encoder, listing.open(data, "texts"), options)
    assert found.rows.tolist() == [0, 2]
    expected = encoder.texts(["a cat", "red heart"])
    np.testing.assert_allclose(np.asarray(found.vectors), expected, atol=1e-5)
    assert "1 of 3 cannot be read" in capsys.readouterr().out
    with pytest.raises(CorruptExample, match="'xylograph' holds no word that the tokenizer knows"):
        search.run(search.Options("xylograph"))


def test_texts_that_are_no_utf8_are_left_out(encoder, tmp_path, capsys):
    lines = tmp_path / "lines.txt"
    lines.write_bytes(b"a cat\nred caf\xe9\nred heart\n")
    listed = tmp_path / "list.jsonl"
    listed.write_bytes(b'{"text": "a cat"}\n{"text": "red caf\xe9"}\n{"text": "half \\ud83d"}\n')
    for data, rows in ((lines, [0, 2]), (listed, [0])):
        for out in (tmp_path / "out.npy", tmp_path / "out.parquet"):
            options = embed.Options(str(data), str(out), kind="texts")
            found = embed.embed(encoder, listing.open(str(data), "texts"), options)
            assert found.rows.tolist() == rows
            said = capsys.readouterr().out
            assert "red caf\ufffd: invalid UTF-8: byte 0xe9 at position 7" in said


def test_a_folder_with_what_is_no_file(encoder, photos, tmp_path, capsys):
    os.mkfifo(photos / "pipe.png")
    (photos / "gone.png").symlink_to("nowhere.png")
    (photos / "loop.png").symlink_to("loop.png")
    (photos / os.fsdecode(b"caf\xe9.png")).write_bytes(b"no picture")
    options = embed.Options(str(photos), str(tmp_path / "out.parquet"))
    found = embed.embed(encoder, listing.open(str(photos)), options)
    assert len(found.names) == len(THINGS)
    said = capsys.readouterr().out
    assert "5 of 11 cannot be read" in said and "caf\ufffd.png" in said
    assert "pipe.png: it is a pipe" in said and "loop.png: Too many levels" in said


def test_texts_of_a_manifest_and_of_lines(encoder, photos, tmp_path):
    manifest = str(photos / "list.jsonl")
    (tmp_path / "lines.txt").write_text("".join(f"a drawing of a {one}\n\n" for one in THINGS))
    found = [
        embed.embed(
            encoder, listing.open(data, "texts"), embed.Options(data, str(out), kind="texts")
        )
        for data, out in (
            (manifest, tmp_path / "a.npy"),
            (str(tmp_path / "lines.txt"), tmp_path / "b.npy"),
        )
    ]
    assert found[0].names == found[1].names == tuple(f"a drawing of a {one}" for one in THINGS)
    np.testing.assert_allclose(found[0].vectors, found[1].vectors, atol=1e-6)
    pictures = listing.open(manifest, "images", "picture")
    assert pictures.get(1) == (photos / "deep/tiger.webp").read_bytes()
    assert pictures.name(1) == "deep/tiger.webp"


def test_search_by_picture_over_an_index_of_ones_own(photos, tmp_path, capsys):
    out, sheet = str(tmp_path / "photos.parquet"), tmp_path / "sheet.png"
    assert main(["--mode=embed", f"--data={photos}", f"--out={out}"]) == 0
    query = photos / "deep" / "tiger.webp"
    flags = [f"--query={query}", f"--index={out}", "--count=3", f"--out={sheet}"]
    assert main(["--mode=search", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    best = next(line for line in lines if "tiger" in line)
    assert re.match(r"1\.000\s+deep/tiger\.webp", best)
    assert f"drawn: {sheet}" in lines and Image.open(sheet).width > 800
    query.unlink()  # the data has changed: names are drawn
    hits = search.run(search.Options("a tiger", out, count=2, out=str(sheet)))
    assert len(hits) == 2
    assert "photos has changed since it was embedded" in capsys.readouterr().out


def test_names_that_are_no_utf8(encoder, tmp_path, capsys):
    """Of files, and in a query: no UnicodeEncodeError, in either kind of file."""
    folder = tmp_path / "photos"
    folder.mkdir()
    drawn = {one.name: one.images[0] for one in emoji.concepts()}
    (folder / os.fsdecode(b"caf\xe9 \x1b[2J.webp")).write_bytes(drawn["tiger"])
    (folder / os.fsdecode(b"broken\xff.png")).write_bytes(b"no picture")
    for out in (tmp_path / "a.npy", tmp_path / "a.parquet"):
        options = embed.Options(str(folder), str(out))
        made = embed.embed(encoder, listing.open(str(folder)), options)
        assert made.names == ("caf\ufffd \x1b[2J.webp",)
        sheet = tmp_path / "sheet.png"
        flags = ["--mode=search", "--query=a tiger", f"--index={out}", f"--out={sheet}"]
        assert main(flags) == 0 and sheet.exists()
        assert "caf\ufffd \\x1b[2J.webp" in capsys.readouterr().out
    typed = os.fsencode("un caf\xe9").decode("ascii", "surrogateescape")  # as LC_ALL=C reads it
    assert search._text(typed) == "un caf\xe9"
    assert main(["--mode=search", "--query=\udcff"]) == 2
    assert "--query=\\udcff: this is no valid UTF-8" in capsys.readouterr().err


def test_a_big_cat_among_the_emoji(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MMJAX_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    flags = ["--mode=search", "--query=a big cat"]
    assert main(flags) == 0
    first = capsys.readouterr().out
    assert "cat face" in first and not list(tmp_path.glob("*.png")), "nothing is drawn unasked"
    (kept,) = (tmp_path / "embeddings").glob("*.npy")
    changed = kept.stat().st_mtime_ns
    hits = search.run(search.Options("a big cat"))
    names = [hit.name for hit in hits]
    assert sum("cat" in name or name in ("tiger", "leopard", "lion") for name in names) >= 6
    assert kept.stat().st_mtime_ns == changed
    for word in ("pizza", "red heart"):
        assert word in [hit.name for hit in search.run(search.Options(word, count=5))]


def test_what_cannot_be_done_is_said(photos, tmp_path, capsys):
    (tmp_path / "photos.png").mkdir()
    for flags, message in (
        (["--mode=search"], "needs a --query"),
        (["--mode=search", "--query=none.png"], "there is no such picture"),
        (["--mode=search", "--query=a", "--index=none.npy"], "--mode=embed writes one"),
        (["--mode=search", "--query=a", "--out=x.xyz"], "a picture's name ends in .png, .jpg"),
        (["--mode=search", "--query=a", f"--out={photos}.png/"], "is a folder: name a file in it"),
        (["--mode=embed", "--data=x"], "needs --data= and --out="),
        (["--mode=embed", "--data=nothing", "--out=a.npy"], "there is no such folder or file"),
        (["--mode=embed", f"--data={photos}", f"--out={tmp_path}/a.txt"], ".npy or .parquet"),
    ):
        assert main(flags) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(DataError, match="no column 'caption'; it has: picture, text"):
        listing.open(str(photos / "list.jsonl"), "texts", "caption")
    with pytest.raises(DataError, match="texts are read from a manifest"):
        listing.open(str(photos), "texts")
    np.save(tmp_path / "foreign.npy", np.zeros((2, 3), np.float32))
    with pytest.raises(DataError, match="holds no embeddings of mmjax"):
        embeddings.open(tmp_path / "foreign.npy")
    with pytest.raises(DataError, match="lines.txt .*is a link that leads to no list of texts"):
        (tmp_path / "lines.txt").symlink_to("nowhere.txt")
        listing.open(str(tmp_path / "lines.txt"), "texts")
    index = embed.run(embed.Options(str(photos), str(tmp_path / "a.npy")))
    beside = json.loads((tmp_path / "a.json").read_text())
    beside["about"]["parameters"] = "others"
    (tmp_path / "a.json").write_text(json.dumps(beside))
    with pytest.raises(ConfigError, match="vectors of two models do not compare"):
        search.run(search.Options("a", str(tmp_path / "a.npy")))
    assert len(index.names) == 6


@pytest.mark.parametrize("suffix", embeddings.SUFFIXES)
def test_a_cut_index_is_refused_by_name(tmp_path, suffix):
    out = tmp_path / f"index{suffix}"
    about = dict(model="a", parameters="b", data="c", rows="d", kind="images", column="")
    writer = embeddings.Writer(out, about, 1)
    writer.put(0, embeddings.Chunk(np.eye(50, dtype=np.float32), np.arange(50)))
    writer.finish(str)
    assert embeddings.open(out).vectors.shape == (50, 50)
    for path in tmp_path.glob("index.*"):
        whole = path.read_bytes()
        for content in (b"", whole[:-20], whole[: len(whole) // 2], b"x" * 500, whole[:60]):
            path.write_bytes(content)
            with pytest.raises(DataError, match=f"index{suffix} is cut off or damaged: .*anew"):
                embeddings.open(out)
        path.write_bytes(whole)
    assert embeddings.open(out).names[49] == "49"


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """The emoji CLIP with a NaN in one of its parameters, in a file that is whole."""
    folder = tmp_path_factory.mktemp("broken")
    loaded = mmjax.load("emoji_clip")
    flat = {path: np.array(leaf) for path, leaf in tree.flatten(loaded.params).items()}
    flat["image_head/kernel"][3, 4] = np.nan
    mmjax.save(dataclasses.replace(loaded, params=tree.unflatten(flat)), folder)
    return folder


def test_weights_that_are_not_finite_are_refused(broken, photos, tmp_path, capsys):
    """By name, wherever a model is asked for; today's ranking of NaNs would look like an answer."""
    config = "--config=configs/contrastive/clip_emoji.py:smoke"
    for words in (
        ["--mode=embed", f"--data={photos}", f"--out={tmp_path / 'out.npy'}"],
        ["--mode=search", "--query=a cat"],
        ["--mode=evaluate", config, "--split=test"],
    ):
        assert main([*words, f"--model={broken}"]) == 2
        message = capsys.readouterr().err
        assert f"CheckpointFileError: {broken}: not finite (NaN or infinity): image_h" in message
    assert not (tmp_path / "out.npy").exists()


def test_vectors_that_are_not_finite_are_refused(encoder, photos, tmp_path):
    flat = tree.flatten(encoder.loaded.params)
    large = {path: leaf * np.inf if "image_head" in path else leaf for path, leaf in flat.items()}
    loaded = dataclasses.replace(encoder.loaded, params=tree.unflatten(large))
    pictures = [(photos / "pizza.webp").read_bytes()]
    with pytest.raises(NotFinite, match="the native makes vectors of pictures with a"):
        embed.Encoder(loaded).images(pictures)
    assert np.isfinite(embed.Encoder(loaded).texts(["a cat"])).all()


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_index_that_is_not_finite_is_refused(tmp_path, suffix, value):
    vectors = np.eye(4, dtype=np.float32)
    vectors[2, 1] = value
    about = dict(model="a", parameters="b", data="c", rows="d", kind="images", column="")
    writer = embeddings.Writer(tmp_path / f"index{suffix}", about, 1)
    writer.put(0, embeddings.Chunk(vectors, np.arange(4)))
    writer.finish(str)
    with pytest.raises(DataError, match="vectors of 1 of 4 rows hold a NaN or an infinity, the fi"):
        embeddings.open(tmp_path / f"index{suffix}")
