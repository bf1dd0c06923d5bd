"""Which emoji are one thing drawn several times, and which split each of them belongs to.

* A family holds the gender, direction, skin and hair variants of one thing. Most follow from the
  code points; the others, which Unicode encoded one by one, are listed in `BY_HAND`.
* Different values (clock hours, digits, zodiac signs) and colours (hearts, circles) are different
  things: naming them needs what is drawn, not only what it resembles.
* A split takes whole families, in the order of a hash of their names, until it is exactly full.
  Families above `LARGEST_HELD_OUT` stay in training: one of them would be a tenth of a split.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

ZWJ = "200d"  # joins several into one
SIGNS = {"2640", "2642"}  # female, male
RIGHTWARDS = "27a1"
SKIN = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}
HAIR = {"1f9b0", "1f9b1", "1f9b2", "1f9b3"}
SAME = {  # code point -> the one that stands for it
    "1f468": "1f9d1", "1f469": "1f9d1",  # man, woman -> person
    "1f466": "1f9d2", "1f467": "1f9d2",  # boy, girl -> child
    "1f474": "1f9d3", "1f475": "1f9d3",  # old man, old woman -> older person
}
BY_HAND = {  # family name -> code points of its members, as they are after `_plain`
    "person": "1f9d1 1f471 1f9d4",  # blond and bearded persons beside the other hair variants
    "royal person": "1fac5 1f934 1f478",
    "Claus": "1f385 1f936 1f9d1-1f384",
    "dancing person": "1f483 1f57a",
    "pregnant person": "1f930 1fac3 1fac4",
    "feeding a baby": "1f931 1f9d1-1f37c",
    "holding hands": "1f9d1-1f91d-1f9d1 1f46b 1f46c 1f46d",
    "kiss": "1f48f 1f9d1-2764-1f48b-1f9d1",
    "couple with heart": "1f491 1f9d1-2764-1f9d1",
    "family": "1f46a",  # the others are added by rule
    "room sign": "1f6b9 1f6ba 1f6bb",
    "gender sign": "2640 2642 26a7",
    "backhand index": "1f446 1f447 1f448 1f449",
    "index pointing": "261d 1faf5",
    "sideways hand": "1faf1 1faf2",
    "level hand": "1faf3 1faf4",
    "pushing hand": "1faf7 1faf8",
    "raised hand": "270b 1f91a",
    "fist": "1f44a 1f91b 1f91c",
    "thumb": "1f44d 1f44e",
    "smile": "1f642 1f643",  # slightly smiling face, and the same upside down
    "baby chick": "1f424 1f425",
    "arrow": "2b06 2197 27a1 2198 2b07 2199 2b05 2196",
    "double arrow": "2195 2194",
    "curved arrow": "21a9 21aa 2934 2935",
    "turning arrows": "1f503 1f504",
    "play button": "25b6 25c0 1f53c 1f53d",
    "fast button": "23e9 23ea 23eb 23ec",
    "track button": "23ed 23ee",
    "triangle": "1f53a 1f53b",
    "magnifying glass": "1f50d 1f50e",
    "globe": "1f30d 1f30e 1f30f",
    "crescent": "1f312 1f318",
    "half moon": "1f313 1f317",
    "gibbous moon": "1f314 1f316",
    "half moon face": "1f31b 1f31c",
    "bus": "1f68c 1f68d",
    "police car": "1f693 1f694",
    "taxi": "1f695 1f696",
    "automobile": "1f697 1f698",
    "travelling airplane": "1f6eb 1f6ec",
    "traffic light": "1f6a5 1f6a6",
    "chart": "1f4c8 1f4c9",
    "tray": "1f4e4 1f4e5",
}
_NAMED = {key: name for name, keys in BY_HAND.items() for key in keys.split()}
LARGEST_HELD_OUT = 12
HELD_OUT = {  # split -> number of concepts
    "test/unseen_concept": 185,
    "validation/unseen_concept": 185,
    "test/unseen_style": 185,
    "validation/unseen_style": 185,
}


def _plain(key: str) -> str:
    """The code points without joiners, gender signs, directions, skin and hair."""
    points = key.split("-")
    variants = SIGNS | HAIR | {RIGHTWARDS}  # behind something; alone they are themselves
    kept = [point for place, point in enumerate(points) if place == 0 or point not in variants]
    kept = [point for point in kept if point != ZWJ and point not in SKIN]
    return "-".join(SAME.get(point, point) for point in kept)


def family(key: str) -> str:
    """Name of the family of a concept, from its key ("1f468-200d-1f692")."""
    plain = _plain(key)
    points = plain.split("-")
    if len(points) > 1 and set(points) <= {"1f9d1", "1f9d2"}:  # adults and children, in any number
        return "family"
    return _NAMED.get(plain, plain)


def assign(families: Sequence[str], seed: int = 0) -> list[str]:
    """The split of each concept from the families of all: "train" or a key of `HELD_OUT`."""
    rows: Mapping[str, list[int]] = defaultdict(list)
    for row, name in enumerate(families):
        rows[name].append(row)
    order = sorted(rows, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    left = dict(HELD_OUT)  # places that are not filled yet
    result = ["train"] * len(families)
    for name in order:
        count = len(rows[name])
        split = next((split for split, places in left.items() if count <= places), "train")
        if count > LARGEST_HELD_OUT or split == "train":
            continue
        left[split] -= count
        for row in rows[name]:
            result[row] = split
    if any(left.values()):
        raise ValueError(f"splits not full: {left}")
    return result
