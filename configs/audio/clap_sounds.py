"""CLAP from nothing on some 300 named sounds: Sonic Pi's samples and Tux Paint's effects.

    python -m mmjax.main --mode=prepare --set=sonic_pi,tuxpaint_sounds
    python -m mmjax.main --config=configs/audio/clap_sounds.py --workdir=runs/clap_sounds

Held out are a fifth of Sonic Pi's files: of some of their names training has heard another take
("tabla, ghe"), of others the words alone. `:bundled` needs no preparation: the 35 sounds of the
package, too few to learn from.

300 steps of 48, seed 0, 11 minutes on one busy CPU core, 0.7 million parameters. Test, 36 sounds
and names, sound to text: R@5 0.597 (mean-spectrum neighbour 0.381, chance 0.139; difference 0.216,
95% interval 0.027 to 0.423), R@10 0.722 (0.522; 0.201, 0.038 to 0.367). R@1 is 0.194 for the
neighbour's 0.215: within noise, on so few.
"""

from mmjax.config import relative

BLOCK = dict(width=128, heads=2, hidden=512)
SMALL = dict(width=64, heads=2, hidden=128)
VARIANTS = {
    "bundled": {
        "data.train.sonic_pi.weight": 0.0,
        "data.train.effects.weight": 0.0,
        "data.train.sounds": dict(name="sounds", split="train"),
        "data.batch_size": 16,
        "validation.names.source": dict(name="sounds", split="validation"),
        "validation.names.baseline": None,
        "test.names.source": dict(name="sounds", split="test"),
        "test.names.baseline": None,
    },
}
VARIANTS["smoke"] = {
    **VARIANTS["bundled"],
    "train": dict(steps=10, evaluate_every=5, log_every=1),
    "optimizer.groups.0.warmup": 5,
    "optimizer.groups.1.warmup": 5,
    "model.audio.transformer": dict(layers=1, **SMALL),
    "model.text.transformer": SMALL,
}


def get_config():
    config = relative(__file__, "../recipes/small_sounds.py")
    config.data.train = dict(
        sonic_pi=dict(name="sonic_pi", split="train"),
        effects=dict(name="tuxpaint_sounds", split="all"),
    )
    retrieval = dict(name="retrieval", queries="audio")
    neighbour = dict(name="mean_spectrum")
    config.validation = dict(
        names=dict(source=dict(name="sonic_pi", split="validation"), evaluator=retrieval)
    )
    config.test = dict(
        names=dict(
            source=dict(name="sonic_pi", split="test"), evaluator=retrieval, baseline=neighbour
        ),
    )
    config.checkpoint.metric = "validation/names/audio_to_text/r5"
    return config
