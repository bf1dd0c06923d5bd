"""The bundled part of easy-VQA: questions about one coloured shape on a pale ground.

https://github.com/vzhou842/easy-VQA

* 300 images with 2,951 questions to train on, 100 with 924 to test; 13 answers.
* Two thirds of the answers follow from the question alone: the most common training answer of the
  same question is right for 65.7% of the test questions, "yes" for 36.8%.
* All questions on one image share a `group`.
"""

import csv
import dataclasses

from mmjax.data import bundled
from mmjax.data.source import InMemory

SPLITS = ("train", "test")
ANSWERS = (
    "yes", "no", "circle", "rectangle", "triangle", "red", "green", "blue", "yellow", "black",
    "gray", "brown", "teal",
)


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # one of SPLITS


def open(config: Config) -> InMemory:
    """One example a question: image (PNG bytes, 64 x 64), text (the question), answer, label, id.

    `label` is the answer as an index into ANSWERS. Columns: text, label, group.
    Raises ValueError for an unknown split.
    """
    if config.split not in SPLITS:
        raise ValueError(f"easy_vqa: split {config.split!r} is none of {', '.join(SPLITS)}")
    table = bundled.read("easy_vqa", "easy_vqa.csv").decode().splitlines()
    data = bundled.read("easy_vqa", "easy_vqa.bin")
    images, stop, examples = {}, 0, []
    for row in csv.DictReader(table):
        key = (row["split"], row["image"])
        if key not in images:
            start, stop = stop, stop + int(row["bytes"])
            images[key] = data[start:stop]
        if row["split"] == config.split:
            examples.append({
                "image": images[key],
                "text": row["question"],
                "answer": row["answer"],
                "label": ANSWERS.index(row["answer"]),
                "group": int(row["image"]),
                "id": f"{config.split}/{row['image']}/{len(examples)}",
            })
    return InMemory(examples, f"bundled easy-VQA {config.split}")
