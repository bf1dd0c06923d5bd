"""Writes cider_d.json: captions, references and CIDEr-D by the published code.

    pip install pycocoevalcap && python -m tests.golden.make_cider_d
"""

import json
from pathlib import Path

import numpy as np
from pycocoevalcap.cider.cider import Cider

WORDS = "a the red blue small cat dog bird sits runs on in mat park and two under green tree house"
RNG = np.random.default_rng(0)


def text(shortest=1, longest=12):
    return " ".join(RNG.choice(WORDS.split(), RNG.integers(shortest, longest)))


def caption(references):
    """Equal to a reference, half of one, one with words behind it, or another text."""
    first = references[0].split()
    choices = [
        references[0],
        " ".join(first[: max(1, len(first) // 2)]),
        f"{references[-1]} {text(1, 4)}",
        text(),
    ]
    return choices[RNG.integers(4)]


def main():
    references = [[text() for _ in range(RNG.integers(1, 6))] for _ in range(24)]
    said = [caption(texts) for texts in references]
    said[3] = said[3].split()[0]
    _, scores = Cider().compute_score(
        dict(enumerate(references)), {row: [words] for row, words in enumerate(said)}
    )
    rows = [
        json.dumps(dict(said=words, references=texts, score=round(float(score), 10)))
        for words, texts, score in zip(said, references, scores, strict=True)
    ]
    file = Path(__file__).with_name("cider_d.json")
    file.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
