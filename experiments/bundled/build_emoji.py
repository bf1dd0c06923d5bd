"""Builds the bundled emoji: 1,852 concepts in Google's Noto, 1,607 also in Microsoft's Fluent 3D.

    python -m experiments.bundled.build_emoji --cache=FOLDER

* Key of a concept: its code points in lower-case hex joined by "-", leading zeros and the
  variation selector fe0f dropped (the packages spell names differently); no skin-tone variants.
* Images are composited on white, brought to 64 x 64 and stored as WebP of quality 90, one after
  the other in `emoji.bin`: Noto then Fluent of each row of `emoji.csv`, which has the lengths.
* Fluent has no country flags: the 245 in its package are Noto's own drawings, so they are left out
  (length 0 in `emoji.csv`). The flags of England, Scotland and Wales are misnamed there and left
  out altogether.
"""

import csv
import io
import json
from pathlib import Path

from PIL import Image, features

from experiments.bundled import fetch
from mmjax.datasets.bundled import emoji_families

NOTO = fetch.Package(
    "npm", "emoji-datasource-google", "16.0.0",
    "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    "Apache-2.0 (images), MIT (package)", "Noto drawings, 64 pixels")
FLUENT = fetch.Package(
    "npm", "@lobehub/fluent-emoji-3d", "1.1.0",
    "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    "MIT", "Fluent 3D drawings, 256 pixels")
TEXT = fetch.Package(
    "npm", "emojibase-data", "17.0.0",
    "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    "MIT", "English labels, tags and groups")
MEMBERS = {
    NOTO.name: "package/img/google/64/<key>.png, package/LICENSE",
    FLUENT.name: "package/assets/<key>.webp",
    TEXT.name: "package/en/data.json, package/en/messages.json, package/LICENSE",
}
SIZE = 64
QUALITY = 90
FLAGS = 9  # emojibase's number of the group of flags
COUNTRY_FLAGS = {"country-flag", "subdivision-flag"}  # and of its parts that name a territory


def key(code_points: str) -> str:
    """The concept's key from any spelling of its code points ("0023-FE0F-20E3" -> "23-20e3")."""
    points = (p.lstrip("0") for p in code_points.lower().split("-"))
    return "-".join(p for p in points if p != "fe0f")


def encode(data: bytes) -> bytes:
    """Any image file -> WebP of 64 x 64 on white."""
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image).convert("RGB")
    if image.size != (SIZE, SIZE):
        image = image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=6)
    return file.getvalue()


def _by_key(package: fetch.Package, cache: Path, folder: str) -> dict[str, bytes]:
    files = fetch.members(package, cache, lambda path: path.startswith(folder))
    return {key(Path(path).stem): data for path, data in files.items()}


def main(cache: Path) -> None:
    """Fetches, checks, builds and writes the set with its provenance."""
    noto = _by_key(NOTO, cache, "package/img/google/64/")
    fluent = _by_key(FLUENT, cache, "package/assets/")
    text = fetch.members(TEXT, cache, lambda path: path.startswith("package/en/"))
    entries = {key(e["hexcode"]): e for e in json.loads(text["package/en/data.json"])}
    messages = json.loads(text["package/en/messages.json"])
    subgroups = {subgroup["order"]: subgroup["key"] for subgroup in messages["subgroups"]}
    group_names = {group["order"]: group["message"] for group in messages["groups"]}

    keys = [k for k in sorted(entries, key=lambda k: entries[k].get("order", -1))
            if k in noto and k in fluent and not emoji_families.SKIN & set(k.split("-"))]
    families = [emoji_families.family(k) for k in keys]
    plain = [i for i, k in enumerate(keys) if entries[k]["group"] != FLAGS]
    splits = ["test/flags"] * len(keys)
    for i, split in zip(plain, emoji_families.assign([families[i] for i in plain]), strict=True):
        splits[i] = split

    table = io.StringIO()
    images = []
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["key", "label", "tags", "group", "family", "split", "noto", "fluent"])
    for k, name, split in zip(keys, families, splits, strict=True):
        entry = entries[k]
        copied = subgroups[entry["subgroup"]] in COUNTRY_FLAGS
        pair = [encode(noto[k]), b"" if copied else encode(fluent[k])]
        images += pair
        writer.writerow([k, entry["label"], "|".join(entry.get("tags", ())),
                         group_names[entry["group"]], name, split, *map(len, pair)])

    noto_licence = fetch.members(NOTO, cache, lambda path: path == "package/LICENSE")
    text_licence = fetch.members(TEXT, cache, lambda path: path == "package/LICENSE")
    fetch.write(
        "emoji", {"emoji.bin": b"".join(images), "emoji.csv": table.getvalue().encode()},
        [NOTO, FLUENT, TEXT], MEMBERS,
        {"emoji-datasource.txt": noto_licence["package/LICENSE"],
         "emojibase-data.txt": text_licence["package/LICENSE"]},
        {"pillow": Image.__version__, "libwebp": features.version("webp")},
        ["Noto drawings: copyright Google, Apache-2.0 (noto-drawings-apache-2.0.txt).",
         "Fluent drawings: copyright Microsoft, MIT; package by LobeHub, MIT (fluent-emoji.txt).",
         "Changed: composited on white, brought to 64 x 64 pixels, encoded as WebP."])


if __name__ == "__main__":
    main(fetch.cache_folder(__doc__))
