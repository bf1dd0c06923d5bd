"""easy-VQA: questions about one coloured shape on a pale ground; a part of it is bundled.

https://github.com/vzhou842/easy-VQA

* Bundled: 300 images with 2,951 questions to train on, 100 with 924 to test; 13 answers. `full`:
  4,000 with 38,575 and 1,000 with 9,673, which `prepare` fetches.
* Two thirds of the answers follow from the question alone: the most common training answer of the
  same question is right for 65.7% of the test questions, "yes" for 36.8%; of the full set for
  67.0% and 37.3%.
* All questions on one image share a `group`.
* Choices are made on `validation`: a tenth of the training images, by a hash of their number (34 of
  the bundled ones). `train/fit` is the rest, `train` both: who chooses by `validation` trains on
  `train/fit`.
* `images`: the pictures alone, each with its colour and shape for a caption, as far as what is
  asked of it and answered tells both: 274 and 85 of the bundled ones.
"""

import csv
import dataclasses
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmjax.data.source import DataError, Example, InMemory
from mmjax.datasets import bundled, prepared
from mmjax.datasets.prepared import Place
from mmjax.datasets.prepared.captions import in_split
from mmjax.datasets.prepared.packages import Package

SPLITS = ("train", "train/fit", "validation", "test")
PARTS = ("train", "test")  # as the package has them
SHAPES = ("circle", "rectangle", "triangle")
COLOURS = ("red", "green", "blue", "yellow", "black", "gray", "brown", "teal")
ANSWERS = ("yes", "no", *SHAPES, *COLOURS)
KINDS = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # one of SPLITS
    full: bool = False  # all 5,000 images, not only the 400 that are bundled
    images: bool = False  # one example an image: what it shows, "teal circle", not what is asked
    question: str = ""  # with `images`: this is asked of each, and what it shows is the answer


def _build(members: prepared.Members, out: prepared.Writer) -> Iterator[tuple[int, int]]:
    files = dict(members(SET.packages[0], lambda name: True))
    out.licence("easy-vqa-mit.txt", files["easy_vqa-1.0.dist-info/LICENSE"])
    images = [name for name in files if re.fullmatch(r"easy_vqa/data/\w+/images/\d+\.png", name)]
    for split in PARTS:
        questions = json.loads(files[f"easy_vqa/data/{split}/questions.json"])
        for question, answer, image in sorted(questions, key=lambda row: row[2]):
            data = files[f"easy_vqa/data/{split}/images/{image}.png"]
            place = out.put("images", data)
            out.row(split=split, number=image, question=question, answer=answer, image=place)
        yield len(images) if split == "test" else len(images) // 2, len(images)


SET = prepared.Set(
    name="easy_vqa",
    about="5,000 images of shapes, 48,248 questions with 13 answers",
    licence="MIT",
    packages=(
        Package(
            "pypi",
            "easy-vqa",
            "1.0",
            "fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f",
            "MIT",
            "images of coloured shapes, questions, answers",
            3_215_672,
        ),
    ),
    build=_build,
    disk=10_000_000,
    read_by=lambda options: bool(options.get("full")),
)


def open(config: Config) -> InMemory:
    """One example a question: image (PNG bytes, 64 x 64), text (the question), answer, label, id.

    `label` is the answer as an index into ANSWERS. Columns: text, label, group.
    With `images`, one an image: text and `label` are of KINDS, and there is no answer; or with a
    `question` that is the text, and the answer one of KINDS.
    Raises DataError for an unknown split, a question without `images`, or where the full set is not
    prepared.
    """
    if config.question and not config.images:
        raise DataError("easy_vqa: its questions have their own words; `question` is for `images`")
    prepared.check_choice("easy_vqa: split", config.split, SPLITS)
    source = _open_full(config) if config.full else _open_bundled(config)
    return _pictures(source, config.question) if config.images else source


def _part(split: str) -> str:
    """The one of PARTS that a split is cut from."""
    return "test" if split == "test" else "train"


def _inside(number: int, split: str) -> bool:
    """Whether an image of that part is in the split."""
    if split in PARTS:
        return True
    held_out = in_split(f"easy_vqa/{number}", "validation")
    return held_out == (split == "validation")


def _example(row: Mapping[str, Any], image: Any, part: str, place: int) -> Example:
    """place: of the question among those of its part."""
    number = int(row["number"])
    return {
        "image": image,
        "text": row["question"],
        "answer": row["answer"],
        "label": ANSWERS.index(row["answer"]),
        "group": number,
        "id": f"{part}/{number}/{place}",
    }


def _open_bundled(config: Config) -> InMemory:
    table = bundled.read("easy_vqa", "easy_vqa.csv").decode().splitlines()
    data = bundled.read("easy_vqa", "easy_vqa.bin")
    part = _part(config.split)
    images: dict[tuple[str, str], bytes] = {}
    stop = 0
    place = 0
    examples = []
    for row in csv.DictReader(table):
        key = (row["split"], row["image"])
        if key not in images:  # they lie one after the other, in the order of the questions
            start = stop
            stop += int(row["bytes"])
            images[key] = data[start:stop]
        if row["split"] == part:
            if _inside(int(row["image"]), config.split):
                question = {**row, "number": row["image"]}
                examples.append(_example(question, images[key], part, place))
            place += 1
    return InMemory(examples, f"bundled easy-VQA {config.split}")


def _pictures(source: InMemory, question: str) -> InMemory:
    """The images of a source of questions."""
    columns = (source.column(name) for name in ("group", "text", "label"))
    questions = zip(*columns, range(len(source)), strict=True)
    examples = []
    for group, several in itertools.groupby(questions, lambda question: question[0]):
        several = list(several)
        kind = shown((text, ANSWERS[label]) for _, text, label, _ in several)
        if kind:
            first = source[several[0][-1]]
            said = {"text": question, "answer": kind} if question else {"text": kind}
            examples.append({
                "image": first["image"],
                **said,
                "label": KINDS.index(kind),
                "group": int(group),
                "id": first["id"].rsplit("/", 1)[0],
            })  # fmt: skip
    return InMemory(examples, f"{source.name}, images")


def shown(asked: Iterable[tuple[str, str]]) -> str:
    """Which of KINDS an image shows, from its questions with their answers; "": they tell not."""
    known = set()
    for question, answer in asked:
        words = re.findall(r"\w+", question)
        if answer in ("yes", "no"):  # "is there not a teal shape?" no
            true = (answer == "yes") != (not {"no", "not"}.isdisjoint(words))
        else:  # "what is the blue shape?" circle
            true = True
            words.append(answer)
        known.update(words if true else ())
    return next((kind for kind in KINDS if known.issuperset(kind.split())), "")


def _open_full(config: Config) -> InMemory:
    part = _part(config.split)

    def examples(rows: list[dict[str, Any]]) -> Iterator[Example]:
        questions = (row for row in rows if row["split"] == part)
        for place, row in enumerate(questions):
            if _inside(row["number"], config.split):
                yield _example(row, Place(*row["image"]), part, place)

    return prepared.source(SET, f"easy-VQA {config.split}", examples)
