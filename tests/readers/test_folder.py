"""A user's folder: side-car texts or class folders, or refused with what is missing."""

import pytest
from PIL import Image

from mmjax.data.source import CorruptExample, DataError
from mmjax.readers import folder


def picture(path, red=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (red, 0, 0)).save(path)


def opened(path, **options):
    return folder.open(folder.Config(str(path), **options))


@pytest.fixture
def texts(tmp_path):
    for name in ("b.png", "a.JPG", "deep/c.webp"):
        picture(tmp_path / "photos" / name)
        (tmp_path / "photos" / name).with_suffix(".txt").write_text(f"caption of {name}\n")
    return tmp_path / "photos"


@pytest.fixture
def classes(tmp_path):
    for name in ("cat/1.png", "cat/more/2.png", "night_sky/1.png"):
        picture(tmp_path / "photos" / name)
    return tmp_path / "photos"


def test_side_car_texts(texts):
    source = opened(texts)
    assert [one["id"] for one in source] == ["a.JPG", "b.png", "deep/c.webp"]
    assert source[2]["text"] == "caption of deep/c.webp" and "label" not in source[2]
    assert source[1]["image"][:4] == b"\x89PNG"
    assert source.locate(2) == "photos, deep/c.webp"


def test_several_lines_are_several_captions(texts):
    (texts / "b.txt").write_bytes("\ufeffone\r\n\r\n two \r\n".encode())
    source = opened(texts)
    assert source[1]["text"] == ("one", "two") and source[0]["text"] == ("caption of a.JPG",)


def test_bad_texts_are_named_when_read(texts):
    (texts / "a.txt").write_bytes(b"caf\xe9")
    (texts / "b.txt").write_text(" \n")
    source = opened(texts)
    with pytest.raises(CorruptExample, match="a.txt: invalid UTF-8"):
        source[0]
    with pytest.raises(CorruptExample, match="empty caption: nothing in b.txt"):
        source[1]
    assert source[2]["text"]


def test_missing_texts_are_refused(texts):
    (texts / "b.txt").unlink()
    with pytest.raises(
        DataError, match="1 of 3 images .* no text beside them: b.png. b.png needs b.txt"
    ):
        opened(texts)


def test_class_folders(classes):
    source = opened(classes)
    assert source.class_names == ("cat", "night_sky")
    assert [one["label"] for one in source] == [0, 0, 1]
    assert source[2]["text"] == "a photo of a night sky."
    assert source.column("group").tolist() == [0, 0, 1]  # one class is one group
    assert opened(classes, templates=("a {}", "one {}"))[0]["text"] == ("a cat", "one cat")
    assert opened(classes, class_names=("night_sky", "cat")).column("label").tolist() == [1, 1, 0]


def test_loose_images_are_refused(classes):
    picture(classes / "loose.png")
    with pytest.raises(
        DataError, match=r"1 of 4 .* in no class folder: loose.png.*\(loose.png: loose.txt\)"
    ):
        opened(classes)


def test_hidden_and_other_files_are_left_out(classes):
    for name in (".hidden.png", ".thumbs/1.png", "__MACOSX/1.png"):
        picture(classes / name)
    (classes / "cat" / "README.txt").write_text("x")
    (classes / "Thumbs.db").write_text("x")
    assert len(opened(classes)) == 3


def test_folders_that_are_refused(tmp_path, classes):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.doc").write_text("x")
    with pytest.raises(DataError, match=r"no image in .*empty \(.jpg .*it is empty"):
        opened(tmp_path / "empty")
    with pytest.raises(DataError, match="it has a.doc"):
        opened(tmp_path / "other")
    with pytest.raises(DataError, match="no folder .*phtos; in .* there is: photos"):
        opened(tmp_path / "phtos")
    with pytest.raises(DataError, match="is a file.*manifest"):
        opened(tmp_path / "other" / "a.doc")
    with pytest.raises(DataError, match="split 'x' is none of"):
        opened(classes, split="x")
    with pytest.raises(DataError, match="none of its 3 images is in split 'test'"):
        opened(classes, split="test", test=0.0)


def test_a_file_that_goes_missing_is_named(texts):
    source = opened(texts)
    (texts / "b.png").unlink()
    with pytest.raises(CorruptExample, match="no such file: .*b.png"):
        source[1]
    assert opened(texts).fingerprint != source.fingerprint  # the next run is told


def test_splits_do_not_move(tmp_path):
    def parts(count):
        for at in range(count):
            picture(tmp_path / "photos" / f"class{at % 3}" / f"{at}.png", red=at)
        return {split: {one["id"] for one in opened(tmp_path / "photos", split=split)}
                for split in ("train", "validation", "test")}  # fmt: skip

    small, large = parts(60), parts(80)
    assert sum(map(len, small.values())) == 60
    assert all(small[split] <= large[split] for split in small)
