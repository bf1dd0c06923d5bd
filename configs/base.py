"""What every run shares; a config file is a difference from this one.

    config = relative(__file__, "../base.py")

Not a run by itself: it names no data, model or task. Every field with its meaning and default is in
mmjax/run/options.py; `python -m mmjax.main --mode=show --config=...` prints a run's.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        dict(
            seed=0,
            data=dict(train=dict(), batch_size=256),
            train=dict(steps=1000, log_every=10),
            optimizer=dict(
                clip_norm=1.0, groups=(dict(optimizer="adamw", learning_rate=1e-3, b2=0.98),)
            ),
            checkpoint=dict(every=1000, latest=2, best=1),
            execution=dict(),
        ),
        type_safe=False,
    )
