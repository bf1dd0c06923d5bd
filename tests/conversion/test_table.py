"""Tables, safetensors and msgpack files: both directions, and every way in which one is wrong."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import serialization
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from safetensors.numpy import save_file

from mmjax.conversion.formats import files, msgpack
from mmjax.conversion.formats.files import CheckpointFileError
from mmjax.conversion.mapping import table
from mmjax.conversion.mapping.table import Entry, linear, multihead, norm

ROWS = [
    *multihead("blocks/attention", "layers.{layer}.attn", 2, layers=3),
    *linear("blocks/up", "layers.{layer}.fc", layers=3, first=0),
    *linear("query", "q", layout="(N H) D -> D N H", sizes={"N": 2}),
    *linear("out", "o", bias=False, layout="D (N H) -> N H D", sizes={"N": 2}),
    *norm("norm", "ln"),
    Entry("patches/kernel", "conv.weight", "D C p q -> (p q C) D", {"p": 2, "q": 2}),
    Entry("token", "cls", "D -> 1 D"),
    Entry("scale", "logit_scale", "1 ->"),
]


def tensors():
    rng = np.random.default_rng(0)
    shapes = {
        "q.weight": (6, 4), "q.bias": (6,), "o.weight": (4, 6), "ln.weight": (4,), "ln.bias": (4,),
        "conv.weight": (4, 3, 2, 2), "cls": (4,), "logit_scale": (1,),
    }  # fmt: skip
    for i in range(3):
        at = f"layers.{i}"
        shapes |= {f"{at}.attn.in_proj_weight": (18, 4), f"{at}.attn.in_proj_bias": (18,)}
        shapes |= {f"{at}.attn.out_proj.weight": (4, 6), f"{at}.attn.out_proj.bias": (4,)}
        shapes |= {f"{at}.fc.weight": (8, 4), f"{at}.fc.bias": (8,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def shapes():
    sizes = {
        "blocks/attention/out/kernel": (3, 2, 3, 4), "blocks/attention/out/bias": (3, 4),
        "blocks/up/kernel": (3, 4, 8), "blocks/up/bias": (3, 8), "query/kernel": (4, 2, 3),
        "query/bias": (2, 3), "out/kernel": (2, 3, 4), "norm/scale": (4,), "norm/bias": (4,),
        "patches/kernel": (12, 4), "token": (1, 4), "scale": (),
    }  # fmt: skip
    for name in ("query", "key", "value"):
        sizes[f"blocks/attention/{name}/kernel"] = (3, 4, 2, 3)
        sizes[f"blocks/attention/{name}/bias"] = (3, 2, 3)
    return {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in sizes.items()}


def test_layouts_mean_what_they_say():
    found = tensors()
    table.check(ROWS, found, shapes())
    params = table.read(ROWS, found, shapes())
    for i, name in enumerate(("query", "key", "value")):  # [3 * N * H, D] -> [layers, D, N, H]
        fused = found["layers.1.attn.in_proj_weight"].reshape(3, 2, 3, 4)[i]
        kernel = params["blocks"]["attention"][name]["kernel"]
        np.testing.assert_array_equal(kernel[1], fused.transpose(2, 0, 1))
        bias = found["layers.2.attn.in_proj_bias"].reshape(3, 2, 3)[i]
        np.testing.assert_array_equal(params["blocks"]["attention"][name]["bias"][2], bias)
    np.testing.assert_array_equal(params["out"]["kernel"].reshape(6, 4), found["o.weight"].T)
    patch = found["conv.weight"].transpose(2, 3, 1, 0).reshape(12, 4)
    np.testing.assert_array_equal(params["patches"]["kernel"], patch)
    assert params["scale"].shape == () and params["token"].shape == (1, 4)


def test_written_is_what_was_read():
    found = tensors()
    written = table.write(ROWS, table.read(ROWS, found, shapes()))
    assert set(written) == set(found)
    for name, tensor in found.items():
        np.testing.assert_array_equal(written[name], tensor)
        assert written[name].flags.c_contiguous


def test_each_device_reads_its_own_part():
    mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    specs = {path: PartitionSpec() for path in shapes()}
    specs["blocks/up/kernel"] = PartitionSpec(None, "a", "b")
    specs["query/kernel"] = PartitionSpec("a", "b")
    specs["patches/kernel"] = PartitionSpec("a")
    places = {path: NamedSharding(mesh, spec) for path, spec in specs.items()}
    cut = table.read(ROWS, tensors(), shapes(), places, "bfloat16")
    whole = table.read(ROWS, tensors(), shapes(), dtype="bfloat16")
    assert jax.tree.all(jax.tree.map(np.array_equal, cut, whole))
    assert cut["blocks"]["up"]["kernel"].addressable_shards[0].data.shape == (3, 1, 4)
    assert cut["query"]["kernel"].dtype == jnp.bfloat16


def test_every_wrong_tensor_is_named():
    found = tensors()
    del found["ln.bias"], found["layers.1.attn.in_proj_bias"]
    found["surplus"] = np.zeros(3)
    found["position_ids"] = np.zeros(3)
    found["q.weight"] = np.zeros((6, 5), np.float32)
    found["layers.2.fc.weight"] = np.zeros((8, 4, 1), np.float32)
    found["conv.weight"] = np.zeros((4, 3, 3, 2), np.float32)
    with pytest.raises(table.CheckpointMismatch) as error:
        table.check(ROWS, found, shapes(), lambda name: name == "position_ids")
    lines = str(error.value).splitlines()
    assert lines[0].endswith("2 missing, 1 extra, 3 of another shape")
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["missing", "layers.1.attn.in_proj_bias"], ["missing", "ln.bias"], ["extra", "surplus"],
    ]  # fmt: skip
    assert "q.weight: needs (6, 4), found (6, 5)" in lines[5]
    assert "layers.2.fc.weight: needs (8, 4), found (8, 4, 1)" in lines[4]
    assert "conv.weight: needs (4, 3, 2, 2), found (4, 3, 3, 2)" in lines[6]
    assert "position_ids" not in str(error.value)


def test_a_table_that_misses_a_parameter_is_our_mistake():
    with pytest.raises(ValueError, match=r"table lacks \['token'\] and has \[\]"):
        table.check([row for row in ROWS if row.path != "token"], tensors(), shapes())


KINDS = [np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.bool_, np.uint8, np.float64]


def test_safetensors_of_every_type(tmp_path):
    rng = np.random.default_rng(1)
    held = {str(np.dtype(kind)): (10 * rng.normal(size=(3, 4))).astype(kind) for kind in KINDS}
    held |= {"scalar": np.array(2.5, np.float32), "empty": np.zeros((0, 4), np.float32)}
    files.save(tmp_path / "model.safetensors", held)
    found = files.safetensors(tmp_path / "model.safetensors")
    assert set(found) == set(held)
    for name, array in held.items():
        assert found[name].dtype == array.dtype and type(found[name]) is np.ndarray
        np.testing.assert_array_equal(found[name], array)
        assert not found[name].size or not found[name].flags.writeable
    assert [one.name for one in tmp_path.iterdir()] == ["model.safetensors"]


def test_broken_safetensors_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    files.save(path, {"a": np.ones((4, 4), np.float32), "b": np.zeros(2, np.float32)})
    whole = path.read_bytes()
    size = 8 + int.from_bytes(whole[:8], "little")

    def header(change):
        rows = json.loads(whole[8:size])
        change(rows)
        text = json.dumps(rows).encode()
        return len(text).to_bytes(8, "little") + text + whole[size:]

    wrong = {
        "is cut off: a ends at byte": whole[:-20],
        "is no safetensors file: its header cannot be right": whole[: size - 4],
        "is no safetensors file: its header": b"\x80\x04pickled",
        "is no safetensors file": whole[:8] + b"}" + whole[9:],
        "is of type F4": header(lambda rows: rows["a"].update(dtype="F4")),
        r"a has 64 bytes for \[4, 5\]": header(lambda rows: rows["a"].update(shape=[4, 5])),
        "is no safetensors file: a is": header(lambda rows: rows["a"].pop("shape")),
        "cut off: b ends": header(lambda rows: rows["b"].update(data_offsets=[64, 1 << 40])),
    }
    for message, content in wrong.items():
        path.write_bytes(content)
        with pytest.raises(CheckpointFileError, match=message):
            files.safetensors(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointFileError, match="no safetensors file"):
        files.safetensors(path)


@pytest.mark.parametrize("name, fields, message", [
    ("b", dict(data_offsets=[60, 68]), r"b overlaps the one before it \(60, not 64\)"),
    ("b", dict(data_offsets=[0, 8]), r"a overlaps the one before it \(0, not 8\)"),
    ("b", dict(data_offsets=[68, 76]), r"b is cut off|cut off: b ends at byte 76 of 72"),
    ("b", dict(shape=[1], data_offsets=[68, 72]), r"b leaves bytes before it \(68, not 64\)"),
    ("b", dict(shape=[1], data_offsets=[64, 68]), "4 bytes belong to no tensor"),
    ("b", dict(data_offsets=[-8, 0]), "b has the shape .* whole numbers, not negative"),
    ("b", dict(data_offsets=[72, 64]), "b has the shape .* whole numbers"),
    ("b", dict(data_offsets=[64.0, 72.0]), "b has the shape .* whole numbers"),
    ("a", dict(shape=[-4, -4]), "a has the shape .* whole numbers, not negative"),
    ("a", dict(shape=[4.0, 4]), "a has the shape .* whole numbers"),
    ("a", dict(shape=[16, True]), "a has the shape .* whole numbers"),
    ("a", dict(shape="16"), "a has the shape .* whole numbers"),
    ("a", dict(shape=16), "no safetensors file: a is"),
    ("a", dict(dtype=["F32"]), "a is of type .*, which is unknown"),
], ids=str)  # fmt: skip
def test_headers_that_the_reference_refuses_are_refused_by_name(tmp_path, name, fields, message):
    header = {
        "a": dict(dtype="F32", shape=[4, 4], data_offsets=[0, 64]),
        "b": dict(dtype="F32", shape=[2], data_offsets=[64, 72]),
    }
    header[name].update(fields)
    with pytest.raises(CheckpointFileError, match=message):
        files.safetensors(with_header(tmp_path, json.dumps(header)))


@pytest.mark.parametrize("header, message", [
    ('["a"]', "its header names no tensors"), ("3", "its header names no tensors"),
    ('{"a": 3, "a": 4}', "there twice: a"), ("[" * 100_000, "no safetensors file"),
], ids=["list", "number", "twice", "deep"])  # fmt: skip
def test_headers_that_are_none(tmp_path, header, message):
    with pytest.raises(CheckpointFileError, match=message):
        files.safetensors(with_header(tmp_path, header))


def with_header(folder, text):
    """A safetensors file of 72 bytes of data under this header."""
    path = folder / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode() + bytes(72))
    return path


def test_a_tensor_that_changed_since_it_was_written_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    files.save(path, {"a": np.ones((4, 4), np.float32), "b": np.zeros(2, np.float32)})
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointFileError, match="is damaged: 1 of 2 tensors are not what .*: b"):
        files.safetensors(path)
    path.write_bytes(whole.replace(b"mmjax_crc32", b"mmjax_crc33"))
    with pytest.raises(CheckpointFileError, match="is damaged: its checksums cannot be read"):
        files.safetensors(path)
    # a file of others has none, as those that were written before there were any
    save_file({"b": np.arange(2.0)}, path, metadata={"format": "pt"})
    assert files.safetensors(path)["b"].tolist() == [0, 1]


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint8, np.bool_])
def test_whole_numbers_are_no_weights(kind):
    found = tensors()
    for name in ("ln.weight", "layers.1.fc.bias"):
        found[name] = found[name].astype(kind)
    with pytest.raises(table.CheckpointMismatch, match="whole numbers where the model has others: "
                       rf"layers.1.fc.bias \({np.dtype(kind)}\), ln.weight"):  # fmt: skip
        table.check(ROWS, found, shapes())


@pytest.mark.parametrize("dtype", [None, "bfloat16", "float16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_name(value, dtype):
    found = tensors()
    found["layers.2.fc.weight"][1, 2] = value
    found["cls"][0] = value
    with pytest.raises(CheckpointFileError, match=r"infinity\): layers.2.fc.weight, cls$"):
        table.read(ROWS, found, shapes(), dtype=dtype)


def test_what_becomes_infinite_is_refused_by_name():
    found = tensors()
    found["ln.bias"][0] = 1e6
    table.read(ROWS, found, shapes())
    with pytest.raises(CheckpointFileError, match="infinity.*: ln.bias$"):
        table.read(ROWS, found, shapes(), dtype="float16")


def test_an_index_stays_in_its_folder(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "one.safetensors")
    for where, error, message in (
        ({"a": "../other.safetensors"}, CheckpointFileError, "outside its folder"),
        ({"a": "one.safetensors", "b": "one.safetensors"}, CheckpointFileError, "names: b"),
        ({"a": "two.safetensors"}, FileNotFoundError, "two.safetensors"),
    ):
        index.write_text(json.dumps({"weight_map": where}))
        with pytest.raises(error, match=message):
            files.sharded(index)
    index.write_text("[1]")
    with pytest.raises(CheckpointFileError, match="holds list"):
        files.sharded(index)
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    assert set(files.sharded(index)) == {"a"}


def test_msgpack_names_and_layouts(tmp_path):
    rng = np.random.default_rng(2)
    params = {
        "layers": {"0": {"fc": {"kernel": rng.normal(size=(3, 5)), "bias": np.ones(5)}}},
        "conv": {"kernel": rng.normal(size=(2, 2, 3, 4))}, "conv1d": {"kernel": np.ones((7, 3, 4))},
        "norm": {"scale": np.ones(3)}, "tokens": {"embedding": np.ones((6, 3))},
    }  # fmt: skip
    path = tmp_path / "flax_model.msgpack"
    path.write_bytes(serialization.msgpack_serialize(params))
    found = msgpack.tensors(path)
    assert {name: array.shape for name, array in found.items()} == {
        "layers.0.fc.weight": (5, 3), "layers.0.fc.bias": (5,), "conv.weight": (4, 3, 2, 2),
        "conv1d.weight": (4, 3, 7), "norm.weight": (3,), "tokens.weight": (6, 3),
    }  # fmt: skip
    np.testing.assert_array_equal(found["conv.weight"][1, 2], params["conv"]["kernel"][:, :, 2, 1])

    parts = {"norm/scale": "a.msgpack", "tokens/embedding": "b.msgpack"}
    for name, file in parts.items():
        first, last = name.split("/")
        content = serialization.msgpack_serialize({first: {last: params[first][last]}})
        (tmp_path / file).write_bytes(content)
    index = tmp_path / "flax_model.msgpack.index.json"
    index.write_text(json.dumps({"weight_map": parts}))
    assert set(msgpack.tensors(index)) == {"norm.weight", "tokens.weight"}

    for content in (path.read_bytes()[:-9], b"", b"\x93\x01\x02\x03"):
        path.write_bytes(content)
        with pytest.raises(CheckpointFileError, match="cut off or no Flax file|not parameters"):
            msgpack.tensors(path)
