"""Rows of one picture: lists with a row for each caption, and copies under other names."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluation.contexts import context
from PIL import Image

from mmjax.evaluation.retrieval import Retrieval
from mmjax.readers import array_record, equal_files, folder, index, manifest, webdataset

PICTURES = 40
CAPTIONS = 5
SPLITS = ("train", "validation", "test")


def png(number):
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (number, 0, 0)).save(file, "png")
    return file.getvalue()


def captions(number):
    """Pictures 0 and 1 have one caption in common, pictures 2 and 3 have all of them."""
    of = 2 if number == 3 else number
    return [f"caption {at} of {of}" if (of, at) != (1, 0) else "caption 0 of 0"
            for at in range(CAPTIONS)]  # fmt: skip


@pytest.fixture
def lists(tmp_path, monkeypatch):
    """(a list with a row for each caption, a list with a row for each picture)."""
    monkeypatch.setenv("MMJAX_DATA", str(tmp_path / "kept"))
    for number in range(PICTURES):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    split = [
        {"image": f"{number}.png", "text": text}
        for number in range(PICTURES)
        for text in captions(number)
    ]
    whole = [{"image": f"{number}.png", "text": captions(number)} for number in range(PICTURES)]
    paths = []
    for name, rows in (("split.jsonl", split), ("whole.jsonl", whole)):
        paths.append(tmp_path / name)
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return paths


def opened(path, **options):
    return manifest.open(manifest.Config(str(path), **options))


def measured(source, images, texts):
    """Retrieval where a picture's and a caption's vectors are given."""
    rows = {"index": np.arange(len(source)), "group": source.column("group")}
    rows["image"] = np.stack([images[source[row]["id"]] for row in range(len(source))])
    column = source.column("text")
    if isinstance(column[0], tuple):
        rows["text"] = np.stack([np.stack([texts[text] for text in row]) for row in column])
    else:
        rows["text"] = np.stack([texts[text] for text in column])
    return Retrieval().finish(rows, context(source))


@pytest.mark.parametrize("stored", [False, True])
def test_both_forms_of_a_list_have_the_same_groups_and_metrics(lists, monkeypatch, stored):
    if stored:
        monkeypatch.setattr(index, "IN_MEMORY", 0)
    split, whole = map(opened, lists)
    groups = np.repeat(whole.column("group"), CAPTIONS)
    np.testing.assert_array_equal(split.column("group"), groups)
    assert len(set(groups.tolist())) == PICTURES - 1  # pictures 2 and 3 alone are one group
    np.testing.assert_array_equal(
        split.column("image_id"), np.repeat(np.arange(PICTURES), CAPTIONS)
    )
    assert whole.column("image_id") is None

    rng = np.random.default_rng(0)
    images = {f"{number}.png": rng.standard_normal(8) for number in range(PICTURES)}
    texts = {
        text: images[f"{number}.png"] + 2 * rng.standard_normal(8)
        for number in range(PICTURES)
        for text in captions(number)
    }
    results = [measured(source, images, texts) for source in (split, whole)]
    assert results[0].metrics == pytest.approx(results[1].metrics)
    assert results[0].baselines["chance"] == pytest.approx(results[1].baselines["chance"])
    assert 0.05 < results[0].metrics["image_to_text/r1"] < 0.95


@pytest.mark.parametrize("name", SPLITS)
def test_both_forms_have_the_same_pictures_in_a_split(lists, name):
    ids = [{one["id"] for one in opened(path, split=name)} for path in lists]
    assert ids[0] == ids[1]


def test_a_group_column_goes_first(lists):
    rows = [json.loads(line) for line in lists[0].read_text().splitlines()]
    for at, row in enumerate(rows):
        row["group"] = at % 2
    lists[0].write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = opened(lists[0])
    assert source.column("group").tolist() == [at % 2 for at in range(len(rows))]
    assert len(set(source.column("image_id").tolist())) == 2 * PICTURES  # a picture and a group


def test_parts_of_one_file_are_not_the_same_thing(tmp_path):
    rows = [{"wav": "a.wav", "text": f"word {at}", "start": at, "end": at + 1} for at in range(4)]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    declared = {name: manifest.Column() for name in ("start", "end")}
    declared["audio"] = manifest.Column("wav")
    source = opened(tmp_path / "list.jsonl", columns=declared, check_files=0)
    assert source.column("group").tolist() == [0, 1, 2, 3]
    assert source.column("audio_id") is None


def test_captions_of_one_picture_are_told(lists, capsys):
    opened(lists[0].rename(lists[0].with_name("told.jsonl")))  # each note is said once
    said = capsys.readouterr().err
    count = PICTURES * (CAPTIONS - 1)
    assert f"told.jsonl: {count} rows have the image of an earlier row, and are kept as" in said
    assert "as further captions of one image: 0.png, 0.png, 0.png, 0.png, 1.png and" in said


# Copies: 40 pictures, and each once more under another name.


def manifest_of(path, names):
    for number, name in enumerate(names):
        (path / name).write_bytes(png(number % PICTURES))
    rows = [{"image": name, "text": f"caption {at}"} for at, name in enumerate(names)]
    (path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return lambda **options: opened(path / "list.jsonl", **options)


def folder_of(path, names):
    for number, name in enumerate(names):
        (path / name).write_bytes(png(number % PICTURES))
        (path / name).with_suffix(".txt").write_text(f"caption {number}")
    return lambda **options: folder.open(folder.Config(str(path), **options))


def parquet_of(path, names):
    images = [{"bytes": png(at % PICTURES), "path": name} for at, name in enumerate(names)]
    texts = [f"caption {at}" for at in range(len(names))]
    pq.write_table(pa.table({"image": images, "text": texts}), path / "list.parquet")
    return lambda **options: opened(path / "list.parquet", **options)


def tar_of(path, names):
    with tarfile.open(path / "list.tar", "w") as tar:
        for number, name in enumerate(names):
            stem = name.removesuffix(".png")
            parts = ((name, png(number % PICTURES)), (f"{stem}.txt", f"caption {number}".encode()))
            for member, data in parts:
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return lambda **options: webdataset.open(webdataset.Config(str(path / "list.tar"), **options))


def records_of(path, names):
    examples = [
        {"image": png(at % PICTURES), "text": f"caption {at}", "id": name}
        for at, name in enumerate(names)
    ]
    file = str(path / "list.array_record")
    array_record.write(file, examples)
    return lambda **options: array_record.open(array_record.Config(file, **options))


@pytest.mark.parametrize("form", [manifest_of, folder_of, parquet_of, tar_of, records_of])
def test_copies_are_one_picture_on_one_side_of_a_split(tmp_path, form, capsys):
    names = [f"{at:02d}.png" for at in range(PICTURES)]
    names += [f"copy{at:02d}.png" for at in range(PICTURES)]
    reader = form(tmp_path, names)
    source = reader()
    assert source.column("group").tolist() == [*range(PICTURES)] * 2
    assert source.column("image_id").tolist() == [*range(PICTURES)] * 2
    said = capsys.readouterr().err
    assert f"of {PICTURES} rows the file has the bytes of an earlier one under another name" in said
    assert "copy00" in said and "05" not in said
    parts = [reader(split=name, validation=0.3, test=0.3) for name in SPLITS]
    assert sum(map(len, parts)) == 2 * PICTURES
    for part in parts:
        texts = {int(text.split()[1]) for text in part.column("text")}
        assert {number % PICTURES for number in texts} == {n for n in texts if n < PICTURES}


def test_few_files_are_opened_and_few_are_read_whole(tmp_path, monkeypatch):
    contents = {
        "small": b"a",
        "large": b"b" * 20_000,
        "equal": b"b" * 20_000,
        "middle": b"b" * 9000 + b"c" + b"b" * 10_999,
        "end": b"b" * 19_999 + b"c",
        "empty": b"",
        "nothing": b"",
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    names = [*contents, "gone", "large"]
    read_whole = []

    def whole(span):
        read_whole.append(span.path.rsplit("/")[-1])
        return equal_files._whole(span)

    monkeypatch.setattr(equal_files, "_LEVELS", (equal_files._size, equal_files._ends, whole))
    files = equal_files.EqualFiles()
    found = [
        files.first(name, lambda name=name: equal_files.span_of(str(tmp_path / name)))
        for name in names
    ]
    assert found == names[:2] + ["large"] + names[3:-1] + ["large"]
    assert sorted(read_whole) == ["equal", "large", "middle"]


def test_no_more_files_are_compared_than_asked(tmp_path, capsys):
    names = ("a.png", "b.png", "c.png")
    for name in names:
        (tmp_path / name).write_bytes(png(1))
    rows = [{"image": name, "text": name} for name in names]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for most, groups in ((0, [0, 1, 2]), (2, [0, 0, 1]), (3, [0, 0, 0])):
        source = opened(tmp_path / "list.jsonl", compare_files=most)
        assert source.column("group").tolist() == groups
        told = "looked for among the first 2 files alone" in capsys.readouterr().err
        assert told == (most == 2)
