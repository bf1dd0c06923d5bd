"""Two tasks in one step, each with data of its own: captions beside their pictures, the easy ones
first, and the kinds of pictures. The head has an optimizer of its own.

    PYTHONPATH=tests python -m mmjax.main --config=tests/tenants/mixed/config.py \\
        --workdir=runs/mixed
"""

from mmjax.config import relative

STAGES = (dict(share=0.3, until=2), dict(share=1.0))
SMALL = dict(width=32, layers=1, heads=2, hidden=64)


def get_config():
    config = relative(__file__, "../base.py")
    captions = dict(
        name="image_text", image_size=32, max_length=8, pad_to=8, tokenizer="words", vocab_size=500
    )
    config.data = None
    config.parts = dict(
        pairs=dict(
            train=dict(emoji=dict(name="emoji")),
            curriculum=dict(emoji=dict(by="label", stages=STAGES)),
            processor=captions,
            batch_size=16,
        ),
        kinds=dict(
            train=dict(emoji=dict(name="emoji")),
            processor=dict(name="@pairs"),
            batch_size=8,
        ),
    )  # fmt: skip
    config.model = dict(
        name="tenants.mixed.model",
        image=dict(patch_size=16, transformer=SMALL),
        text=dict(transformer=SMALL, pool="mean", causal=False),
        embedding=16,
    )
    tasks = dict(pairs=dict(name="contrastive"), kinds=dict(name="tenants.mixed.task"))
    config.task = dict(name="mixed", tasks=tasks, weights=dict(kinds=0.5))
    config.optimizer.groups = (
        dict(match="image/.*", name="image", learning_rate=1e-3),
        dict(match="kind/.*", name="head", optimizer="sgd", learning_rate=1e-1),
        dict(match=".*", name="rest", learning_rate=2e-3),
    )
    unseen = dict(name="emoji", split="validation/unseen_concept")
    config.validation = dict(
        captions=dict(
            source=unseen,
            evaluator=dict(name="retrieval", predict="pairs/embed", average_over="style"),
            part="pairs",
            batch_size=64,
        ),
        kinds=dict(
            source=unseen,
            evaluator=dict(name="classification", predict="kinds/logits"),
            part="kinds",
            batch_size=64,
        ),
    )
    config.test = config.validation
    return config
