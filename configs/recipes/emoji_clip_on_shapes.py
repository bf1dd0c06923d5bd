"""The trained emoji CLIP of the package learns coloured shapes with few parameters of its own.

    config = relative(__file__, "../recipes/emoji_clip_on_shapes.py")

Not a run by itself: the run says which `adapters` it has and, in `optimizer.groups`, what is
trained. The set is easy-VQA's images: 274 to train on, each "teal circle" or another of 24 kinds,
and 85 to test. Two of the words, "teal" and "rectangle", no emoji of the model's training had.

* All of its training images are trained on, validation's too: nothing is chosen, and the last step
  is the one that is tested.
* `:before` trains nothing: the model's own zero-shot accuracy, and a linear probe on its
  embeddings, which has seen the same images and kinds.
"""

from mmjax.config import relative
from mmjax.datasets.easy_vqa import KINDS

SHAPES = dict(name="easy_vqa", images=True)

VARIANTS = {
    "before": {
        "train": dict(steps=1, evaluate_every=1),
        "optimizer.groups.0": dict(learning_rate=0.0, warmup=0),
        "ema": 0.0,
        "test.probe": dict(
            source=dict(SHAPES, split="test"),
            evaluator=dict(
                name="linear_probe", train=dict(SHAPES, split="train"), class_names=KINDS
            ),
        ),
    },
    "smoke": {
        "train": dict(steps=6, evaluate_every=3, log_every=1),
        "data.batch_size": 32,
        "optimizer.groups.0.warmup": 2,
    },
}


def get_config():
    config = relative(__file__, "small_pairs.py")  # the towers that the model was trained with
    config.data.train = dict(shapes=dict(SHAPES, split="train"))
    config.data.processor.tokenizer = "emoji_clip"
    config.data.processor.augmentation.drop_words = 0.0  # both are needed
    config.warm_start = "emoji_clip"
    config.task.mixup = False
    config.train = dict(steps=200, log_every=10, evaluate_every=100)
    config.ema = 0.98
    config.checkpoint.trained_only = True
    zero_shot = dict(name="zero_shot", class_names=KINDS)
    config.test = dict(kinds=dict(source=dict(SHAPES, split="test"), evaluator=zero_shot))
    return config
