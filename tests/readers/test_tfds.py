"""TFDS by name or folder: a small set prepared here, and what is said where one cannot be read."""

import io
import os
import pickle
import shutil
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow_datasets as datasets
from PIL import Image
from pyarrow import parquet

from mmjax.data.source import CorruptExample, DataError
from mmjax.readers import tfds
from mmjax.transforms.images import DecodeImage


def png(value):
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (value, 0, 0)).save(file, "png")
    file.seek(0)
    return file


class Pairs(datasets.core.GeneratorBasedBuilder):
    """Pictures with one caption, two captions and a class."""

    VERSION = datasets.core.Version("1.0.0")

    def _info(self):
        kinds = datasets.features
        several = kinds.Sequence({"text": kinds.Text(), "id": np.int64})
        features = {"image": kinds.Image(shape=(None, None, 3)), "caption": kinds.Text(),
                    "label": kinds.ClassLabel(names=["cat", "dog"])}  # fmt: skip
        features["captions"] = several
        return datasets.core.DatasetInfo(builder=self, features=kinds.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(24), "test": self._generate_examples(3)}

    def _generate_examples(self, count):
        for at in range(count):
            captions = [{"text": f"a{at}", "id": 1}, {"text": f"b{at}", "id": 2}]
            yield at, {"image": png(at), "caption": f"picture {at}", "label": at % 2,
                       "captions": captions}  # fmt: skip


def prepare(folder, form, shards=1):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", io.StringIO())  # its bars
        Pairs(data_dir=folder, file_format=form).download_and_prepare(
            download_config=datasets.download.DownloadConfig(num_shards=shards)
        )
    return folder


@pytest.fixture(scope="module", params=["array_record", "parquet"])
def prepared(request, tmp_path_factory):
    """The data_dir of the prepared set."""
    return prepare(tmp_path_factory.mktemp(request.param), request.param)


def opened(path, **options):
    return tfds.open(tfds.Config(str(path), **options))


def test_by_name_and_by_folder(prepared):
    source = opened("pairs", data_dir=str(prepared), text="caption")
    assert len(source) == 24 and source.class_names == ("cat", "dog")
    for one in source:
        at = int(one["text"].removeprefix("picture "))  # TFDS shuffles
        assert DecodeImage()(one)["image"][0, 0, 0] == at and one["label"] == at % 2
    assert source.locate(3) == "pairs/1.0.0 train, record 3"
    same = opened(prepared / "pairs" / "1.0.0", text="caption")
    assert same.fingerprint == source.fingerprint and same[5] == source[5]
    test = opened("pairs", data_dir=str(prepared), text="caption", split="test")
    assert len(test) == 3 and test.fingerprint != source.fingerprint


def test_captions_in_sequences_and_from_classes(prepared):
    source = opened("pairs", data_dir=str(prepared), text="captions/text")
    assert all(len(one["text"]) == 2 and one["text"][1][0] == "b" for one in source)
    source = opened("pairs", data_dir=str(prepared), text="", image="")
    assert {one["text"] for one in source} == {"a photo of a cat.", "a photo of a dog."}


@pytest.mark.parametrize("form", ["array_record", "parquet"])
def test_slices(form, tmp_path):
    """Of sets in several files, and of files in several row groups, as TFDS' reader gives them."""
    prepare(tmp_path, form, shards=2)
    for file in tmp_path.rglob("*.parquet-*"):
        parquet.write_table(parquet.read_table(file), file, row_group_size=4)
    whole = {}
    for split in ("train", "test"):
        found = Pairs(data_dir=tmp_path, file_format=form).as_data_source(split)
        whole[split] = [one["caption"].decode() for one in found]
    train, test, ends = whole["train"], whole["test"], whole["train"][:3] + whole["train"][20:]
    assert sorted(train) == sorted(f"picture {at}" for at in range(24)) and len(test) == 3
    for split, expected in {
        "train": train, "train[10:20]": train[10:20], "train[:50%]": train[:12],
        "train[-3:]": train[-3:], "train+test": train + test,
        "train[5:8]+test[2:3]": train[5:8] + test[2:3], "train[:3]+train[20:]": ends,
    }.items():  # fmt: skip
        source = opened("pairs", data_dir=str(tmp_path), text="caption", split=split)
        assert [one["text"] for one in source] == expected, split
        number = int(source[0]["text"].removeprefix("picture "))
        assert DecodeImage()(pickle.loads(pickle.dumps(source))[0])["image"][0, 0, 0] == number
    part = opened("pairs", data_dir=str(tmp_path), text="caption", split="train[5:8]")
    assert part.locate(0) == "pairs/1.0.0 train[5:8], pairs-train." + form + (
        "-00000-of-00002, record 5"
    )
    with pytest.raises(DataError, match=r"train\[:0\] has no records"):
        opened("pairs", data_dir=str(tmp_path), text="caption", split="train[:0]")


def test_wrong_names_are_refused(prepared, monkeypatch):
    data = dict(data_dir=str(prepared))
    for config, message in (
        (dict(text="captoin"), "no record has a field 'captoin'.*did you mean text='caption'"),
        (dict(text="caption", split="valid"), "has no split 'valid'; it has train, test"),
        (dict(text="caption", image="label"), "image='label' is ClassLabel, no Image.*has image"),
    ):
        with pytest.raises(DataError, match=message):
            opened("pairs", **data, **config)
    with pytest.raises(DataError, match="no set 'mnits'.*did you mean mnist"):
        opened("mnits", **data)
    with pytest.raises(DataError, match=r"no dataset_info.json; give .*pairs.1.0.0"):
        opened(prepared / "pairs")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DataError, match="pip install tensorflow-datasets"):
        opened("mnist")


def test_an_absent_network_is_said_at_once(tmp_path, monkeypatch):
    def absent(address, timeout):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", absent)
    with pytest.raises(DataError) as caught:
        opened("mnist", data_dir=str(tmp_path), text="")
    for part in ("mnist is not prepared in", "storage.googleapis.com: Name or service not known",
                 "file_format='array_record').download_and_prepare()"):  # fmt: skip
        assert part in str(caught.value)
    with pytest.raises(DataError, match="not prepared in .*download=False"):
        opened("mnist", data_dir=str(tmp_path), text="", download=False)


def test_sets_that_need_tensorflow_say_so(tmp_path):
    with pytest.raises(DataError, match="nsynth needs tensorflow, which is not installed"):
        opened("nsynth", data_dir=str(tmp_path))
    prepare(tmp_path, "array_record")
    info = tmp_path / "pairs" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    with pytest.raises(DataError, match="prepared as tfrecord in .*needs TensorFlow; prepare it"):
        opened("pairs", data_dir=str(tmp_path), text="caption")
    info.write_text(info.read_text().replace('"tfrecord"', '"array_record"'))
    features = info.with_name("features.json")
    audio = features.read_text().replace("text_feature.Text", "audio_feature.Audio")
    kind = '"audio": {"dtype": "int64", "encoding": "none", "shape": {}}'
    features.write_text(audio.replace('"text": {}', kind))
    with pytest.raises(DataError, match="needs tensorflow.* to read Audio or Video features"):
        opened(info.parent, text="caption")


@pytest.mark.parametrize("form", ["array_record", "parquet"])
def test_files_that_shrink_or_go(form, tmp_path):
    prepare(tmp_path, form)
    source = opened("pairs", data_dir=str(tmp_path), text="caption")
    folder = tmp_path / "pairs" / "1.0.0"
    file, other = next(folder.glob("pairs-train*")), next(folder.glob("pairs-test*"))
    os.truncate(file, 100)
    with pytest.raises(CorruptExample, match="has changed since it was opened"):
        source[0]
    for split in ("train", "train[:3]"):
        with pytest.raises(DataError, match="is no ArrayRecord|cannot be read as Parquet.*cut off"):
            opened("pairs", data_dir=str(tmp_path), text="caption", split=split)
    shutil.copy(other, file)
    with pytest.raises(DataError, match="holds 3 examples and should hold 24; prepare the set"):
        opened("pairs", data_dir=str(tmp_path), text="caption")
    file.unlink()
    with pytest.raises(DataError, match="1 files of pairs/1.0.0 are gone"):
        opened("pairs", data_dir=str(tmp_path), text="caption")
