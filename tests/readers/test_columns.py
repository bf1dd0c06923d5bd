"""Declared columns: the same sounds with questions, numbers and lists in every form of data."""

import csv
import io
import json
import pickle
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmjax import registry
from mmjax.config import ConfigError, build
from mmjax.data.source import CorruptExample, DataError
from mmjax.readers import array_record, folder, index, manifest, webdataset
from mmjax.readers.columns import Column

COUNT = 12
COLUMNS = {
    "audio": dict(),
    "question": dict(),
    "answer": dict(name="says"),
    "start": dict(),
    "end": dict(),
    "count": dict(kind="int"),
    "tags": dict(kind="texts"),
    "box": dict(kind="floats"),
    "conversation": dict(),
}
FIELDS = ("question", "says", "start", "end", "count", "tags", "box", "conversation")
FORMS = {
    "jsonl": dict(name="manifest", path="own.jsonl"),
    "csv": dict(name="manifest", path="own.csv"),
    "parquet": dict(name="manifest", path="own.parquet"),
    "bytes": dict(name="manifest", path="bytes.parquet"),
    "webdataset": dict(name="webdataset", path="own.tar"),
    "array_record": dict(name="array_record", path="own.array_record"),
    "folder": dict(name="folder", path="sounds", layout="classes", templates=()),
}


def example(at):
    return {
        "audio": f"{at:02d}.wav",
        "question": f"what is {at}, ünlike?",
        "says": f"[{at}] it is",
        "start": at / 4,
        "end": at + 1.5,
        "count": at - 2,
        "tags": ["a", f"t{at}"][: 1 + at % 2],
        "box": [0.5, float(at)],
        "conversation": [{"role": "user", "content": f"hé {at}"}, {"n": None}],
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("declared")
    rows = [example(at) for at in range(COUNT)]
    sounds = [b"RIFF" + bytes([at]) * 9 for at in range(COUNT)]
    (root / "sounds" / "class").mkdir(parents=True)
    for row, sound in zip(rows, sounds, strict=True):
        (root / row["audio"]).write_bytes(sound)
        (root / "sounds" / "class" / row["audio"]).write_bytes(sound)
        values = {field: row[field] for field in FIELDS}
        beside = (root / "sounds" / "class" / row["audio"]).with_suffix(".json")
        beside.write_text(json.dumps(values))
    (root / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with open(root / "own.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            cells = {name: json.dumps(value) if isinstance(value, list) else value
                     for name, value in row.items()}  # fmt: skip
            writer.writerow(cells)
    pq.write_table(pa.Table.from_pylist(rows), root / "own.parquet")
    embedded = [{**row, "audio": sound} for row, sound in zip(rows, sounds, strict=True)]
    pq.write_table(pa.Table.from_pylist(embedded), root / "bytes.parquet")
    texts = [{**row, "conversation": json.dumps(row["conversation"])} for row in embedded]
    array_record.write(root / "own.array_record", texts)
    with tarfile.open(root / "own.tar", "w") as out:
        for row, sound in zip(rows, sounds, strict=True):
            record = json.dumps({field: row[field] for field in FIELDS}).encode()
            for ending, content in (("wav", sound), ("json", record)):
                info = tarfile.TarInfo(f"{row['audio'][:2]}.{ending}")
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))
    return root


def opened(data, form, columns=COLUMNS, **options):
    tree = {**FORMS[form], **options}
    module = registry.find(registry.SOURCES, tree.pop("name"))
    tree["path"] = str(data / tree["path"])
    if form in ("webdataset", "folder"):
        columns = {
            field: one if field == "audio" else {**one, "name": f"json.{one.get('name', field)}"}
            for field, one in columns.items()
            if form != "folder" or field != "audio"
        }
    tree["columns"] = columns
    return module.open(build(module.Config, tree, where="data.train.own"))


def with_none(value):
    """Parquet fills what a struct lacks with None."""
    return [{key: content for key, content in turn.items() if content is not None}
            for turn in value]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_declared_fields(data, form):
    source = opened(data, form)
    assert len(source) == COUNT
    for at, row in enumerate(source):
        assert row["audio"] == b"RIFF" + bytes([at]) * 9
        assert row["question"] == f"what is {at}, ünlike?" and row["answer"] == f"[{at}] it is"
        assert (row["start"], row["end"], row["count"]) == (at / 4, at + 1.5, at - 2)
        assert isinstance(row["count"], int) and isinstance(row["start"], float)
        assert row["tags"] == ("a", f"t{at}")[: 1 + at % 2] and row["box"] == (0.5, float(at))
        assert with_none(row["conversation"])[0] == {"role": "user", "content": f"hé {at}"}
        assert "text" not in row and "image" not in row
    count = source.column("count")
    assert count.dtype == np.int32 and count.tolist() == [at - 2 for at in range(COUNT)]
    start = source.column("start")
    assert start.dtype == np.float32 and start.tolist() == [at / 4 for at in range(COUNT)]
    assert source.column("answer").tolist() == [f"[{at}] it is" for at in range(COUNT)]
    assert source.column("audio") is None and source.column("text") is None
    assert pickle.loads(pickle.dumps(source))[3] == source[3]
    parts = [opened(data, form, split=name, validation=0.5, test=0.0)
             for name in ("train", "validation")]  # fmt: skip
    assert sorted(row["count"] for part in parts for row in part) == [at - 2 for at in range(COUNT)]
    for part in parts:
        assert part.column("count").tolist() == [row["count"] for row in part]
        assert part.column("question").tolist() == [row["question"] for row in part]


@pytest.mark.parametrize("form", FORMS)
def test_columns_that_are_not_there_are_refused_with_those_that_are(data, form):
    wrong = {**COLUMNS, "answer": dict(name="sais")}
    with pytest.raises(DataError, match=r"answer=.(json\.)?sais"):
        opened(data, form, wrong)
    if form != "folder":
        with pytest.raises(DataError, match="audio=.mp3.*"):
            opened(data, form, {**COLUMNS, "audio": dict(name="mp3")})


def test_a_stored_table_has_them_too(data, tmp_path, monkeypatch):
    memory = opened(data, "jsonl")
    monkeypatch.setenv("MMJAX_DATA", str(tmp_path))
    monkeypatch.setattr(index, "IN_MEMORY", 0)
    for _ in range(2):
        stored = opened(data, "jsonl")
        assert list(stored) == list(memory) and stored.fingerprint == memory.fingerprint
        assert stored.column("end").tolist() == memory.column("end").tolist()
    assert len(list((tmp_path / "index").iterdir())) == 1
    other = {**COLUMNS, "count": dict(kind="float")}
    assert opened(data, "jsonl", other)[0]["count"] == -2.0
    assert opened(data, "jsonl", other).fingerprint != memory.fingerprint


def listed(folder, rows, columns, **options):
    path = folder / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest.open(manifest.Config(str(path), columns=columns, **options))


BAD = [
    ("int", "three", "'x' is 'three': no number"),
    ("int", 1.5, "'x' is 1.5: no whole number"),
    ("int", True, "'x' is True: no number"),
    ("int", 1 << 70, "cannot be kept"),
    ("float", None, "nothing in 'x'"),
    ("float", float("nan"), "no finite number"),
    ("text", 3, "'x' is 3: neither text nor a list"),
    ("text", "", "nothing in 'x'"),
    ("text", "\ud83d", "half a surrogate pair"),
    ("texts", ["a", " "], "an empty text"),
    ("ints", [1, "b"], "no number"),
    ("floats", [], "nothing in 'x'"),
    ("json", "{'a'", "broken JSON"),
]


@pytest.mark.parametrize(("kind", "value", "reason"), BAD)
def test_values_of_another_kind_make_their_row_corrupt(tmp_path, kind, value, reason):
    good = {"int": 1, "float": 1.5, "json": {"a": 1}, "ints": [1], "floats": [1.5]}.get(kind, "b")
    rows = [{"text": "a", "x": good}, {"text": "b", "x": value}, {"text": "c"}]
    source = listed(tmp_path, rows, {"x": Column(kind=kind)}, image="")
    assert source[0]["x"] in (good, (good,), tuple(good) if isinstance(good, list) else None)
    with pytest.raises(CorruptExample, match=reason):
        source[1]
    with pytest.raises(CorruptExample, match="nothing in 'x'"):
        source[2]
    assert source.locate(1) == "own.jsonl, line 2"


def test_one_text_or_several_is_the_same_in_all_rows(tmp_path):
    rows = [{"text": "a", "answer": "x"}, {"text": "b", "answer": ["y", "z"]}]
    source = listed(tmp_path, rows, {"answer": Column()}, image="")
    assert [row["answer"] for row in source] == [("x",), ("y", "z")]
    assert source.column("answer").tolist() == [("x",), ("y", "z")]


def test_declarations_that_cannot_be(tmp_path, data):
    with pytest.raises(DataError, match=r"columns.mood needs a kind: bytes, files, text"):
        listed(tmp_path, [{"text": "a"}], {"mood": Column()}, image="")
    with pytest.raises(DataError, match="columns.label is label, not text"):
        listed(tmp_path, [{"text": "a"}], {"label": Column(kind="text")}, image="")
    with pytest.raises(DataError, match="a field is a name like question, not 'a b'"):
        listed(tmp_path, [{"text": "a"}], {"a b": Column(kind="int")}, image="")
    with pytest.raises(ConfigError, match="columns.answer.kind"):
        opened(data, "jsonl", {"answer": dict(kind="txt")})


def test_own_columns_may_be_declared_too(tmp_path):
    (tmp_path / "a.png").write_bytes(b"png")
    columns = {"image": Column("file"), "text": Column("says"), "label": Column("class")}
    rows = [{"file": "a.png", "says": "x", "class": "cat"}]
    source = listed(tmp_path, rows, columns)
    assert source[0]["image"] == b"png" and source[0]["text"] == "x" and source[0]["label"] == 0


def test_what_nobody_named_may_be_missing_where_other_fields_are_declared(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"wav")
    rows = [{"audio": "a.wav", "label": "dog"}]
    with pytest.raises(DataError, match="no column 'text'"):
        listed(tmp_path, rows, {"audio": Column()})
    with pytest.raises(DataError, match="no column 'image'"):
        listed(tmp_path, [{"question": "q"}], {"question": Column()})
    with pytest.raises(DataError, match="no column 'picture'"):
        listed(tmp_path, rows, {"audio": Column()}, image="picture", text="")
    named = listed(tmp_path, rows, {"audio": Column()}, text="")
    assert named[0]["text"] == "a photo of a dog." and named[0]["id"] == "a.wav"
    bare = listed(tmp_path, [{"audio": "a.wav"}], {"audio": Column()}, text="", templates=())
    assert bare[0] == {"id": "a.wav", "group": 0, "audio": b"wav"}
    with pytest.raises(DataError, match=r"templates=\(\) leaves captions out"):
        listed(tmp_path, [{"audio": "a.wav"}], {"audio": Column()}, text="")


def test_cuts_of_one_recording_are_in_one_split_and_files_are_looked_for(tmp_path, capsys):
    rows = []
    for at in range(40):
        (tmp_path / f"{at // 4}.wav").write_bytes(b"wav")
        rows.append({"audio": f"{at // 4}.wav", "text": f"t{at}", "start": at % 4})
    columns = {"audio": Column(), "start": Column()}
    parts = [listed(tmp_path, rows, columns, split=name, validation=0.3, test=0.3)
             for name in ("train", "validation", "test")]  # fmt: skip
    files = [{row["id"] for row in part} for part in parts]
    assert sum(map(len, files)) == 10 and sum(map(len, parts)) == 40
    assert "earlier row" not in capsys.readouterr().err
    (tmp_path / "3.wav").unlink()
    with pytest.raises(DataError, match="4 of 40 audios .* do not exist: .*3.wav .line 13"):
        listed(tmp_path, rows, columns)


def test_hugging_faces_struct_of_a_sound(tmp_path):
    rows = [{"audio": {"bytes": b"wav", "path": "x.wav"}, "text": "a"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "own.parquet")
    config = manifest.Config(str(tmp_path / "own.parquet"), columns={"audio": Column()})
    assert manifest.open(config)[0]["audio"] == b"wav"
    pq.write_table(pa.Table.from_pylist([{"audio": 3, "text": "a"}]), tmp_path / "own.parquet")
    with pytest.raises(DataError, match="column 'audio' is int64; an audio is a path"):
        manifest.open(config)


def test_folders_of_sounds_and_videos(tmp_path):
    root = tmp_path / "clips"
    (root / "dog").mkdir(parents=True)
    for name in ("dog/1.mp4", "dog/2.mp4"):
        (root / name).write_bytes(name.encode())
    source = folder.open(folder.Config(str(root)))
    assert source[1]["video"] == b"dog/2.mp4" and source[1]["text"] == "a photo of a dog."
    for name in ("dog/1.wav", "dog/2.wav"):
        (root / name).write_bytes(name.encode())
    with pytest.raises(DataError, match="sounds and videos; media"):
        folder.open(folder.Config(str(root)))
    both = folder.open(folder.Config(str(root), media="video", columns={"audio": Column()}))
    assert both[0]["video"] == b"dog/1.mp4" and both[0]["audio"] == b"dog/1.wav"
    (root / "dog" / "2.wav").unlink()
    both = folder.open(folder.Config(str(root), media="video", columns={"audio": Column()}))
    with pytest.raises(CorruptExample, match="no audio in the sample"):
        both[1]
    with pytest.raises(DataError, match="columns.video: a folder has that of its own"):
        folder.open(folder.Config(str(root), media="video", columns={"video": Column()}))


def test_samples_without_an_optional_image_are_whole(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as out:
        for name, content in (("0.flac", b"s"), ("0.txt", b"a"), ("1.mp3", b"t"), ("1.txt", b"b")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    config = webdataset.Config(str(tmp_path / "x.tar"), columns={"audio": Column()})
    source = webdataset.open(config)
    assert [row["audio"] for row in source] == [b"s", b"t"] and "image" not in source[0]
