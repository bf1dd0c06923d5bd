"""What a SentencePiece `.model` file holds: the pieces, their scores, how letters are normalised.

SentencePiece https://arxiv.org/abs/1808.06226; the file is a protobuf message, `ModelProto` of
sentencepiece_model.proto in https://github.com/google/sentencepiece.

* Its wire format is read here, so that neither `sentencepiece` nor `protobuf` is needed.
* A cut at any byte is found: each part of the message is asked for, and says how long it is.
"""

import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmjax.tokenizers.bpe import TokenizerError
from mmjax.tokenizers.charsmap import Charsmap

UNIGRAM, BPE = 1, 2
ALGORITHMS = {UNIGRAM: "unigram", BPE: "BPE", 3: "word", 4: "char"}
UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4  # types of a piece


@dataclasses.dataclass(frozen=True)
class Model:
    """What is read of a `.model` file."""

    pieces: list[tuple[str, float]]  # with their scores
    types: list[int]  # of each piece
    algorithm: int  # UNIGRAM, BPE or another of ALGORITHMS
    byte_fallback: bool  # unknown letters are spelt in bytes
    charsmap: bytes  # how letters are normalised; empty: not at all

    @property
    def unknown(self) -> int:
        """The id of what is in no piece."""
        return self.types.index(UNKNOWN)


def read(path: Path) -> Model:
    """A `.model` file. Raises TokenizerError: it is none, or cut off."""
    try:
        parts: dict[int, list[Any]] = {}
        for number, value in _fields(path.read_bytes()):
            parts.setdefault(number, []).append(value)
        pieces = [dict(_fields(one)) for one in parts[1]]
        trainer, rules = dict(_fields(parts[2][-1])), dict(_fields(parts[3][-1]))
        charsmap = rules.get(2, b"")
        Charsmap(charsmap)
        scores = [struct.unpack("<f", one.get(2, bytes(4)))[0] for one in pieces]
        names, types = [one[1].decode() for one in pieces], [one.get(3, 1) for one in pieces]
        named = list(zip(names, scores, strict=True))
        model = Model(named, types, trainer.get(3, UNIGRAM), bool(trainer.get(35, 0)), charsmap)
        model.unknown  # noqa: B018  a file without one is none
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise TokenizerError(
            f"{path} is no SentencePiece model, or it is cut off or damaged ({error}); fetch it "
            "again, or put a tokenizer.json beside it"
        ) from error
    return model


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field of a protobuf message: an integer, or bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at : at + 1]
            if not byte or shift > 63:
                raise ValueError(f"no whole number at byte {at} of {len(data)}")
            value |= (byte[0] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte[0] < 0x80:
                return value

    while at < len(data):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            yield number, varint()
            continue
        size = {1: 8, 5: 4}.get(kind) or (varint() if kind == 2 else len(data))
        if at + size > len(data):
            raise ValueError(f"field {number} at byte {at} is longer than what is there")
        yield number, data[at : at + size]
        at += size
