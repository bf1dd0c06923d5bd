"""Language models that count: n-grams of letters or words, with interpolated Kneser-Ney smoothing.

Kneser & Ney 1995; Chen & Goodman 1999 (https://doi.org/10.1006/csla.1999.0128). Files are ARPA's,
https://www.speech.sri.com/projects/srilm/manpages/ngram-format.5.html.

* What was seen so often is discounted by n1 / (n1 + 2 n2), n1 and n2 the numbers of n-grams seen
  once and twice; what is taken goes to the shorter context, in which a token counts by how many
  others it stood behind, not by how often. The shortest is mixed with all tokens alike.
* A model is a table of log-probabilities, and of what is added where a longer context is unknown.
* `automaton` writes it down as arrays: a context is a state, a token leads to the next one. So a
  search on a device asks it by two look-ups.

Letters: S states, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmjax.errors import UserError
from mmjax.typing import Float, Int

START = "<s>"
END = "</s>"
UNKNOWN = "<unk>"
NEVER = -99.0  # log10 of what is impossible, in files

Tokens = tuple[str, ...]


class LanguageModelError(UserError, ValueError):
    """A file that is no language model, or texts that none can be made of."""


@dataclasses.dataclass(frozen=True)
class NGram:
    """Probabilities of a token behind others; logarithms are natural."""

    order: int  # tokens of the longest n-grams
    logs: dict[Tokens, float]  # of the last token of an n-gram behind those before it
    backoffs: dict[Tokens, float]  # added where a context is shortened by its first token

    def log(self, context: Sequence[str], token: str) -> float:
        """Of a token behind a context, of which the last order - 1 tokens count."""
        kept = tuple(context)[1 - self.order :] if self.order > 1 else ()
        added = 0.0
        while (*kept, token) not in self.logs:
            if not kept:
                return added + self.logs.get((UNKNOWN,), -math.inf)
            added += self.backoffs.get(kept, 0.0)
            kept = kept[1:]
        return added + self.logs[(*kept, token)]

    def score(self, tokens: Sequence[str]) -> float:
        """Of a whole text, its end included."""
        said = [START, *tokens, END]
        return sum(self.log(said[:place], said[place]) for place in range(1, len(said)))

    @property
    def tokens(self) -> tuple[str, ...]:
        """The vocabulary, its end among it."""
        return tuple(gram[0] for gram in self.logs if len(gram) == 1)


def train(texts: Iterable[Sequence[str]], order: int, vocabulary: Iterable[str] = ()) -> NGram:
    """Of texts, each a sequence of tokens.

    Args:
      vocabulary: tokens that may come although no text has them.

    Raises:
      LanguageModelError: no text.
    """
    counts: list[Counter[Tokens]] = [Counter() for _ in range(order + 1)]
    for tokens in texts:
        said = (START, *tokens, END)
        for size in range(1, order + 1):
            for first in range(len(said) - size + 1):
                counts[size][said[first : first + size]] += 1
    if not counts[1]:
        raise LanguageModelError("a language model needs a text to be trained on")
    words = ({gram[0] for gram in counts[1]} | set(vocabulary)) - {START}
    logs: dict[Tokens, float] = {}
    backoffs: dict[Tokens, float] = {}
    chances: dict[Tokens, float] = {(): 1 / len(words)}  # of what is behind nothing at all
    for size in range(1, order + 1):
        found = counts[size] if size == order else _continuations(counts, size)
        discount = _discount(found.values())
        totals: Counter[Tokens] = Counter()
        kinds: Counter[Tokens] = Counter()
        for gram, count in found.items():
            totals[gram[:-1]] += count
            kinds[gram[:-1]] += 1
        share = {context: discount * kinds[context] / totals[context] for context in totals}
        if size == 1:
            found = {**dict.fromkeys(((word,) for word in words), 0), **found}
        for gram, count in found.items():
            context = gram[:-1]
            lower = chances[gram[1:]] if size > 1 else chances[()]
            kept = max(count - discount, 0.0) / totals[context]
            chances[gram] = kept + share[context] * lower
            logs[gram] = math.log(chances[gram])
        if size > 1:
            backoffs |= {context: math.log(value) for context, value in share.items()}
    return NGram(order, logs, backoffs)


def _continuations(counts: Sequence[Counter[Tokens]], size: int) -> dict[Tokens, int]:
    """How many tokens each n-gram stood behind; of one that begins a text, how often it did."""
    out: Counter[Tokens] = Counter()
    for gram in counts[size + 1]:
        out[gram[1:]] += 1
    for gram, count in counts[size].items():
        if gram[0] == START:
            out[gram] = count
    out.pop((START,), None)  # it is behind nothing
    return dict(out)


def _discount(counts: Iterable[int]) -> float:
    of_counts = Counter(counts)
    once = of_counts[1]
    return once / (once + 2 * of_counts[2]) if once else 0.5


class Automaton(NamedTuple):
    """A model over a vocabulary as arrays."""

    scores: Float[np.ndarray, "S V"]  # log-probability of a token in a state
    following: Int[np.ndarray, "S V"]  # the state behind it
    end: Float[np.ndarray, " S"]  # log-probability that the text ends
    start: int  # state of an empty text


def automaton(model: NGram, vocabulary: Sequence[str]) -> Automaton:
    """The states are the contexts that the model knows; a token that is "" leads nowhere.

    Args:
      vocabulary: the tokens by their number; one that the model does not know is impossible unless
        it has a probability for unknown ones.
    """
    known = {(): 0}
    for gram in sorted(model.logs, key=len):
        for context in (gram, gram[:-1]):
            if 0 < len(context) < model.order and context[-1] != END:
                known.setdefault(context, len(known))
    if model.order > 1:
        known.setdefault((START,), len(known))
    contexts = sorted(known, key=len)
    number = {context: place for place, context in enumerate(contexts)}
    columns = {token: place for place, token in enumerate(vocabulary) if token}
    explicit: dict[Tokens, list[tuple[str, float]]] = defaultdict(list)
    for gram, value in model.logs.items():
        explicit[gram[:-1]].append((gram[-1], value))
    scores = np.full((len(contexts), len(vocabulary)), -np.inf, np.float32)
    following = np.zeros(scores.shape, np.int32)
    end = np.full(len(contexts), -np.inf, np.float32)
    scores[0, list(columns.values())] = model.logs.get((UNKNOWN,), -np.inf)
    for place, context in enumerate(contexts):  # a shorter one stands before a longer one
        if context:
            shorter = next(number[rest] for rest in _suffixes(context) if rest in number)
            added = model.backoffs.get(context, 0.0)
            scores[place] = scores[shorter] + added
            following[place] = following[shorter]
            end[place] = end[shorter] + added
        for token, value in explicit.get(context, ()):
            if token == END:
                end[place] = value
            elif token in columns:
                scores[place, columns[token]] = value
        for token, column in columns.items():
            longer = (*context, token)
            if longer in number:
                following[place, column] = number[longer]
    return Automaton(scores, following, end, number.get((START,), 0))


def _suffixes(context: Tokens) -> Iterable[Tokens]:
    """Shorter ones, the longest first; the empty one is always known."""
    return (context[first:] for first in range(1, len(context) + 1))


def load(path: str | Path) -> NGram:
    """Of an ARPA file. Raises LanguageModelError."""
    logs: dict[Tokens, float] = {}
    backoffs: dict[Tokens, float] = {}
    size = 0
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        line = line.strip()
        if line.startswith("\\") and line.endswith("-grams:"):
            size = int(line[1:].partition("-")[0])
            continue
        if not line or not size or line.startswith("\\"):
            size = 0 if line.startswith("\\end") else size
            continue
        cells = line.split()
        gram = tuple(cells[1 : 1 + size])
        if len(gram) < size or len(cells) > size + 2:
            raise LanguageModelError(f"{path}: {line!r} is no line of the {size}-grams")
        logs[gram] = _number(path, cells[0]) * math.log(10)
        if len(cells) == size + 2:
            backoffs[gram] = _number(path, cells[-1]) * math.log(10)
    if not logs:
        raise LanguageModelError(f"{path} holds no n-grams: it is no ARPA file")
    logs.pop((START,), None)
    return NGram(max(map(len, logs)), logs, backoffs)


def _number(path: str | Path, cell: str) -> float:
    try:
        return float(cell)
    except ValueError as error:
        raise LanguageModelError(f"{path}: {cell!r} is no logarithm") from error


def save(model: NGram, path: str | Path) -> None:
    """Writes an ARPA file."""
    lines = ["\\data\\"]
    sizes = Counter(len(gram) for gram in model.logs)
    sizes[1] += 1  # the start, which is never said
    lines += [f"ngram {size}={sizes[size]}" for size in range(1, model.order + 1)]
    for size in range(1, model.order + 1):
        lines += ["", f"\\{size}-grams:"]
        grams = {gram: value for gram, value in model.logs.items() if len(gram) == size}
        if size == 1:
            grams = {(START,): NEVER * math.log(10), **grams}
        for gram, value in grams.items():
            cells = [f"{value / math.log(10):.7f}", " ".join(gram)]
            if gram in model.backoffs:
                cells.append(f"{model.backoffs[gram] / math.log(10):.7f}")
            lines.append("\t".join(cells))
    Path(path).write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")
