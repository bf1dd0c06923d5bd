"""Parquet manifests: paths, bytes and Hugging Face's structs, several files, damaged ones."""

import io
import json
import shutil
import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmjax.data.source import CorruptExample, DataError
from mmjax.readers import index, manifest
from mmjax.transforms.images import DecodeImage


def png(value=0):
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (value, 0, 0)).save(file, "png")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(4):
        (tmp_path / "images" / f"{number}.png").write_bytes(png(number))
    return tmp_path


PATHS = [f"images/{number}.png" for number in range(4)]
TEXTS = [f"picture {number}" for number in range(4)]


def written(folder, name="own.parquet", **columns):
    pq.write_table(pa.table(columns), folder / name, row_group_size=3)
    return str(folder / name)


def opened(path, **options):
    return manifest.open(manifest.Config(str(path), **options))


def red(example):
    image = DecodeImage()(example)["image"]
    assert image.shape == (6, 8, 3)
    return int(image[0, 0, 0])


def test_paths(folder):
    source = opened(written(folder, image=PATHS, text=TEXTS, label=["dog", "cat", "dog", "ant"]))
    assert [one["text"] for one in source] == TEXTS and [red(one) for one in source] == [0, 1, 2, 3]
    assert source.column("label").tolist() == [2, 1, 2, 0]
    assert source.locate(2) == "own.parquet, row 2 (images/2.png)"


def test_several_captions_groups_and_numbers_of_pandas(folder):
    texts = [["a", "b"], ["c"], None, ["b "]]
    path = written(
        folder, image=PATHS, text=texts, group=[5.0, 7.0, None, 5.0], id=[10, 11, 12, 13]
    )
    source = opened(path)
    assert source[0]["text"] == ("a", "b") and source[1]["text"] == ("c",)
    assert source.column("group").tolist() == [0, 1, 2, 0] and source[3]["id"] == "13"
    with pytest.raises(CorruptExample, match="nothing in 'text'"):
        source[2]


@pytest.mark.parametrize("stored", [False, True])
def test_encoded_bytes_and_structs(folder, monkeypatch, stored):
    monkeypatch.setenv("MMJAX_DATA", str(folder / "cache"))
    monkeypatch.setattr(index, "IN_MEMORY", 0 if stored else 1 << 20)
    data = [png(10), png(11), None, b"no picture"]
    source = opened(written(folder, image=data, text=TEXTS))
    assert [red(source[row]) for row in (0, 1)] == [10, 11]
    with pytest.raises(CorruptExample, match="no image"):
        source[2]
    structs = [{"bytes": png(20), "path": "x/a.png"}, {"bytes": None, "path": "images/1.png"},
               {"bytes": png(22), "path": None}, {"bytes": None, "path": None}]  # fmt: skip
    source = opened(written(folder, "hub.parquet", image=structs, text=TEXTS), check_files=0)
    assert [red(source[row]) for row in range(3)] == [20, 1, 22]
    assert source[0]["id"] == "x/a.png" and source[2]["id"] == "row 2"
    with pytest.raises(CorruptExample, match="no image path"):
        source[3]
    other = opened(written(folder, "hub.parquet", image=structs[::-1], text=TEXTS), check_files=0)
    assert other.fingerprint != source.fingerprint


def test_images_that_do_not_fit_the_disk(folder, monkeypatch):
    monkeypatch.setenv("MMJAX_DATA", str(folder / "cache"))
    monkeypatch.setattr(index, "IN_MEMORY", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: types.SimpleNamespace(free=10))
    path = written(folder, image=[png()] * 4, text=TEXTS)
    with pytest.raises(DataError, match="images of this set are copied once, .*set MMJAX_DATA to"):
        opened(path)


def test_class_names_of_hugging_face(folder):
    feature = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": PATHS, "label": [1, 0, 1, 0]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(feature)})
    pq.write_table(table, folder / "own.parquet")
    source = opened(folder / "own.parquet", text="")
    assert source.class_names == ("cat", "dog") and source[0]["text"] == "a photo of a dog."


def test_several_files_are_one_set(folder):
    for part in range(2):
        written(folder, f"train-{part}.parquet", image=PATHS, text=[f"{part} {t}" for t in TEXTS])
    written(folder, "test-0.parquet", image=PATHS, text=TEXTS)
    source = opened(folder / "train-*.parquet")
    assert len(source) == 8 and source[5]["text"] == "1 picture 1"
    assert source.locate(5) == "train-*.parquet, train-1.parquet, row 1 (images/1.png)"
    assert len(opened(folder)) == 12 and len(opened(folder / "train-{0..1}.parquet")) == 8
    with pytest.raises(DataError, match="1 of 3 files of .* do not exist: .*train-2.parquet"):
        opened(folder / "train-{0..2}.parquet")
    with pytest.raises(DataError, match="no Parquet file matches"):
        opened(folder / "valid-*.parquet")
    written(folder, "train-2.parquet", image=PATHS, caption=TEXTS)
    with pytest.raises(DataError, match="train-2.parquet has no column 'text', which train-0"):
        opened(folder / "train-*.parquet")


def test_damaged_files_are_refused_by_name(folder):
    path = written(folder, image=PATHS, text=TEXTS)
    whole = (folder / "own.parquet").read_bytes()
    for content in (b"", b"PAR1", whole[:-20], whole[: len(whole) // 2], b"x" * 500):
        (folder / "own.parquet").write_bytes(content)
        with pytest.raises(DataError, match="own.parquet cannot be read as Parquet: .*cut off"):
            opened(path)
    middle = bytearray(whole)
    middle[4:60] = bytes(56)  # the first page, behind a footer that is whole
    (folder / "own.parquet").write_bytes(middle)
    with pytest.raises(DataError, match="own.parquet cannot be read as Parquet"):
        opened(path)


def test_wrong_columns(folder):
    with pytest.raises(DataError, match="no column 'text'.*did you mean text='txet'"):
        opened(written(folder, image=PATHS, txet=TEXTS))
    with pytest.raises(DataError, match="column 'image' is double; an image is a path, encoded"):
        opened(written(folder, image=np.ones(4), text=TEXTS))
    rows = {
        "int64": [1, 2, 3, 4],
        "list<element: int64>": [[1], [2], [3], [4]],
        "struct<en: string>": [{"en": text} for text in TEXTS],
        "binary": [text.encode() for text in TEXTS],
        "bool": [True, False, True, False],
    }
    for kind, values in rows.items():
        with pytest.raises(DataError, match=f"column 'text' is {kind}; a text is a string or a"):
            opened(written(folder, image=PATHS, text=values))
    categories = pa.array(TEXTS).dictionary_encode()
    assert opened(written(folder, image=PATHS, text=categories))[1]["text"] == TEXTS[1]
    answers = dict(columns=dict(answer=manifest.Column("says")))
    with pytest.raises(DataError, match="column 'says' is double; a text is a string or a list"):
        opened(written(folder, image=PATHS, text=TEXTS, says=np.ones(4)), **answers)
    with pytest.raises(DataError, match="has no rows"):
        opened(written(folder, image=pa.array([], pa.string()), text=pa.array([], pa.string())))
