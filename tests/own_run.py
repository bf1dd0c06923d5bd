"""Tiny runs of clip_own_data.py on pictures that a test made: their flags, rows and manifest."""

import json
import struct
import zlib
from pathlib import Path

import mmjax
from mmjax.config import load
from mmjax.run.options import Options

ROOT = Path(__file__).resolve().parent.parent
OWN = "configs/contrastive/clip_own_data.py:smoke"
TINY = dict(width=16, heads=2, hidden=16, layers=1, dtype="float32")
FIELDS = {
    "model.image.transformer": TINY, "model.text.transformer": TINY, "model.embedding": 16,
    "model.image.patch_size": 16, "data.processor.vocab_size": 300, "data.processor.pad_to": 12,
    "data.processor.max_length": 12, "data.batch_size": 40, "data.train.own.split": "all",
    "train.steps": 3, "train.evaluate_every": 0, "train.log_every": 1, "validation": {},
    "test": {}, "checkpoint.metric": "", "checkpoint.every": 1, "checkpoint.latest": 3,
    "optimizer.groups.0.warmup": 0, "optimizer.groups.1.warmup": 0,
    "optimizer.groups.0.optimizer": "sgd", "optimizer.groups.1.optimizer": "sgd",  # compile fast
    "optimizer.groups.0.learning_rate": 0.01, "optimizer.groups.1.learning_rate": 0.01,
    "execution.tensorboard": False, "execution.threads": 1,
}  # fmt: skip


def fields(photos, changes):
    """Flags of a run on these photos; changes: {config path: value}."""
    chosen = {"data.train.own.path": str(photos / "list.jsonl"), **FIELDS, **changes}
    return [f"--config.{path}={value!r}" for path, value in chosen.items()]


def command(photos, folder, changes=(), config=OWN):
    return [f"--config={config}", f"--workdir={folder}", *fields(photos, dict(changes))]


def trained(photos, folder, changes=()):
    """A run that must succeed, in this process."""
    arguments = [field.removeprefix("--config.") for field in fields(photos, dict(changes))]
    return mmjax.train(load(OWN, arguments, schema=Options), folder)


def rows(count=40):
    return [{"image": f"{i}.png", "text": f"picture number {i}"} for i in range(count)]


def listed(folder, lines):
    """Writes the manifest."""
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (folder / "list.jsonl").write_bytes(b"\n".join(encoded) + b"\n")


def huge_png(path, side=50_000):
    """A PNG whose header promises side x side pixels, and that holds a few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(
            ">I", zlib.crc32(kind + data)
        )  # fmt: skip

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 99)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
