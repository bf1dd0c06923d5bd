"""How a SentencePiece model rewrites letters: the longest entry of its table at each place.

Normalizer::Normalize of https://github.com/google/sentencepiece. A table is a double-array trie
(https://github.com/s-yata/darts-clone) from UTF-8 to places in the texts behind it.
"""

import struct

import numpy as np

SPACE = "▁"  # U+2581, a space in a piece


class Charsmap:
    """Text -> text, spaces written as SPACE and none of them at the end or behind another."""

    def __init__(self, data: bytes):
        """Of a `precompiled_charsmap`; empty: letters stay.

        Raises ValueError: it is cut off, or no such table.
        """
        size = struct.unpack_from("<I", data)[0] if data else 0
        if size % 1024 or size + 4 > max(len(data), 4):
            raise ValueError("the table of its normalizer ends early")
        units = np.frombuffer(data[4 : 4 + size], "<u4")
        self._units, self._texts = units.tolist(), data[4 + size :]
        self._check(units)

    def _check(self, units: np.ndarray) -> None:
        """That every entry ends at the start of a text, and that nothing else is there."""
        starts = {0, *(place + 1 for place, byte in enumerate(self._texts) if not byte)}
        places, labels = np.arange(len(units)), units & 0x800000FF
        nodes, unused = places[:1], np.ones(len(units), bool)
        while len(nodes):
            below = nodes ^ _offset(units[nodes])
            if (below >= len(units)).any():
                break
            ends = below[units[nodes] >> 8 & 1 == 1]
            unused[nodes] = unused[ends] = False
            if not starts.issuperset((units[ends] & 0x7FFFFFFF).tolist()):
                break
            nodes = places[unused & (labels - 1 < 0xFF) & np.isin(places ^ labels, below)]
        if len(nodes) or (units[unused] > 0xFF).any():  # an unused unit is a label alone
            raise ValueError("the table of its normalizer is damaged")
        self._texts.decode()

    def __call__(self, text: str) -> str:
        data, at, out, spaced = text.encode(), 0, [], False
        while at < len(data):
            found, size = self._longest(data, at)
            if found := found.lstrip(" ") if spaced else found:
                out.append(found.replace(" ", SPACE))
                spaced = found.endswith(" ")
            at += size
        return "".join(out).rstrip(SPACE)

    def _longest(self, data: bytes, start: int) -> tuple[str, int]:
        """What is written for the bytes from `start`, and for how many of them."""
        units, node, best = self._units, 0, None
        for at in range(start, len(data) if units else start):
            node ^= _offset(units[node]) ^ data[at]
            if units[node] & 0x800000FF != data[at]:
                break
            if units[node] >> 8 & 1:  # an entry ends here
                best = units[node ^ _offset(units[node])] & 0x7FFFFFFF, at + 1 - start
        if best is None:  # one letter: its length is in its first byte
            size = 1 + sum(data[start] >= least for least in (0xC0, 0xE0, 0xF0))
            return data[start : start + size].decode(), size
        place, size = best
        return self._texts[place : self._texts.index(b"\0", place)].decode(), size


def _offset(unit):
    """Of an integer, or of an array of them."""
    return unit >> 10 << ((unit & 0x200) >> 6)
