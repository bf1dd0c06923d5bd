"""Offsets of members in every dialect of tar, compared with Python's tarfile."""

import io
import os
import shutil
import subprocess
import tarfile

import pytest

from mmjax.data.source import CorruptExample, DataError
from mmjax.data.storage import Stamp
from mmjax.readers import tar

LONG = "a-folder-whose-name-is-long/" * 6 + "é" * 60 + ".txt"


def packed(path, files, form=tarfile.PAX_FORMAT, mtime=1.5):
    with tarfile.open(path, "w", format=form) as out:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), mtime
            out.addfile(info, io.BytesIO(content))
    return path


def contents(path):
    stamp = Stamp.of(path)
    return {one.name: tar.content(stamp, one) for one in tar.members(path, lambda count: None)}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_forms_and_long_names(tmp_path, form):
    files = {"./a.txt": b"a" * 511, "b.txt": b"", "d/c.txt": b"c" * 512, "e.txt": b"e" * 1025}
    if form != tarfile.USTAR_FORMAT:
        files[LONG] = b"long"
    else:
        files["p" * 90 + "/" + "n" * 60] = b"prefix"
    found = contents(packed(tmp_path / "x.tar", files, form))
    assert found == {name.removeprefix("./"): content for name, content in files.items()}


def test_links_folders_and_progress(tmp_path):
    path = packed(tmp_path / "x.tar", {"d/a.txt": b"a"})
    with tarfile.open(path, "a") as out:
        for name, kind, target in (
            ("b.txt", tarfile.LNKTYPE, "d/a.txt"),
            ("d/c.txt", tarfile.SYMTYPE, "a.txt"),
            ("gone.txt", tarfile.SYMTYPE, "nowhere.txt"),
            ("folder", tarfile.DIRTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            out.addfile(info)
    assert contents(path) == {"d/a.txt": b"a", "b.txt": b"a", "d/c.txt": b"a", "gone.txt": b""}
    counts = []
    list(tar.members(path, counts.append))
    assert sum(counts) == path.stat().st_size


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_sparse_members(tmp_path, form):
    """Written by GNU tar where there is one; its two forms of sparse members."""
    with open(tmp_path / "hole.bin", "wb") as file:
        file.write(b"head")
        file.seek(1 << 20)
        file.write(b"tail")
    (tmp_path / "z.txt").write_text("behind")
    path = tmp_path / "x.tar"
    program = shutil.which("gtar") or shutil.which("tar")
    command = [program, "--sparse", f"--format={form}", "-cf", path, "hole.bin", "z.txt"]
    done = program and subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    if not done:  # another tar: it stores the zeros
        packed(path, {name: (tmp_path / name).read_bytes() for name in ("hole.bin", "z.txt")})
    whole = (tmp_path / "hole.bin").read_bytes()
    assert contents(path) == {"hole.bin": whole, "z.txt": b"behind"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08" + bytes(600), r"compressed.*read from the middle.*gzip -d x.tar"),
        (b"BZh91AY" + bytes(600), "bzip2 -d x.tar"),
        (b"PK\x03\x04" + b"zip" * 300, "is no tar: it begins b'PK"),
        (b"", "is empty"),
    ],
)
def test_what_is_no_tar(tmp_path, content, message):
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(DataError, match=message):
        contents(tmp_path / "x.tar")


def test_cut_and_damaged(tmp_path):
    files = {"a.txt": b"a" * 600, "b.txt": b"b" * 600}
    path = packed(tmp_path / "x.tar", files, tarfile.USTAR_FORMAT)
    whole = path.read_bytes()
    damaged = whole[:1536] + b"x" * 512 + whole[2048:]
    for content, message, name in (
        (whole[:2100], "cut off at byte 2100, within b.txt", "b.txt"),
        (whole[:3072], "cut off at byte 3072: the mark of its end is missing", ""),
        (whole[:1700], "cut off at byte 1700: the mark", ""),
        (damaged, "damaged at byte 1536: no header", ""),
    ):
        path.write_bytes(content)
        found = []
        with pytest.raises(tar.Cut, match=message) as caught:
            found.extend(one.name for one in tar.members(path, lambda count: None))
        assert caught.value.name == name


def test_a_size_that_leads_backwards_ends_the_tar(tmp_path):
    """Such a header once led readers around for ever."""
    path = packed(tmp_path / "x.tar", {"a.txt": b"a" * 600, "b.txt": b"b"}, tarfile.USTAR_FORMAT)
    whole = bytearray(path.read_bytes())
    head = whole[1536:2048]
    head[124:136] = b"\xff" + (-1536).to_bytes(11, "big", signed=True)  # of b.txt, as GNU has it
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    whole[1536:2048] = head
    path.write_bytes(whole)
    with pytest.raises(tar.Cut, match="damaged at byte 1536"):
        list(tar.members(path, lambda count: None))


def test_a_tar_that_changes_is_named(tmp_path):
    path = packed(tmp_path / "x.tar", {"a.txt": b"a" * 600, "b.txt": b"b" * 600})
    stamp = Stamp.of(path)
    member = list(tar.members(path, lambda count: None))[1]
    assert tar.content(stamp, member) == b"b" * 600
    os.truncate(path, 700)
    with pytest.raises(CorruptExample, match=r"x.tar has changed .*\(700 bytes, it had"):
        tar.content(stamp, member)
    path.unlink()
    other = stamp._replace(changed=0)  # not among the open ones
    with pytest.raises(CorruptExample, match="cannot read .*x.tar: No such file"):
        tar.content(other, member)
