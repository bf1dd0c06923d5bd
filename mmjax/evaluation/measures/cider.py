"""CIDEr-D: how much of what people say of a picture a caption says, rare words counting more
(Vedantam et al. 2015, https://arxiv.org/abs/1411.5726).

* The cosine of TF-IDF vectors of n-grams of 1 to 4 words, each n-gram clipped to its count in the
  reference, times a Gaussian of the difference in length; the mean over n and over references,
  times 10. Numbers are those of the published code
  (https://github.com/vrama91/cider), which the tests hold golden values of.
* Document frequencies are those of the references that are evaluated: a score of one picture means
  little without the others, and one picture alone always scores 0.

Letters: N rows, n words of an n-gram.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmjax.typing import Float

LONGEST = 4  # words of an n-gram, at most
SIGMA = 6.0  # words of difference in length that are forgiven
Words = tuple[str, ...]


class Vectors(NamedTuple):
    """TF-IDF of a text, by n."""

    weights: list[dict[Words, float]]
    norms: list[float]
    length: int  # pairs of words: the published code measures length so


def cider_d(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> Float[np.ndarray, " N"]:
    """The score of each row; their mean is the corpus's.

    Args:
      predictions: the words of each row's caption.
      references: of each row, the words of every reference.
    """
    counted = [[_counts(words) for words in row] for row in references]
    frequency: Counter[Words] = Counter()
    for row in counted:
        frequency.update(set().union(*row))
    documents = math.log(max(len(references), 1))
    scores = []
    for prediction, row in zip(predictions, counted, strict=True):
        said = _vectors(_counts(prediction), frequency, documents)
        similar = [_similarity(said, _vectors(one, frequency, documents)) for one in row]
        scores.append(10 * float(np.mean(similar)))
    return np.array(scores)


def _counts(words: Sequence[str]) -> Counter[Words]:
    counts: Counter[Words] = Counter()
    for n in range(1, LONGEST + 1):
        for start in range(len(words) - n + 1):
            counts[tuple(words[start : start + n])] += 1
    return counts


def _vectors(counts: Counter[Words], frequency: Counter[Words], documents: float) -> Vectors:
    weights: list[dict[Words, float]] = [{} for _ in range(LONGEST)]
    length = 0
    for words, count in counts.items():
        rarity = documents - math.log(max(1.0, frequency[words]))
        weights[len(words) - 1][words] = count * rarity
        if len(words) == 2:
            length += count
    norms = [math.sqrt(sum(weight**2 for weight in of_n.values())) for of_n in weights]
    return Vectors(weights, norms, length)


def _similarity(said: Vectors, reference: Vectors) -> float:
    penalty = math.exp(-((said.length - reference.length) ** 2) / (2 * SIGMA**2))
    total = 0.0
    for n in range(LONGEST):
        product = 0.0
        for words, weight in said.weights[n].items():
            wanted = reference.weights[n].get(words, 0.0)
            product += min(weight, wanted) * wanted
        if said.norms[n] and reference.norms[n]:
            product /= said.norms[n] * reference.norms[n]
        total += product * penalty
    return total / LONGEST
