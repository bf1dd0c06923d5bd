"""A GPT that watches programmes of one to four minutes: what happens now, what followed what in the
last half minute, how often something came over the whole.

    python -m mmjax.main --config=configs/video/frames_digits.py --workdir=runs/frames_digits
    python -m mmjax.main --config=configs/video/programmes_labels.py --workdir=runs/scales
    python -m mmjax.main --config=configs/video/hierarchical_programmes.py --workdir=runs/programmes
    python -m mmjax.main --config=configs/video/hierarchical_programmes.py:long --workdir=runs/long

Scenes of moving digits, 2 frames a second (mmjax/datasets/programmes.py). Each frame is read once;
a transformer follows the last two seconds frame by frame, one the last half minute in steps of two
seconds, one all of it in steps of twelve, and one puts together what they found
(mmjax/models/towers/hierarchical.py): 24 to 39 tokens of the prompt. A GPT learns with them, from
nothing, up to nine questions about each programme and a sentence over all scales. `:short`,
`:medium` and `:long` have one of the scales alone. Test programmes have digits that training never
saw.

The tower begins as programmes_labels.py left it, its pictures' part as frames_digits.py did.

Seed 0, 1,000 steps of 8, 8 minutes on one CPU core, and 18 before them for the two stages. Of 1,500
test questions 0.767 (the question alone 0.229): short 1.000 (0.250), medium 0.910 (0.110), long
0.390 (0.328). One scale alone, from the same weights: `:short` 0.472, `:medium` 0.504, `:long`
0.283. A step of 8 programmes of 4 minutes: 15 GFLOP and 239 MiB (`--mode=plan --devices=1`), for
the picture tower learns no more and frames are read 40 at a time.
"""

from mmjax.config import relative

BLOCK = dict(heads=4, activation="gelu_tanh")
SMALL = dict(width=32, layers=1, heads=2, hidden=64)
TOWER = relative(__file__, "../recipes/programme_scales.py").model.video.to_dict()
SCALES = TOWER.pop("scales")  # the processor says them to the model, and how long a clip is
del TOWER["frames"]
TOKENS = dict(short=4, medium=15, long=20)
QUESTIONS = 9  # of a programme of training
FEW = dict(rows=8, longest=70)


def only(name: str) -> dict:
    """One scale instead of three."""
    return {
        "data.processor.video.scales": tuple(one for one in SCALES if one["name"] == name),
        "data.processor.video.tokens": TOKENS[name],
    }


VARIANTS = {
    **{name: only(name) for name in TOKENS},
    "smoke": {
        "data.train.programmes.rows": 32,
        "data.train.programmes.longest": 70,
        "data.curriculum.programmes.stages.0": dict(share=0.5, until=2),
        "data.batch_size": 4,
        "train": dict(steps=4, evaluate_every=2, log_every=1),
        "validation.questions.source": FEW,
        "test": dict.fromkeys(("questions", "caption"), dict(source=FEW)),
        **{f"optimizer.groups.{number}.warmup": 2 for number in (1, 2)},
        "optimizer.groups.1.optimizer": "adamw",  # muon compiles for longer
        "warm_start": "",
        "model.video.encoder": dict(
            image=dict(stem=(dict(width=8, stride=4),), transformer=SMALL),
            transformer=SMALL, fusion=SMALL,
        ),
        "model.language.transformer": SMALL,
    },
}  # fmt: skip


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(
            programmes=dict(
                name="programmes", split="train", rows=20_000, questions=QUESTIONS, caption=True
            )
        ),
        # programmes of a minute to less than two teach more in less time
        curriculum=dict(
            programmes=dict(by="seconds", stages=(dict(share=0.3, until=600), dict(share=1.0)))
        ),
        processor=dict(
            name="dialogue",
            max_images=0,
            video=dict(
                tokens=sum(TOKENS.values()),
                image_size=24,
                frames=dict(frames=480, pick="pace", rate=2.0),
                scales=SCALES,
                buckets=(240,),
                alike=8,
            ),
            max_length=320,
            buckets=(320,),
            tokenizer="words",
            vocab_size=96,
        ),
        batch_size=8,
    )
    config.model = dict(
        name="vlm",
        image=None,
        video=dict(
            encoder=TOWER,
            projector=dict(name="linear"),
        ),
        language=dict(
            context_length=384, transformer=dict(width=96, layers=3, hidden=384, **BLOCK)
        ),
    )
    config.warm_start = {"video/encoder": "runs/scales#video"}
    config.task = dict(name="language", generate=dict(max_new_tokens=40))
    config.train = dict(steps=1000, log_every=20, evaluate_every=200)
    warmup = 50
    config.optimizer.groups = (
        dict(match="video/encoder/image/.*", optimizer="frozen"),
        dict(
            match=r".*/blocks/.*/kernel", optimizer="muon", learning_rate=0.02, b1=0.95,
            weight_decay=0.1, warmup=warmup,
        ),
        dict(optimizer="adamw", learning_rate=1e-3, b2=0.98, weight_decay=0.1, warmup=warmup),
    )  # fmt: skip
    config.ema = 0.99
    config.validation = dict(questions=asked("validation", 240))
    config.test = dict(questions=asked("test", 1500), caption=told("test", 200))
    config.checkpoint = dict(every=200, latest=1, best=1)
    config.checkpoint.metric = "validation/questions/accuracy"
    config.execution.threads = 1
    return config


def asked(split: str, rows: int) -> dict:
    """Programmes with a question each, beside what the question alone tells."""
    return dict(
        source=dict(name="programmes", split=split, rows=rows),
        evaluator=dict(name="answers", questions="question", by="kind"),
        baseline=dict(
            name="question_only", question="question", answer="answer", metric="accuracy",
            by="kind",
        ),
        batch_size=48,
    )  # fmt: skip


def told(split: str, rows: int) -> dict:
    """Programmes with their sentence."""
    return dict(
        source=dict(name="programmes", split=split, rows=rows, questions=0, caption=True),
        evaluator=dict(name="answers", questions="question"),
        batch_size=48,
    )
