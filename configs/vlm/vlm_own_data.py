"""A GPT that sees, trained on your own conversations about pictures: a JSONL file.

    python -m mmjax.main --config=configs/vlm/vlm_own_data.py --workdir=runs/talk \\
        --config.data.train.own.path=talks/list.jsonl
    python -m mmjax.main --mode=chat --model=runs/talk --images=cat.jpg

A line is {"image": a path beside the file, or a list of them, or nothing, "conversation": [{"role":
"user", "content": "Is <image> larger than <image>?"}, {"role": "assistant", "content": "No."}]};
LLaVA's "conversations" are read as well (mmjax/readers/conversations.py). Only what the assistant
says is learned. Rows are split 80 / 10 / 10 by a hash of their `group`, else of their first
picture. Look first: add `--mode=inspect`.

Conversations that are held out are measured by perplexity: there is more than one right answer.
With `:packed` short conversations share rows, which saves most of the padding.

Without a path it runs on 34 conversations about the drawings that lie beside them, to show the
form; they are too few to learn from. To go on from a checkpoint of LLaVA's size see llava.py.
"""

from pathlib import Path

from mmjax.config import relative

EXAMPLE = Path(__file__).resolve().parents[2] / "experiments" / "own_data" / "conversations.jsonl"

BLOCK = dict(width=192, heads=4, hidden=768, activation="gelu_tanh")
SMALL = dict(width=32, heads=2, hidden=64, layers=1)

VARIANTS = {
    "packed": {"data.processor.pack": 8},
    "smoke": {
        "train": dict(steps=10, evaluate_every=5, log_every=1),
        "data.batch_size": 16,
        "data.processor.vocab_size": 400,
        "optimizer.groups.0.warmup": 2,
        "optimizer.groups.1.warmup": 2,
        "model.image.transformer": SMALL,
        "model.language.transformer": SMALL,
    },
}


def held_out(split: str) -> dict:
    """The perplexity of a split of the same data."""
    source = dict(name="@own", split=split)
    return dict(own=dict(source=source, evaluator=dict(name="perplexity"), batch_size=16))


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(own=dict(name="conversations", path=str(EXAMPLE), split="train")),
        processor=dict(
            name="dialogue", image_size=64, patch_size=8, max_images=4, max_length=512,
            vocab_size=4000,
        ),
        batch_size=16,
    )  # fmt: skip
    config.model = dict(
        name="vlm",
        image=dict(
            patch_size=8,
            stem=(dict(width=96, stride=4),),
            pool="mean",
            transformer=dict(layers=4, **BLOCK),
        ),
        projector=dict(name="mlp"),
        language=dict(context_length=512, transformer=dict(layers=4, **BLOCK)),
    )
    config.task = dict(name="language")
    config.train = dict(steps=2000, log_every=20, evaluate_every=200)
    warmup = 100
    config.optimizer.groups = (
        dict(
            match=r".*/blocks/.*/kernel", optimizer="muon", learning_rate=0.02, b1=0.95,
            weight_decay=0.1, warmup=warmup,
        ),
        dict(optimizer="adamw", learning_rate=1e-3, b2=0.98, weight_decay=0.1, warmup=warmup),
    )  # fmt: skip
    config.validation = held_out("validation")
    config.test = held_out("test")
    config.checkpoint.metric = "validation/own/perplexity"
    config.checkpoint.higher_is_better = False
    return config
