"""ArrayRecord: both forms of a record, several files, and what can be wrong with them."""

import io
import os
import pickle
import struct

import numpy as np
import pytest
from array_record.python import array_record_module
from PIL import Image

from mmjax.data.source import CorruptExample, DataError
from mmjax.readers import array_record, wire
from mmjax.readers.columns import Column
from mmjax.transforms.images import DecodeImage


def png(value=0):
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (value, 0, 0)).save(file, "png")
    return file.getvalue()


def examples(first=0, count=4):
    return [{"image": png(at), "text": f"picture {at}", "label": ("cat", "dog")[at % 2],
             "id": f"x{at}"} for at in range(first, first + count)]  # fmt: skip


def opened(path, **options):
    return array_record.open(array_record.Config(str(path), **options))


def raw(path, records):
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
    return path


def field(number, data):
    """A field of a protocol buffer: bytes, or a number as a varint."""
    kind, out = (0, []) if isinstance(data, int) else (2, [])
    for value in (number << 3 | kind, data if kind == 0 else len(data)):
        value &= (1 << 64) - 1
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        out.append(value)
    return bytes(out) + (b"" if kind == 0 else data)


def tf_example(packed=True, **features):
    """What tf.train.Example(...).SerializeToString() gives."""
    entries = b""
    for name, values in features.items():
        if isinstance(values[0], bytes):
            feature = field(1, b"".join(field(1, value) for value in values))
        elif isinstance(values[0], float):
            feature = field(2, field(1, struct.pack(f"<{len(values)}f", *values)))
        else:
            numbers = [field(1, value) for value in values]
            feature = field(3, field(1, b"".join(n[1:] for n in numbers)) if packed
                            else b"".join(numbers))  # fmt: skip
        entries += field(1, field(1, name.replace("__", "/").encode()) + field(2, feature))
    return field(1, entries)


def test_written_and_read(tmp_path):
    path = tmp_path / "deep" / "own.array_record"
    assert array_record.write(path, iter(examples())) == 4
    source = opened(path)
    assert [DecodeImage()(one)["image"][0, 0, 0] for one in source] == [0, 1, 2, 3]
    assert source[2]["text"] == "picture 2" and source[2]["id"] == "x2"
    assert source.class_names == ("cat", "dog") and source.column("label").tolist() == [0, 1, 0, 1]
    assert source.locate(2) == "own.array_record, record 2 (x2)"
    assert pickle.loads(pickle.dumps(source))[3] == source[3]
    assert opened(path, text="")[1]["text"] == "a photo of a dog."
    array_record.write(path, examples(0, 40))
    parts = [opened(path, split=name) for name in ("train", "validation", "test")]
    assert sum(map(len, parts)) == 40 and parts[1].class_names == ("cat", "dog")


COLUMNS = {"tags": Column(kind="texts"), "audio": Column(), "seconds": Column(kind="float")}


def test_further_fields_and_pixels(tmp_path):
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    one = {"image": pixels, "text": ("a", "b"), "tags": ("x", "y"), "audio": b"ogg",
           "seconds": np.float32(1.5)}  # fmt: skip
    array_record.write(tmp_path / "own.array_record", [one])
    example = opened(tmp_path / "own.array_record", columns=COLUMNS)[0]
    assert np.array_equal(DecodeImage()(example)["image"], pixels) and example["text"] == ("a", "b")
    assert (example["tags"], example["audio"], example["seconds"]) == (("x", "y"), b"ogg", 1.5)
    with pytest.raises(TypeError, match="'mask' is ndarray; a record holds text, bytes, numbers"):
        array_record.write(tmp_path / "b.array_record", [{"mask": pixels}])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.array_record"]


@pytest.mark.parametrize("packed", [True, False])
def test_examples_of_tensorflow(tmp_path, packed):
    records = [tf_example(packed, image__encoded=[png(at)], caption=[f"picture {at}".encode()],
                          label=[at % 2], box=[0.5, float(at)]) for at in range(3)]  # fmt: skip
    path = raw(tmp_path / "train.array_record-00000-of-00001", records)
    source = opened(path, image="image/encoded", text="caption", class_names=("cat", "dog"))
    assert source[1]["text"] == "picture 1" and source[1]["label"] == 1
    assert DecodeImage()(source[2])["image"][0, 0, 0] == 2
    with pytest.raises(DataError, match="no record has a field 'image'.*did you mean image='image"):
        opened(path)


def test_numbers_of_an_example():
    found = wire.decode(tf_example(a=[-1, 3, 1 << 40], b=[b"x", b""], c=[0.25, -2.0]))
    assert found == {"a": [-1, 3, 1 << 40], "b": [b"x", b""], "c": [0.25, -2.0]}
    for data in (b"", b"\x0a\x05\x0a", b"\x0a" + b"\xff" * 11, b"\x93\x01",
                 b"\x0a\x02\x0a\x00\x0b", b"hello", b"\x81\x01\x02"):  # fmt: skip
        with pytest.raises(CorruptExample, match="record"):
            wire.decode(data)


def test_several_files(tmp_path):
    for part in range(2):
        name = f"train.array_record-{part:05d}-of-00002"
        array_record.write(tmp_path / name, examples(part * 4))
    source = opened(tmp_path)
    assert len(source) == 8 and source[6]["text"] == "picture 6"
    assert source.locate(6).endswith("train.array_record-00001-of-00002, record 2 (x6)")
    assert len(opened(tmp_path / "train.array_record-*")) == 8
    assert opened(tmp_path / "train.array_record-00000*").fingerprint != source.fingerprint
    with pytest.raises(DataError, match="no ArrayRecord file matches"):
        opened(tmp_path / "valid*")


def test_files_that_are_refused(tmp_path):
    path = tmp_path / "own.array_record"
    array_record.write(path, examples(0, 200))
    whole = path.read_bytes()
    for content in (b"", b"hello" * 100, whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="own.array_record is no ArrayRecord file, or is cut"):
            opened(path)
    array_record.write(path, [])
    with pytest.raises(DataError, match="has no records"):
        opened(path)


def test_records_that_cannot_be_used_keep_their_place(tmp_path):
    good = wire.encode({"image": png(), "text": "fine"})
    records = [good, b"junk", wire.encode({"text": "no image"}), wire.encode({"image": png()}),
               wire.encode({"image": 5, "text": "x"}),
               wire.encode({"image": png(), "text": b"caf\xe9"})]  # fmt: skip
    source = opened(raw(tmp_path / "own.array_record", records))
    reasons = {1: "neither a tf.train.Example nor", 2: "no image: nothing in 'image'",
               3: "nothing in 'text'", 4: "int, no encoded image", 5: "invalid UTF-8"}  # fmt: skip
    assert len(source) == 6 and source[0]["text"] == "fine"
    for row, reason in reasons.items():
        with pytest.raises(CorruptExample, match=reason):
            source[row]


def test_a_file_that_shrinks_is_named(tmp_path):
    path = tmp_path / "own.array_record"
    array_record.write(path, examples(0, 100))
    source = opened(path)
    before = source.fingerprint
    assert source[99]["text"] == "picture 99"
    os.truncate(path, path.stat().st_size // 2)
    for row in (0, 99):
        with pytest.raises(CorruptExample, match=r"own.array_record has changed since"):
            source[row]
    path.unlink()
    with pytest.raises(CorruptExample, match="cannot read record 5 of .*own.array_record"):
        source[5]
    array_record.write(path, examples(0, 99))
    assert opened(path).fingerprint != before


def test_duplicate_ids_are_said_and_kept(tmp_path, capsys):
    array_record.write(tmp_path / "again.array_record", examples() + examples(1, 2))
    assert len(opened(tmp_path / "again.array_record")) == 6
    assert "2 rows have the id of an earlier row, and are kept: x1, x2" in capsys.readouterr().err
