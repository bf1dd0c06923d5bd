"""The bundled emoji and what is asked about them, to be laid over a recipe that has a model.

    config = relative(__file__, "../recipes/small_pairs.py")
    config.update(relative(__file__, "../recipes/emoji.py"))

Validation and test each hold a style of seen things that was held out, with thumbnails as its
baseline, and things that no training drawing shows, which are also told apart by the written names
of their classes.
"""

from ml_collections import ConfigDict

# The classes of emoji.CLASSES without flags, in the words that captions use.
CLASSES = (
    "face, emotion, smile",
    "person, people, body, hand",
    "animal, plant, nature",
    "food, drink, fruit",
    "travel, place, vehicle, building",
    "activity, sport, game",
    "object, tool, clothing",
    "symbol, sign, button, arrow",
)


def retrieval(split: str, **fields) -> dict:
    return dict(
        source=dict(name="emoji", split=split),
        evaluator=dict(name="retrieval", average_over="style"),
        **fields,
    )


def held_out(split: str) -> dict:
    """What "validation" or "test" is asked."""
    return dict(
        unseen_style=retrieval(f"{split}/unseen_style", baseline=dict(name="thumbnails")),
        unseen_concept=retrieval(f"{split}/unseen_concept"),
        classes=dict(
            source=dict(name="emoji", split=f"{split}/unseen_concept"),
            evaluator=dict(name="zero_shot", class_names=CLASSES),
        ),
    )


def get_config():
    return ConfigDict(
        dict(
            data=dict(train=dict(emoji=dict(name="emoji", split="train"))),
            validation=held_out("validation"),
            test=held_out("test"),
        ),
        type_safe=False,
    )
