"""BLIP answers questions about a coloured shape: the question is read beside the image, the answer
is written beside what was read.

    python -m mmjax.main --mode=prepare --set=easy_vqa
    python -m mmjax.main --config=configs/captioning/blip_vqa.py --workdir=runs/blip_vqa

The whole set with its own test split, choices on a tenth of the training pictures. Seed 0, 24
minutes of training on one CPU core: 0.946 of the test answers exactly right, 0.669 from the
question alone. On validation 0.79 until 900 steps, then 0.81, 0.864, 0.897 and 0.939 after 1,000,
1,500, 2,000 and 2,500: the asked word is compared with the picture late, and it is still rising.
Beside the questions, what a picture shows is asked too, "teal circle", a lesson in shapes; without
it 1,200 steps gave 0.849. `:bundled` has not been run.
"""

from mmjax.config import relative

BLOCK = dict(width=128, heads=4, hidden=512)
SMALL = dict(width=32, heads=2, hidden=64, layers=1)

VARIANTS = {
    "bundled": {
        "data.train.vqa.full": False,
        "data.train.pictures.full": False,
        "validation.vqa.source.full": False,
        "test.vqa.source.full": False,
        "train": dict(steps=1200, evaluate_every=400),
    },
    "smoke": {
        "data.train.vqa.full": False,
        "data.train.pictures.full": False,
        "validation.vqa": dict(source=dict(full=False), evaluator=dict(rows=32)),
        "test.vqa": dict(source=dict(full=False), evaluator=dict(rows=32)),
        "train": dict(steps=20, evaluate_every=10, log_every=1),
        "data.batch_size": 16,
        "optimizer.groups.0.warmup": 5,
        "model.image.transformer": SMALL,
        "model.text": SMALL,
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
        processor=dict(
            name="captioning", image_size=64, max_length=16, pad_to=16, answer_length=4,
            tokenizer="words", vocab_size=200, augmentation=dict(flip=0.5),
        ),
        batch_size=64,
    )  # fmt: skip
    config.model = dict(
        name="blip",
        image=dict(
            patch_size=8,
            stem=(dict(width=64, stride=4),),
            pool="mean",
            transformer=dict(layers=3, activation="gelu_tanh", **BLOCK),
        ),
        text=dict(layers=2, norm="post", norm_epsilon=1e-12, **BLOCK),
        texts="both",
        embedding=0,
        matching=False,
        scale_init=None,
    )
    config.task = dict(
        name="blip", itc=0.0, itm=0.0, label_smoothing=0.0, generate=dict(max_new_tokens=3)
    )
    config.train = dict(steps=3000, log_every=20, evaluate_every=500)
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
