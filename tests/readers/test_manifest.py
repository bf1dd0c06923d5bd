"""A user's manifest: read as it is meant, or refused with the line and what would be right."""

import json

import numpy as np
import pytest
from PIL import Image

from mmjax.data.pipeline import Pipeline
from mmjax.data.plan import Sequential
from mmjax.data.source import CorruptExample, DataError
from mmjax.readers import manifest
from mmjax.transforms.images import DecodeImage, Resize
from mmjax.transforms.text import all_captions


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(4):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / "images" / f"{number}.png")
    return tmp_path


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def jsonl(folder, rows, name="own.jsonl"):
    return write(folder, name, "".join(json.dumps(row) + "\n" for row in rows))


def rows(count=4, **more):
    return [
        {"image": f"images/{number}.png", "text": f"picture {number}", **more}
        for number in range(count)
    ]


def opened(path, **options):
    return manifest.open(manifest.Config(path, **options))


def test_jsonl(folder):
    source = opened(jsonl(folder, rows()))
    assert len(source) == 4
    example = source[2]
    assert example["text"] == "picture 2" and example["id"] == "images/2.png"
    assert DecodeImage()(example)["image"].shape == (6, 8, 3)
    assert source.locate(2) == "own.jsonl, line 3 (images/2.png)"
    assert source.column("text").tolist() == [f"picture {number}" for number in range(4)]
    assert source.column("label") is None and "label" not in example


def test_several_captions_are_tuples_in_all_rows(folder):
    data = rows()
    data[1]["text"] = ["one", "two"]
    source = opened(jsonl(folder, data))
    assert source[1]["text"] == ("one", "two") and source[0]["text"] == ("picture 0",)
    assert all_captions([source]) == ["picture 0", "one", "two", "picture 2", "picture 3"]


CSV = 'image,text\nimages/0.png,"a, b"\nimages/1.png,"two\nlines"\nimages/2.png,c\n'


@pytest.mark.parametrize("change", [
    lambda text: text,
    lambda text: "\ufeff" + text,
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text.replace("images/2.png,c\n", "\n\nimages/2.png,c"),
    lambda text: text.replace("images/", "images\\"),
    lambda text: text.replace("image,text", " image , text "),
])  # fmt: skip
def test_csv_in_its_spellings(folder, change):
    source = opened(write(folder, "own.csv", change(CSV)))
    texts = [source[row]["text"].replace("\r", "") for row in range(3)]
    assert texts == ["a, b", "two\nlines", "c"]
    assert "line 2" in source.locate(0) and "line 3" in source.locate(1)
    assert "line 5" in source.locate(2) or "line 7" in source.locate(2)
    assert all(DecodeImage()(source[row])["image"].shape == (6, 8, 3) for row in range(3))


@pytest.mark.parametrize("change", [
    lambda text: "\ufeff" + text,
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text.replace("\n", "\n\n  \n"),
    lambda text: text.replace("images/", "images\\\\"),
    lambda text: text.rstrip("\n"),
])  # fmt: skip
def test_jsonl_in_its_spellings(folder, change):
    plain = "".join(json.dumps(row) + "\n" for row in rows())
    source = opened(write(folder, "own.jsonl", change(plain)))
    assert [source[row]["text"] for row in range(4)] == [f"picture {row}" for row in range(4)]
    assert all(DecodeImage()(source[row])["image"].shape == (6, 8, 3) for row in range(4))


def test_tsv_other_columns_absolute_paths_and_root(folder):
    path = write(folder, "own.tsv", f"file\tcaption\n{folder}/images/0.png\ta, b\n")
    source = opened(path, image="file", text="caption")
    assert source[0]["text"] == "a, b" and source[0]["image"][:4] == b"\x89PNG"
    (folder / "lists").mkdir()
    nested = jsonl(folder, rows(), "lists/own.jsonl")
    assert len(opened(nested, root=str(folder))) == 4


def test_labels_groups_and_ids(folder):
    names, groups = ("dog", "cat", "dog", "ant"), (7, 8, 7, 9)
    data = [
        {**row, "label": names[at], "group": groups[at], "id": f"x{at}"}
        for at, row in enumerate(rows())
    ]
    source = opened(jsonl(folder, data))
    assert source.class_names == ("ant", "cat", "dog")
    assert [source[row]["label"] for row in range(4)] == [2, 1, 2, 0]
    assert source.column("label").tolist() == [2, 1, 2, 0]
    assert source.column("group").tolist() == [0, 1, 0, 2]
    assert source[3]["id"] == "x3" and "(x3)" in source.locate(3)
    ordered = opened(jsonl(folder, data), class_names=("dog", "cat", "ant"))
    assert ordered.column("label").tolist() == [0, 1, 0, 2]
    unknown = opened(jsonl(folder, data), class_names=("dog", "cat"))
    with pytest.raises(CorruptExample, match="label 'ant' is no class; they are dog, cat"):
        unknown[3]


def test_equal_captions_are_one_group(folder):
    data = rows()
    data[3]["text"] = data[1]["text"]
    assert opened(jsonl(folder, data)).column("group").tolist() == [0, 1, 2, 1]


def test_captions_from_class_names(folder):
    data = [
        {"image": row["image"], "label": name}
        for row, name in zip(rows(2), ("night_sky", "dog"), strict=True)
    ]
    path = jsonl(folder, data)
    assert opened(path, text="")[0]["text"] == "a photo of a night sky."
    assert opened(path, text="", templates=("a {}", "the {}"))[1]["text"] == ("a dog", "the dog")
    with pytest.raises(DataError, match="text='' makes captions from the class names"):
        opened(path)
    numbers = jsonl(
        folder, [{"image": row["image"], "label": 1} for row in rows(2)], "numbers.jsonl"
    )
    assert opened(numbers, text="", class_names=("cat", "dog"))[0]["text"] == "a photo of a dog."
    with pytest.raises(CorruptExample, match="label 1 is no class; they are cat"):
        opened(numbers, text="", class_names=("cat",))[0]
    with pytest.raises(DataError, match="the labels are numbers; class_names"):
        opened(numbers, text="")


def test_bad_rows_keep_their_place_and_are_named(folder):
    lines = [json.dumps(row).encode() for row in rows(4) * 3]
    lines[1] = b'{"image": "images/1.png", "text": "caf\xe9"}'
    lines[2] = b'{"image": "images/2.png", "text": ""}'
    lines[3] = b'{"image": "images/3.png", "text": null}'
    lines[4] = b'{"text": "no image here"}'
    lines[5] = b'{"image": "images/1.png", "text": "half \\ud83d"}'
    lines[6] = b'{"image": "images/1.png", "text": {"en": "x"}}'
    lines[7] = b'{"image": "images/1.png", "text": ["x", " "]}'
    lines[8] = b'{"image": "http://example.com/a.png", "text": "x"}'
    lines[9] = b'{"image": "images", "text": "x"}'
    lines[10] = b'{"image": 5, "text": "x"}'
    source = opened(write(folder, "own.jsonl", b"\n".join(lines)), check_files=0)
    reasons = {
        1: "invalid UTF-8: byte 0xe9 at position 3",
        2: "nothing in 'text'",
        3: "nothing in 'text'",
        4: "no image path",
        5: "half a surrogate pair",
        6: "neither text nor a list",
        7: "empty caption",
        8: "an address.*download it",
        9: "cannot read",
        10: "the image path is 5",
    }
    for row, reason in reasons.items():
        with pytest.raises(CorruptExample, match=reason):
            source[row]
    assert all_captions([source]) == ["picture 0", "x", "picture 3"]
    transforms = (DecodeImage(), Resize(4, keep_ratio=False))
    _, corrupt = Pipeline([source], Sequential(12, 12), transforms, threads=0).batch(0)
    assert [one.index for one in corrupt] == list(reasons)
    assert corrupt[0].where == "own.jsonl, line 2 (images/1.png)"


def test_csv_with_broken_utf8_and_empty_captions(folder):
    source = opened(
        write(
            folder, "own.csv", b"image,text\nimages/0.png,caf\xe9\nimages/1.png,\nimages/2.png,x\n"
        )
    )
    for row, reason in ((0, "invalid UTF-8"), (1, "nothing in 'text'")):
        with pytest.raises(CorruptExample, match=reason):
            source[row]
    assert source[2]["text"] == "x"


def test_missing_files_are_refused_or_counted(folder):
    data = rows(3) + [
        {"image": "images/gone.png", "text": "x"},
        {"image": "elsewhere/0.png", "text": "x"},
    ]
    path = jsonl(folder, data)
    with pytest.raises(DataError) as caught:
        opened(path)
    for part in ("2 of 5 images", "own.jsonl", "gone.png (line 4)", str(folder), "check_files=0"):
        assert part in str(caught.value)
    source = opened(path, check_files=0)
    with pytest.raises(CorruptExample, match="no such file.*gone.png"):
        source[3]


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("own.jsonl", b"", "has no rows"),
        ("own.jsonl", b"\n \n", "has no rows"),
        ("own.csv", b"image,text\n", "has no rows"),
        ("own.jsonl", b'{"image": "a"\n\n{"image": 1}\n[1]\n', "2 lines|line 1: |line 4 is '[1]'"),
        ("own.jsonl", b'[{"image": "a"}]', "one JSON list|one object per line"),
        (
            "own.jsonl",
            b'{"image": "a.png", "txet": "x"}',
            "no column 'text'|text='txet'|image, txet",
        ),
        ("own.csv", b"imagee,text\na,b\n", "no column 'image'|did you mean image='imagee'"),
        ("own.csv", b"image,text,text\na,b,c\n", "names text twice"),
        ("own.csv", b"image,text\na,b\nc,d,e\n", "line 3: 3 fields where the header has 2|quotes"),
        ("own.csv", b'image,text\na,b\nc,"d\ne,f\n', "begins on line 3|quote left open"),
        ("own.csv", b'image,text\na,"b"c\n', "begins on line 2"),
        ("own.csv", "image,text\na,b\n".encode("utf-16"), "UTF-16"),
        ("own.xml", b"<a/>", "a .jsonl, .csv, .tsv or .parquet file, not '.xml'"),
    ],
)
def test_manifests_that_are_refused(folder, name, content, parts):
    with pytest.raises(DataError) as caught:
        opened(write(folder, name, content))
    for part in (name, *parts.split("|")):
        assert part in str(caught.value)


def test_a_manifest_that_is_not_there(folder):
    jsonl(folder, rows())
    with pytest.raises(DataError, match="no manifest .*onw.jsonl; .* there is: own.jsonl"):
        opened(str(folder / "onw.jsonl"))
    with pytest.raises(DataError, match="there is: images"):
        opened(str(folder / "imagse" / "own.jsonl"))
    with pytest.raises(DataError, match=r"is a folder.*own.jsonl.*name=\"folder\""):
        opened(str(folder))


def test_column_of_ones_own_choice_must_exist(folder):
    with pytest.raises(DataError, match="no column 'klass'.*label='klass'"):
        opened(jsonl(folder, rows()), label="klass")


def many(folder, count):
    data = [{**rows()[at % 4], "id": at, "group": f"g{at // 2}"} for at in range(count)]
    return jsonl(folder, data, f"own{count}.jsonl")


def test_splits_are_by_group_and_do_not_move(folder):
    splits = ("train", "validation", "test")
    small, large = (
        {split: {one["id"] for one in opened(many(folder, count), split=split)} for split in splits}
        for count in (300, 400)
    )
    assert sum(len(one) for one in small.values()) == 300
    assert 15 < len(small["test"]) < 50 and 15 < len(small["validation"]) < 50
    for split in splits:
        assert small[split] <= large[split]
        groups = {int(name) // 2 for name in small[split]}
        assert small[split] == {name for name in map(str, range(300)) if int(name) // 2 in groups}
    fingerprints = {opened(many(folder, 300), split=split).fingerprint for split in splits}
    assert len(fingerprints) == 3


def test_group_and_class_numbers_agree_between_splits(folder):
    data = [{**row, "label": f"c{at % 7}", "group": at} for at, row in enumerate(rows() * 10)]
    path = jsonl(folder, data)
    whole = opened(path)
    for split in ("train", "validation", "test"):
        part = opened(path, split=split, validation=0.3, test=0.3)
        assert part.class_names == whole.class_names
        known = {one["group"]: one["label"] for one in whole}
        assert all(known[one["group"]] == one["label"] for one in part)


def test_split_column_and_wrong_splits(folder):
    data = [
        {**row, "set": name}
        for row, name in zip(rows(), ("train", "dev", "train", "x"), strict=True)
    ]
    path = jsonl(folder, data)
    assert [one["text"] for one in opened(path, split="dev", split_column="set")] == ["picture 1"]
    with pytest.raises(DataError, match="no row has set='test'; it has: dev, train, x"):
        opened(path, split="test", split_column="set")
    with pytest.raises(DataError, match="split 'dev' is none of train, validation, test, all"):
        opened(path, split="dev")
    with pytest.raises(DataError, match="shares of the rows, below 1"):
        opened(path, split="test", validation=0.5, test=0.5)
    with pytest.raises(
        DataError, match=r"none of its 4 rows is in split 'test' \(validation=0.0, test=0.0\)"
    ):
        opened(path, split="test", validation=0.0, test=0.0)


def test_of_few_rows_an_empty_split_says_the_way_on(folder):
    path = jsonl(folder, rows())
    with pytest.raises(DataError) as caught:
        opened(path, split="validation", validation=0.01, test=0.01)
    for part in ("a small share of few rows may be none", "(validation=0.3)", "add rows",
                 "--config.validation={}", "checkpoint.metric=''"):  # fmt: skip
        assert part in str(caught.value)
    with pytest.raises(DataError, match="lower validation and test, .* train on split='all'"):
        opened(path, split="train", validation=0.5, test=0.499999)


def test_text_only(folder):
    source = opened(jsonl(folder, [{"text": "a"}, {"text": "b"}]), image="")
    assert "image" not in source[0] and source[1]["text"] == "b"
    assert np.array_equal(source.column("group"), [0, 1])


def test_paths_of_several_systems_in_one_file(folder):
    (folder / "images" / "deep").mkdir()
    Image.new("RGB", (8, 6)).save(folder / "images" / "deep" / "a b.png")
    Image.new("RGB", (8, 6)).save(folder / "odd\\name.png")
    paths = ["images/0.png", "images\\1.png", ".\\images\\2.png", "./images/3.png",
             f"{folder}/images/0.png", "images\\deep/a b.png", "odd\\name.png",
             "images/../images/1.png"]  # fmt: skip
    source = opened(jsonl(folder, [{"image": path, "text": path} for path in paths]))
    assert all(DecodeImage()(one)["image"].shape == (6, 8, 3) for one in source)
    assert [one["id"] for one in source] == paths
    drive = jsonl(folder, [{"image": "C:\\photos\\a.png", "text": "x"}], "drive.jsonl")
    with pytest.raises(DataError, match=r"C:\\photos\\a.png is on a drive of Windows; write it"):
        opened(drive)


def test_duplicates_are_said_once_and_kept(folder, capsys):
    path = jsonl(folder, rows() + rows(2), "again.jsonl")
    assert len(opened(path)) == 6
    opened(path, split="train", test=0.0, validation=0.0)
    said = capsys.readouterr().err
    assert said.count("again.jsonl: 2 rows have the image of an earlier row, and are kept") == 1
    assert "images/0.png, images/1.png" in said
    named = [{**row, "id": f"x{at // 2}"} for at, row in enumerate(rows())]
    assert len(opened(jsonl(folder, named, "named.jsonl"))) == 4
    assert "named.jsonl: 2 rows have the id of an earlier row" in capsys.readouterr().err


def test_large_numbers_and_what_json_allows_in_python(folder):
    lines = [json.dumps(row)[:-1] for row in rows()]
    lines[0] += ', "group": 123456789012345678901234567890}'
    lines[1] += ', "group": 123456789012345678901234567891, "x": NaN}'
    lines[2] += ', "group": 123456789012345678901234567890}'
    lines[3] += ', "group": "café"}'
    source = opened(write(folder, "own.jsonl", "\n".join(lines)))
    assert source.column("group").tolist() == [0, 1, 0, 2]
