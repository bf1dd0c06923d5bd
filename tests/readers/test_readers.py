"""The same pictures in every form that a user's data may have: the same examples and batches."""

import csv
import io
import json
import pickle
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmjax import registry
from mmjax.config import ConfigError, build
from mmjax.data.pipeline import Pipeline
from mmjax.data.plan import Mixture, Sequential
from mmjax.data.source import Source
from mmjax.readers import array_record
from mmjax.transforms.images import DecodeImage
from mmjax.transforms.text import all_captions

COUNT = 12
FORMS = {
    "jsonl": dict(name="manifest", path="own.jsonl"),
    "csv": dict(name="manifest", path="own.csv"),
    "tsv": dict(name="manifest", path="own.tsv"),
    "parquet": dict(name="manifest", path="own.parquet"),
    "bytes": dict(name="manifest", path="bytes.parquet"),
    "webdataset": dict(name="webdataset", path="own-{0..1}.tar"),
    "array_record": dict(name="array_record", path="own.array_record"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """12 pictures with captions, classes and groups, in every form."""
    folder = tmp_path_factory.mktemp("own")
    rows, images = [], []
    for at in range(COUNT):
        file = io.BytesIO()
        Image.new("RGB", (8, 6), (at, 0, 0)).save(file, "png")
        images.append(file.getvalue())
        (folder / f"{at}.png").write_bytes(images[-1])
        rows.append({"image": f"{at}.png", "text": f"picture {at // 2}, ünlike",
                     "label": ("cat", "dog")[at % 2], "id": f"n{at}"})  # fmt: skip
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, delimiter in (("own.csv", ","), ("own.tsv", "\t")):
        with open(folder / name, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    pq.write_table(pa.Table.from_pylist(rows), folder / "own.parquet")
    examples = [{**row, "image": image} for row, image in zip(rows, images, strict=True)]
    pq.write_table(pa.Table.from_pylist(examples), folder / "bytes.parquet")
    array_record.write(folder / "own.array_record", examples)
    for part in range(2):
        with tarfile.open(folder / f"own-{part}.tar", "w") as out:
            for row in examples[part * 6 : part * 6 + 6]:
                for ending, field in (("png", "image"), ("txt", "text"), ("cls", "label")):
                    content = row[field]
                    content = content if isinstance(content, bytes) else content.encode()
                    info = tarfile.TarInfo(f"{row['id']}.{ending}")
                    info.size = len(content)
                    out.addfile(info, io.BytesIO(content))
    return folder


def opened(folder, form, **options):
    tree = {**FORMS[form], **options}
    module = registry.find(registry.SOURCES, tree.pop("name"))
    tree["path"] = str(folder / tree["path"])
    return module.open(build(module.Config, tree, where="data.train.own"))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same(folder, form):
    source, reference = opened(folder, form), opened(folder, "jsonl")
    assert isinstance(source, Source) and len(source) == COUNT
    for name in ("group", "label", "text"):
        assert source.column(name).tolist() == reference.column(name).tolist()
    assert source.column("group").tolist() == [at // 2 for at in range(COUNT)]
    assert source.column("difficulty") is None
    assert source.class_names == ("cat", "dog")
    assert [one for one in source] == [one for one in reference]
    assert all_captions([source]) == all_captions([reference])
    assert pickle.loads(pickle.dumps(source))[7] == source[7]
    assert "n7" in source.locate(7) and len(source.fingerprint) == 64
    parts = [opened(folder, form, split=name, validation=0.3, test=0.3)
             for name in ("train", "validation", "test")]  # fmt: skip
    assert sum(map(len, parts)) == COUNT
    assert len({one.fingerprint for one in [source, *parts]}) == 4


@pytest.mark.parametrize("form", FORMS)
def test_wrong_options_are_refused_at_the_door(folder, form):
    with pytest.raises(ConfigError, match=r"(?s)data.train.own.imgae.*Did you mean image"):
        opened(folder, form, imgae="x")
    with pytest.raises(ConfigError, match="validation = '0.1' .str. is not float"):
        opened(folder, form, validation="0.1")


def test_a_mixture_of_all_forms(folder):
    sources = [opened(folder, form) for form in FORMS]
    plan = Mixture((COUNT,) * len(sources), 14, seed=1)
    pipeline = Pipeline(sources, plan, (DecodeImage(),), threads=0)
    for step in range(3):
        arrays, corrupt = pipeline.batch(step)
        assert not corrupt and set(arrays["source"]) == set(range(len(sources)))
        assert np.array_equal(arrays["image"][:, 0, 0, 0], arrays["index"])
    whole = Pipeline(sources[5:6], Sequential(COUNT, COUNT), (DecodeImage(),), threads=2)
    with whole.batches(0, 1) as batches:
        assert next(batches).arrays["image"].shape == (COUNT, 6, 8, 3)
