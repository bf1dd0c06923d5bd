"""A GPT that sees several pictures: which of them differs, on how many, which came first.

    python -m mmjax.main --config=configs/vlm/vlm_multi_image.py --workdir=runs/multi_image

Generated scenes (mmjax/datasets/scenes.py), no file: a picture is one token, which a resampler
makes of 16 patches. What the pictures show is learned first, for 200 steps; then questions as well.
Numbers to read beside `scenes/exact_match`: each kind of question alone, the same questions with
the pictures of other rows (`shuffled`), and with their own in another order (`rolled`).

Questions are read both ways beside the pictures (`prefix_lm`). Test, 4,500 steps, seed 0, 21
minutes of training on one CPU core (260 examples/s): 1.000 of 2,000 answers exactly right, with the
pictures of other rows 0.227, with its own in another order 0.382, from the question alone 0.262.
Validation by kind (different, count, order) had 0.91, 0.93, 0.79 after 2,000 steps and 0.99, 1.00,
0.98 after 3,000. Read from left to right it had 0.495 of all after 1,000 steps of 3,000, and was
not run further.
"""

from mmjax.config import relative

BLOCK = dict(heads=4, activation="gelu_tanh")
SMALL = dict(width=32, heads=2, hidden=64, layers=1)

KINDS = ("different", "count", "order")
FEW = dict(source=dict(rows=24))

VARIANTS = {
    "smoke": {
        "data.train.scenes.rows": 200,
        "data.curriculum.scenes.stages.0.until": 5,
        "validation": dict.fromkeys(("scenes", *KINDS), FEW),
        "test": dict.fromkeys(("scenes", "shuffled", "rolled", *KINDS), FEW),
        "train": dict(steps=20, evaluate_every=10, log_every=1),
        "data.batch_size": 16,
        "optimizer.groups.0.warmup": 5,
        "optimizer.groups.1.warmup": 5,
        "model.image.transformer": SMALL,
        "model.language.transformer": SMALL,
    },
}


def get_config():
    config = relative(__file__, "../base.py")
    lessons = ("describe", *KINDS)
    config.data = dict(
        train=dict(scenes=dict(name="scenes", split="train", rows=40_000, kinds=lessons)),
        # what the pictures show is learned first, in a quarter of the rows
        curriculum=dict(
            scenes=dict(by="kind", stages=(dict(share=0.25, until=200), dict(share=1.0)))
        ),
        processor=dict(
            name="dialogue", image_size=32, patch_size=8, image_tokens=1, max_images=4,
            max_length=64, tokenizer="words", vocab_size=200, flip=0.5,
        ),
        batch_size=64,
    )  # fmt: skip
    config.model = dict(
        name="vlm",
        prefix_lm=True,
        image=dict(
            patch_size=8,
            stem=(dict(width=32, stride=4),),
            pool="mean",
            transformer=dict(layers=2, width=64, hidden=256, **BLOCK),
        ),
        projector=dict(name="resampler", queries=1, layers=1, heads=4, expansion=2),
        language=dict(context_length=64, transformer=dict(layers=3, width=96, hidden=384, **BLOCK)),
    )
    config.task = dict(name="language", generate=dict(max_new_tokens=3))
    config.train = dict(steps=4500, log_every=20, evaluate_every=500)
    warmup = 100
    config.optimizer.groups = (
        dict(
            match=r".*/blocks/.*/kernel", optimizer="muon", learning_rate=0.02, b1=0.95,
            weight_decay=0.1, warmup=warmup,
        ),
        dict(optimizer="adamw", learning_rate=1e-3, b2=0.98, weight_decay=0.1, warmup=warmup),
    )  # fmt: skip
    answers = dict(
        evaluator=dict(name="answers", reference="answer"),
        baseline=dict(name="question_only", answer="answer", metric="exact_match"),
        batch_size=64,
    )
    held_out = dict(name="scenes", split="validation", rows=800)
    config.validation = _evaluations(answers, held_out)
    tested = dict(held_out, split="test", rows=2000)
    config.test = dict(
        _evaluations(answers, tested),
        shuffled=dict(answers, source=dict(tested, images="shuffled")),
        rolled=dict(answers, source=dict(tested, images="rolled")),
    )
    config.checkpoint.metric = "validation/scenes/exact_match"
    config.execution.threads = 1
    return config


def _evaluations(answers, source):
    """Of all rows, and of those of each kind of question."""
    kinds = {kind: dict(answers, source=dict(source, kinds=(kind,))) for kind in KINDS}
    return dict(scenes=dict(answers, source=source), **kinds)
