"""Bytes flipped at random, with a fixed seed: a clear error, a counted row, or the right result.

* Never a traceback of something else, never a hang, never a wrong number.
* Checkpoints and exports have checksums, so every change of an array shows. A file of others has
  none: there the header is damaged alone.
* A caption whose letters changed is another caption, and nothing in a tar or a manifest could tell.
"""

import contextlib
import io
import json
import shutil
import signal
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from mmjax import tree
from mmjax.conversion.formats import files
from mmjax.conversion.mapping import table
from mmjax.conversion.mapping.table import Entry
from mmjax.data.source import CorruptExample
from mmjax.errors import UserError
from mmjax.readers import manifest, webdataset
from mmjax.training.checkpoint import Checkpoints, Config
from mmjax.training.state import State
from mmjax.transforms.decode import DecodeImage

pytestmark = pytest.mark.slow
SECONDS = 20  # that no trial may take
PICTURES = 6
METRIC = Config(metric="m")


def damaged(rng, content):
    """Up to eight bits flipped; one in ten is cut off instead."""
    if rng.random() < 0.1:
        return content[: rng.integers(len(content))]
    changed = bytearray(content)
    for place in rng.integers(len(content), size=rng.integers(1, 9)):
        changed[place] ^= 1 << rng.integers(8)
    return bytes(changed)


@contextlib.contextmanager
def in_time():
    def late(number, frame):
        raise TimeoutError(f"a trial takes longer than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def refusals(counts):
    """Counts what is refused clearly; everything else that is raised fails the test."""
    with in_time():
        try:
            yield
            counts["right"] += 1
        except UserError as error:
            assert 0 < len(str(error)) < 5000
            counts["refused"] += 1


def equal(first, second):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(first), jax.device_get(second))


def trained():
    """A state whose kernel is stored as a chunk of its own, and whose other arrays are not."""
    rng = np.random.default_rng(0)
    params = {"tower": {"kernel": rng.normal(size=(64, 64)), "bias": rng.normal(size=64)}}
    params = jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), params)
    momentum = jax.tree.map(lambda value: value / 2, params)
    return State(
        step=jnp.int32(0), params=params, state={}, teachers={}, optimizer={"mu": momentum},
        skipped=jnp.int32(0),
    )  # fmt: skip


def test_checkpoints(tmp_path):
    state = trained()
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
    places = jax.tree.map(lambda leaf: device, state)
    checkpoints = Checkpoints(tmp_path, METRIC)
    for step in (10, 20):
        checkpoints.save(state.replace(step=jnp.int32(step)), {"m": step / 100})
    checkpoints.close()
    paths = sorted(path for path in (tmp_path / "20").rglob("*") if path.is_file())
    # what is read most, most often: the arrays' own data
    paths += 6 * [path for path in paths if path.parent.name == "d"]
    rng = np.random.default_rng(1)
    counts = {"right": 0, "refused": 0}
    for _ in range(250):
        path = paths[rng.integers(len(paths))]
        whole = path.read_bytes()
        path.write_bytes(damaged(rng, whole))
        with refusals(counts):
            reader = Checkpoints(tmp_path, METRIC, read_only=True)
            equal(reader.restore(shapes, places), state.replace(step=jnp.int32(20)))
            assert reader.about(20) == {"metrics": {"m": 0.2}}
        path.write_bytes(whole)
    assert counts["refused"] > 50 and counts["right"] > 20, counts
    equal(Checkpoints(tmp_path).restore(shapes, places).params, state.params)


ROWS = [
    Entry("kernel", "weight", "F D -> D F"), Entry("bias", "bias"),
    Entry("blocks/scale", "layers.{layer}.scale", layers=3),
]  # fmt: skip
PARAMETERS = {"kernel": (6, 4), "bias": (4,), "blocks/scale": (3, 4)}


@pytest.mark.parametrize("ours", [True, False], ids=["an export", "headers of others"])
def test_safetensors(tmp_path, ours):
    rng = np.random.default_rng(2)
    params = {
        path: rng.normal(size=shape).astype(np.float32) for path, shape in PARAMETERS.items()
    }
    shapes = {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in params.items()}
    tensors = table.write(ROWS, tree.unflatten(params))
    path = tmp_path / "model.safetensors"
    files.save(path, tensors) if ours else save_file(tensors, path)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    reach = len(whole) if ours else header
    counts = {"right": 0, "refused": 0}
    for trial in range(1000):
        path.write_bytes(damaged(rng, whole[:reach]) + whole[reach:] if trial else whole)
        with refusals(counts):
            found = files.safetensors(path)
            table.check(ROWS, found, shapes)
            equal(tree.flatten(table.read(ROWS, found, shapes)), params)
    assert counts["right"] >= 1 and counts["refused"] > 900, counts


def drawn(number):
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(256, size=(8, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def tar(folder):
    """A tar of pictures with captions, and how it is opened."""
    with tarfile.open(folder / "set.tar", "w") as out:
        for number in range(PICTURES):
            caption = f"picture {number}".encode()
            for name, content in ((f"{number}.png", drawn(number)), (f"{number}.txt", caption)):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))
    return folder / "set.tar", lambda path: webdataset.open(webdataset.Config(str(path)))


def listed(folder, name, text):
    for number in range(PICTURES):
        (folder / f"{number}.png").write_bytes(drawn(number))
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name, lambda path: manifest.open(manifest.Config(str(path)))


def jsonl(folder):
    rows = [{"image": f"{n}.png", "text": f"picture {n}"} for n in range(PICTURES)]
    return listed(folder, "list.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def csv(folder):
    rows = [f"{n}.png,picture {n}\n" for n in range(PICTURES)]
    return listed(folder, "list.csv", "image,text\n" + "".join(rows))


@pytest.mark.parametrize("made", [tar, jsonl, csv])
def test_data(tmp_path, monkeypatch, made):
    monkeypatch.setenv("MMJAX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "whole").mkdir()
    path, opened = made(tmp_path / "whole")
    pictures = [DecodeImage()({"image": drawn(number)})["image"] for number in range(PICTURES)]
    whole = path.read_bytes()
    rng = np.random.default_rng(3)
    counts = {"right": 0, "refused": 0}
    rows = {"read": 0, "corrupt": 0}
    for trial in range(200):
        # a name of its own: an index is kept of what was seen under the same one
        folder = tmp_path / f"{trial}"
        shutil.copytree(path.parent, folder)
        (folder / path.name).write_bytes(damaged(rng, whole))
        with refusals(counts):
            source = opened(folder / path.name)
            for row in range(len(source)):
                try:
                    example = DecodeImage()(source[row])
                except CorruptExample as error:
                    assert str(error).strip() and source.locate(row)
                    rows["corrupt"] += 1
                    continue
                assert isinstance(example["text"], str)
                assert any(np.array_equal(example["image"], picture) for picture in pictures)
                rows["read"] += 1
        shutil.rmtree(folder)
    assert counts["refused"] > 0 and counts["right"] > 5, (counts, rows)
    assert rows["read"] > 20, (counts, rows)
