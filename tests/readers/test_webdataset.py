"""WebDataset tars: samples by key, captions and labels of their members, and what can be wrong."""

import io
import json
import pickle
import tarfile

import pytest
from PIL import Image

from mmjax.data.source import CorruptExample, DataError
from mmjax.readers import index, webdataset
from mmjax.transforms.images import DecodeImage


def png(value=0):
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (value, 0, 0)).save(file, "png")
    return file.getvalue()


def packed(path, members):
    """members: (name, content) pairs."""
    with tarfile.open(path, "w") as out:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return str(path)


def samples(first, count=4, **more):
    """Members as img2dataset writes them."""
    out = []
    for at in range(first, first + count):
        record = {"caption": f"caption {at}", "key": f"{at:05d}", "meta": {"tags": ["x", f"t{at}"]}}
        out += [(f"{at:05d}.png", png(at)), (f"{at:05d}.txt", f"picture {at}\n".encode()),
                (f"{at:05d}.json", json.dumps(record).encode()),
                (f"{at:05d}.cls", str(at % 2).encode())]  # fmt: skip
    return out


def opened(path, **options):
    return webdataset.open(webdataset.Config(str(path), **options))


@pytest.fixture
def shards(tmp_path):
    for part in range(3):
        packed(tmp_path / f"{part:05d}.tar", samples(part * 4))
    return tmp_path


def test_a_set_of_tars(shards):
    source = opened(shards / "{00000..00002}.tar")
    assert len(source) == 12
    assert [DecodeImage()(one)["image"][0, 0, 0] for one in source] == list(range(12))
    assert source[5]["text"] == "picture 5" and source[5]["id"] == "00005"
    assert source.column("label").tolist() == [0, 1] * 6 and source[5]["label"] == 1
    assert source.locate(5) == "{00000..00002}.tar, 00001.tar, 00005"
    assert source.column("text").tolist() == [f"picture {at}" for at in range(12)]
    assert len(opened(shards)) == len(opened(shards / "*.tar")) == 12
    assert opened(shards / "00001.tar").locate(1) == "00001.tar, 00005"
    moved = shards / "elsewhere"
    moved.mkdir()
    for part in range(3):
        (moved / f"{part}.tar").write_bytes((shards / f"{part:05d}.tar").read_bytes())
    assert opened(moved).fingerprint == source.fingerprint
    assert opened(shards / "{00000,00001}.tar").fingerprint != source.fingerprint
    again = pickle.loads(pickle.dumps(source))
    assert again[7] == source[7]


def test_fields_of_json_and_templates(shards):
    assert opened(shards, text="json.caption")[3]["text"] == "caption 3"
    assert opened(shards, text="json.meta.tags")[3]["text"] == ("x", "t3")
    source = opened(shards, text="", class_names=("cat", "dog"), group="json.caption")
    assert source[3]["text"] == "a photo of a dog."
    splits = [opened(shards, split=name, validation=0.3, test=0.3)
              for name in ("train", "validation", "test")]  # fmt: skip
    assert sorted(one["id"] for part in splits for one in part) == [f"{at:05d}" for at in range(12)]


def test_members_of_a_sample_need_not_be_side_by_side(tmp_path, capsys):
    members = sorted(samples(0), key=lambda one: one[0].split(".")[1])
    members += [("._00000.png", b"apple"), ("README", b"read"), ("d/00000.png", png(9)),
                ("d/00000.txt", b"in a folder")]  # fmt: skip
    source = opened(packed(tmp_path / "x.tar", members), label="")
    assert [one["id"] for one in source] == ["00000", "00001", "00002", "00003", "d/00000"]
    assert source[2]["text"] == "picture 2"
    said = capsys.readouterr().err
    assert "x.tar: 2 members belong to no sample: x.tar: ._00000.png, x.tar: README" in said


def test_duplicate_keys_are_said_once_and_kept(tmp_path, capsys):
    members = samples(0) + samples(2, 1) + samples(3, 1)
    path = packed(tmp_path / "twice.tar", members)
    source = opened(path)
    assert [one["id"] for one in source] == ["00000", "00001", "00002", "00003", "00002", "00003"]
    opened(path, split="train")
    said = capsys.readouterr().err
    assert said.count("twice.tar: 2 rows have the key of an earlier row, and are kept") == 1
    assert "00002, 00003" in said


def test_what_is_missing_or_broken_keeps_its_place(tmp_path):
    members = [("0.png", png()), ("0.txt", b"fine"), ("1.txt", b"no image"), ("2.png", png()),
               ("3.png", png()), ("3.txt", b"caf\xe9"), ("4.png", png()), ("4.txt", b" \n"),
               ("5.png", b"junk"), ("5.txt", b"a junk")]  # fmt: skip
    source = opened(packed(tmp_path / "x.tar", members))
    assert len(source) == 6 and source[0]["text"] == "fine"
    reasons = {1: "no image in the sample; it has .txt", 2: "nothing in 'txt'",
               3: "invalid UTF-8: byte 0xe9 at position 3", 4: "nothing in 'txt'"}  # fmt: skip
    for row, reason in reasons.items():
        with pytest.raises(CorruptExample, match=reason):
            source[row]
    with pytest.raises(CorruptExample, match="no image format"):
        DecodeImage()(source[5])
    members = [("0.png", png()), ("0.json", b'{"caption": "x"}'), ("1.png", png()),
               ("1.json", b'{"caption": '), ("2.png", png()), ("2.json", b"[]")]  # fmt: skip
    source = opened(packed(tmp_path / "y.tar", members), text="json.caption")
    with pytest.raises(CorruptExample, match="1.json: broken JSON"):
        source[1]
    with pytest.raises(CorruptExample, match="nothing in 'json.caption'"):
        source[2]


def test_a_tar_that_is_cut_off(shards, capsys):
    path = shards / "00001.tar"
    whole = path.read_bytes()
    third = whole.index(b"00006.txt")
    path.write_bytes(whole[: third + 515])
    with pytest.raises(DataError) as caught:
        opened(shards)
    for part in ("1 of 3 tars", "00001.tar: it is cut off", "within 00006.txt", "keep"):
        assert part in str(caught.value)
    source = opened(shards, truncated="keep")
    assert len(source) == 11 and source[5]["text"] == "picture 5"
    with pytest.raises(CorruptExample, match="00001.tar: it is cut off"):
        source[6]
    assert source[7]["text"] == "picture 8"
    assert "00001.tar: it is cut off" in capsys.readouterr().err


def test_sets_that_are_refused(shards, tmp_path):
    with pytest.raises(DataError, match="no sample has an image .*.png .3., .txt"):
        opened(packed(shards / "00000.tar", samples(0, 3)), image="jpg")
    with pytest.raises(DataError, match=r"no sample has a caption in text=\'cap\'.*json.caption"):
        opened(shards / "00000.tar", text="cap")
    with pytest.raises(DataError, match="labels are numbers; class_names"):
        opened(shards / "00000.tar", text="")
    with pytest.raises(DataError, match="no row has label='class'"):
        opened(shards / "00000.tar", text="", label="class")
    with pytest.raises(DataError, match="2 of 5 files of .* do not exist: .*00003.tar"):
        opened(shards / "{00000..00004}.tar")
    with pytest.raises(DataError, match="no tar .*00007.tar; in .* there is: 0000"):
        opened(shards / "00007.tar")
    with pytest.raises(DataError, match="gs://set/0.tar is an address; .*download it, or mount"):
        opened("gs://set/0.tar")
    (shards / "empty").mkdir()
    with pytest.raises(DataError, match="no tar in .*empty; it has: nothing"):
        opened(shards / "empty")
    with pytest.raises(DataError, match="has no samples"):
        opened(packed(tmp_path / "none.tar", [("README", b"x")]))
    (tmp_path / "z.tar").write_bytes(b"\x1f\x8b\x08" + bytes(600))
    with pytest.raises(DataError, match="z.tar is compressed.*gzip -d z.tar"):
        opened(tmp_path / "z.tar")


def test_the_index_is_written_once(shards, monkeypatch):
    monkeypatch.setenv("MMJAX_DATA", str(shards / "cache"))
    monkeypatch.setattr(index, "IN_MEMORY", 0)
    first = opened(shards)
    with monkeypatch.context() as patch:
        patch.setattr(webdataset, "_samples", None)  # no tar is read again
        again = opened(shards)
    assert [one["id"] for one in again] == [one["id"] for one in first]
    assert again[7] == first[7] and again.fingerprint == first.fingerprint
    packed(shards / "00003.tar", samples(12))
    assert len(opened(shards)) == 16
