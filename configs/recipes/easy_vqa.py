"""easy-VQA for models that answer in words: the data, what is asked, and an optimizer.

    config = relative(__file__, "../recipes/easy_vqa.py")

Not a run by itself: it names no model, task or processor. `:bundled` and `:smoke` read the part of
the set that is in the package; a run lays the sizes of its own tiny model over `:smoke`.
"""

from mmjax.config import relative

BUNDLED = {
    "data.train.vqa.full": False,
    "data.train.pictures.full": False,
    "validation.vqa.source.full": False,
    "test.vqa.source.full": False,
}
VARIANTS = {
    "bundled": {**BUNDLED, "train": dict(steps=1200, evaluate_every=400)},
    "smoke": {
        **BUNDLED,
        "validation.vqa.evaluator.rows": 32,
        "test.vqa.evaluator.rows": 32,
        "train": dict(steps=20, evaluate_every=10, log_every=1),
        "data.batch_size": 16,
        "optimizer.groups.0.warmup": 5,
    },
}


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(
            vqa=dict(name="easy_vqa", split="train/fit", full=True),
            # what a picture shows, which the questions tell together: a lesson in shapes
            pictures=dict(
                name="easy_vqa", split="train/fit", full=True, images=True,
                question="what is in the image?", weight=0.5,
            ),
        ),
        batch_size=64,
    )  # fmt: skip
    config.optimizer.groups = (
        dict(optimizer="adamw", learning_rate=1e-3, b2=0.98, weight_decay=0.05, warmup=100),
    )
    answers = dict(
        evaluator=dict(name="answers", reference="answer"),
        baseline=dict(name="question_only", metric="exact_match"),
        batch_size=64,
    )
    held_out = dict(name="easy_vqa", split="validation", full=True)
    config.validation = dict(vqa=dict(answers, source=held_out))
    config.test = dict(vqa=dict(answers, source=dict(held_out, split="test")))
    config.checkpoint.metric = "validation/vqa/exact_match"
    config.execution.threads = 1
    return config
