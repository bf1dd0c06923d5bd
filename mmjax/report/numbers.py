"""The numbers of a run beside what they must be read against: three of them large, all in a table.

* A share of right answers has a bar: its 95% interval is a thin line, chance and other baselines
  are marks of two colours. A number that is worse than one of its baselines says so.
* Which direction is better is known from a metric's name, or from the config for the metric that
  its checkpoints are chosen by; of others nothing is said.
"""

import re
from collections.abc import Mapping, Sequence

from mmjax.report.baselines import VALIDATION, Names
from mmjax.report.files import Files
from mmjax.report.markup import escaped, explained, fact_table, section, spelled
from mmjax.report.units import Real, is_number, is_time, number

LARGE = 3  # numbers on top of the page
CHANCE = "chance"
HIGHER_IS_BETTER = (
    r"r\d+|top\d+|per_class|accuracy|exact_match|precision|recall|f1|cider_d|bleu\d"
)
LOWER_IS_BETTER = r"(median_|mean_)?rank|[wc]er(_\w+)?|perplexity|(.*_)?(loss|error)"


class Numbers:
    """Everything that was measured on held-out data, at the end or so far."""

    def __init__(self, files: Files):
        self.files = files
        self.values = files.result or files.latest()
        self.names = Names(self.values)
        keys = [key for key in self.values if self._is_measured(key)]
        validation = [key for key in keys if key.startswith(f"{VALIDATION}/")]
        self.keys = [key for key in keys if "/" in key and key not in validation]
        self.chosen_by = validation
        if not self.keys:  # a run in progress has nothing but its validation
            self.keys = validation
            self.chosen_by = []
        self.facts = [key for key in keys if "/" not in key]

    def _is_measured(self, key: str) -> bool:
        if not is_number(self.values[key]) or is_time(key):
            return False
        return not self.names.split(key).baseline

    def most_important(self) -> list[str]:
        """At most three: what checkpoints are chosen by, then the first of other evaluations."""
        chosen = str(self.files.option("checkpoint.metric") or "")
        whole = [key for key in self.keys if not _is_of_one_class(key)]
        names = {key.removeprefix(f"{VALIDATION}/"): key for key in whole}
        order = sorted(names, key=lambda name: name != chosen.removeprefix(f"{VALIDATION}/"))
        shown: list[str] = []
        for depth in (1, -1):  # one of each evaluation, then one of each of its parts
            for name in order:
                several = [_parent(other, depth) for other in shown]
                if len(shown) < LARGE and _parent(name, depth) not in several:
                    shown.append(name)
        return [names[name] for name in shown]

    def cards(self) -> str:
        """The most important numbers, large."""
        cards = []
        for key in self.most_important():
            parent, _, leaf = key.rpartition("/")
            where = spelled(parent.removeprefix(f"{VALIDATION}/"))
            name, meaning = explained(leaf)
            cards.append(
                f"<div class=card><h3>{where}</h3>"
                f"<p class=large>{self._shown(key)} <small>{escaped(name)}</small></p>"
                f"<p><small>{escaped(meaning)}</small></p>{self._against(key)}</div>"
            )
        return f"<div class=cards>{''.join(cards)}</div>" if cards else ""

    def section(self) -> str:
        """The table of all numbers; those that the checkpoint was chosen by are folded."""
        if not self.keys and not self.facts:
            return ""
        content = self._table(self.keys)
        if self.chosen_by:
            title = "Validation, on which the checkpoint was chosen"
            table = self._table(self.chosen_by)
            content += f"<details class=rest><summary>{title}</summary>{table}</details>"
        facts = {key: number(self.values[key]) for key in self.facts}
        facts |= {k: str(v) for k, v in self.values.items() if isinstance(v, str | bool)}
        title = "Result" if self.files.result else f"So far, at step {self.files.step:,}"
        return section(title, content + fact_table(facts), "result")

    def _table(self, keys: Sequence[str]) -> str:
        if not keys:
            return ""
        rows = []
        parent = ""
        told: set[str] = set()  # meanings that a reader has seen further up
        for key in keys:
            above, _, leaf = key.rpartition("/")
            if above != parent:
                rows.append(f'<tr class=group><th colspan="3">{spelled(above)}</th></tr>')
                parent = above
            name, meaning = explained(leaf)
            small = "" if meaning in told else f"<small>{escaped(meaning)}</small>"
            told.add(meaning)
            rows.append(
                f"<tr><td>{escaped(name)}{small}</td><td class=value>{self._shown(key)}</td>"
                f"<td>{self._against(key)}</td></tr>"
            )
        return f"<table class=result>{''.join(rows)}</table>"

    def _baselines(self, key: str) -> dict[str, Real]:
        baselines = self.names.of(key, self.values)
        return {name: value for name, value in baselines.items() if is_number(value)}

    def _is_share(self, key: str) -> bool:
        baselines = self._baselines(key)
        everything = (self.values[key], *baselines.values())
        return bool(baselines) and all(0 <= value <= 1 for value in everything)

    def _shown(self, key: str, value: Real | None = None) -> str:
        value = self.values[key] if value is None else value
        return f"{value:.3f}" if self._is_share(key) else number(value)

    def _worse_than(self, key: str) -> list[str]:
        """The baselines that are better, so far as the shown digits tell."""
        leaf = key.rpartition("/")[2]
        chosen = str(self.files.option("checkpoint.metric") or "").rpartition("/")[2]
        if re.fullmatch(HIGHER_IS_BETTER, leaf):
            sign = 1
        elif re.fullmatch(LOWER_IS_BETTER, leaf):
            sign = -1
        elif leaf == chosen:
            sign = 1 if self.files.option("checkpoint.higher_is_better") else -1
        else:
            return []
        value = self.values[key]
        return [
            name
            for name, base in self._baselines(key).items()
            if sign * base > sign * value and self._shown(key, base) != self._shown(key)
        ]

    def _against(self, key: str) -> str:
        """The bar, the interval and the baselines of a number."""
        baselines = self._baselines(key)
        worse = self._worse_than(key)
        interval = self._interval(key)
        bar = ""
        if self._is_share(key):
            bar = _bar(self.values[key], baselines, interval, bool(worse))
        words = []
        if interval:
            low, high = (self._shown(key, bound) for bound in interval)
            words.append(f"<span class=against><i>95%</i> {low} to {high}</span>")
        for name, base in baselines.items():
            colour = CHANCE if name == CHANCE else "baseline"
            words.append(
                f"<span class=against><s class={colour}></s><i>{_plain(name)}</i> "
                f"{self._shown(key, base)}</span>"
            )
        if worse:
            named = " and ".join(_plain(name) for name in worse)
            words.append(f"<span class=worse>worse than {named}</span>")
        return bar + "".join(words)

    def _interval(self, key: str) -> tuple[Real, Real] | None:
        bounds = self.files.intervals.get(key)
        if not isinstance(bounds, list) or len(bounds) != 2 or not all(map(is_number, bounds)):
            return None
        return bounds[0], bounds[1]


def _is_of_one_class(key: str) -> bool:
    """Whether it is one of an evaluation's "class/cat", "class/dog", ..."""
    return "class" in key.split("/")[1:-1]


def _parent(name: str, depth: int) -> str:
    return "/".join(name.split("/")[:depth])


def _plain(name: str) -> str:
    return escaped(name.replace("_", " "))


def _bar(
    value: Real,
    baselines: Mapping[str, Real],
    interval: tuple[Real, Real] | None,
    worse: bool,
) -> str:
    """A share from 0 to 1, with its interval and its baselines as marks; only seen: the same
    stands beside it in words."""
    look = "fill low" if worse else "fill"
    parts = [f'<div class="{look}" style="width:{_percent(value)}"></div>']
    if interval:
        low, high = (min(1.0, max(0.0, bound)) for bound in interval)
        parts.append(f'<u style="left:{_percent(low)};width:{_percent(high - low)}"></u>')
    for name, base in baselines.items():
        colour = CHANCE if name == CHANCE else "baseline"
        parts.append(f'<b class={colour} style="left:{_percent(base)}"></b>')
    return f"<div class=bar aria-hidden=true>{''.join(parts)}</div>"


def _percent(share: Real) -> str:
    return f"{100 * share:.1f}%"
