"""BLIP on the bundled emoji: 2,088 drawings are compared with captions, matched and described.

    python -m mmjax.main --config=configs/captioning/blip_emoji.py --workdir=runs/blip_emoji
"""

from mmjax.config import relative

BLOCK = dict(width=192, heads=3, hidden=768)
SMALL = dict(width=64, heads=2, hidden=128, layers=1)

VARIANTS = {
    "smoke": {
        "train": dict(steps=20, evaluate_every=10, log_every=1),
        "data.batch_size": 32,
        "task.queue": 64,
        "warm_start": "",
        "optimizer.groups.0.warmup": 5,
        "optimizer.groups.1.warmup": 5,
        "model.image.transformer": SMALL,
        "model.text": SMALL,
        "validation.unseen_style.evaluator.rows": 32,
        "test.unseen_style.evaluator.rows": 32,
        "validation.match.evaluator": dict(rows=32, top=8),
        "test.match.evaluator": dict(rows=32, top=8),
    },
}


def held_out(split: str) -> dict:
    """What "validation" or "test" is asked: captions, and retrieval in two looks."""
    source = dict(name="emoji", split=f"{split}/unseen_style")
    captions = dict(name_before=",")
    return dict(
        unseen_style=dict(
            source=source,
            evaluator=dict(name="captions", **captions),
            baseline=dict(name="nearest_text", captions=captions),
        ),
        match=dict(source=source, evaluator=dict(name="reranked", top=16, cosine=40.0)),
    )


def get_config():
    config = relative(__file__, "../recipes/small_pairs.py")
    config.data.train = dict(emoji=dict(name="emoji", split="train"))
    config.data.batch_size = 128
    config.data.processor.update(
        name="captioning", tokenizer="", max_length=20, pad_to=20, vocab_size=4000
    )
    config.data.processor.augmentation.drop_words = 0.0  # a caption is written as it is
    config.task = dict(name="blip", queue=1024, generate=dict(max_new_tokens=19))
    config.model = dict(
        name="blip",
        image=config.model.image,
        text=dict(layers=2, unroll=2, norm="post", norm_epsilon=1e-12, **BLOCK),
        embedding=192,
        scale_init=10.0,
    )
    config.warm_start = dict(image="emoji_clip#image")
    config.train = dict(steps=1000, log_every=10, evaluate_every=250)
    config.validation = held_out("validation")
    config.test = held_out("test")
    config.checkpoint.metric = "validation/unseen_style/exact_match"
    return config
