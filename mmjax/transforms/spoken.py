"""Text as it is said: lower case, no punctuation, numerals and signs in English words.

* "Press 1, or #." -> "press one or pound". Numbers to 99 are said whole, round hundreds and
  thousands too ("five hundred"), others one digit after the other, as telephone numbers are.
* Letters with accents stay; what is neither letter nor apostrophe parts words.
"""

from __future__ import annotations

import re
import unicodedata

SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
SIGNS = {
    "*": "star", "#": "pound", "%": "percent", "&": "and", "+": "plus", "=": "equals", "@": "at",
    "$": "dollar",
}  # fmt: skip


def spoken(text: str, *, english: bool = True) -> str:
    """The words of a text, parted by single spaces.

    Args:
      english: numerals and signs become words; else they are left out, as punctuation is.
    """
    text = unicodedata.normalize("NFKC", text).lower()
    text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    if english:
        text = re.sub(r"\d+", lambda found: f" {number(found[0])} ", text)
        for sign, word in SIGNS.items():
            text = text.replace(sign, f" {word} ")
    text = re.sub(r"[^\w\s']|[\d_]", " ", text)
    words = (word.strip("'") for word in text.split())
    return " ".join(word for word in words if word)


def number(numeral: str) -> str:
    """ "42" -> "forty two"."""
    value = int(numeral)
    if numeral != str(value):  # with zeros in front
        return " ".join(SMALL[int(digit)] for digit in numeral)
    if value < 20:
        return SMALL[value]
    if value < 100:
        tens = TENS[value // 10 - 2]
        return f"{tens} {SMALL[value % 10]}" if value % 10 else tens
    for unit, word in ((1000, "thousand"), (100, "hundred")):
        if value % unit == 0 and value // unit < 100:
            return f"{number(str(value // unit))} {word}"
    return " ".join(SMALL[int(digit)] for digit in numeral)
