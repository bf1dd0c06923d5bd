"""CLAP from nothing on single notes of 128 instruments: which sentence is this sound?

    python -m mmjax.main --mode=prepare --set=notes
    python -m mmjax.main --config=configs/audio/clap_notes.py --workdir=runs/clap_notes

"a low C on a violin, softly". Held out are two pitches of every octave that training never hears,
and a tenth of the other notes, whose instrument and pitch it hears apart. Each retrieval is among
100.

900 steps of 128, seed 0, 21 minutes on one busy CPU core, 0.75 million parameters. Test, sound to
text, R@1, beside the mean-spectrum neighbour: pitches never heard 0.920 (0.619), the same among the
8 instruments of one family 0.722 (0.420), notes never heard 0.978 (0.603). Family of the instrument
by its name 0.763 (0.700; chance 0.062). Intervals: experiments/audio.
"""

from mmjax.config import relative, variants
from mmjax.datasets import notes

SMALL_PAIRS = relative(__file__, "../recipes/small_pairs.py")
OF_A_PITCH = tuple(
    f"a {{}} instrument plays a {octave} {pitch}"
    for octave in notes.OCTAVES
    for pitch in notes.PITCHES
)
EVALUATIONS = (
    "validation.unseen_pitch", "validation.unseen_note", "validation.family",
    "test.unseen_pitch", "test.unseen_note", "test.family", "test.one_family",
)  # fmt: skip
BLOCK = dict(width=128, heads=2, hidden=512)
SMALL = dict(width=64, heads=2, hidden=128, layers=1)
VARIANTS = {
    "smoke": {
        **{
            name: value
            for name, value in variants(__file__, "../recipes/small_pairs.py")["smoke"].items()
            if not name.startswith("model")
        },
        "data.train.notes.sound": "tones",  # which need no renderer
        **{f"{name}.source.sound": "tones" for name in EVALUATIONS},
        "model.audio.encoder.transformer": SMALL,
        "model.text.transformer": dict(width=64, heads=2, hidden=128),
    },
}


def held_out(split: str) -> dict:
    """What "validation" or "test" is asked: retrieval among hundreds, and families by name."""
    neighbour = dict(name="mean_spectrum")
    hundreds = dict(queries="audio", average_over="hundred")

    def retrieval(which: str, hundreds_of: str) -> dict:
        return dict(
            source=dict(name="notes", split=f"{split}/{which}", hundreds=hundreds_of),
            evaluator=dict(name="retrieval", **hundreds),
            baseline=dict(**neighbour, retrieval=dict(**hundreds)),
        )

    return dict(
        unseen_pitch=retrieval("unseen_pitch", "all"),
        # the 8 instruments of a family alone; validation has no hundred of one family
        **(dict(one_family=retrieval("unseen_pitch", "family")) if split == "test" else {}),
        unseen_note=retrieval("unseen_note", "all"),
        family=dict(
            source=dict(name="notes", split=f"{split}/unseen_pitch"),
            evaluator=dict(
                name="zero_shot",
                image="audio",
                class_names=notes.FAMILIES,
                templates=OF_A_PITCH,  # as training says it, whatever the pitch
            ),
            baseline=dict(**neighbour, label="label"),
        ),
    )


def get_config():
    config = relative(__file__, "../recipes/small_pairs.py")
    config.data.train = dict(notes=dict(name="notes", split="train"))
    config.data.batch_size = 128
    config.data.cache_bytes = 400_000_000
    config.data.processor = dict(
        name="audio_text",
        audio=dict(
            kind="mel", bins=128, frame=0.064, hop=0.02, longest=1.0, shortest=0.0,
            long="refuse", alike=0,  # all of a second: frames are computed once, and kept
            augmentation=dict(
                frequency_masks=1, frequency_width=12, time_masks=1, time_width=10
            ),
        ),
        max_length=16,
        pad_to=16,
        tokenizer="words",
        vocab_size=400,
        drop_words=0.1,
    )  # fmt: skip
    config.task = dict(name="contrastive", loss="softmax")
    config.model = dict(
        name="clap",
        audio=dict(
            name="pooled_audio",
            encoder=dict(
                name="whisper_encoder", bins=128, frames=64,
                transformer=dict(layers=3, unroll=3, **BLOCK),
            ),
            pool="mean",
        ),
        text=dict(name="text", pool="mean", causal=False, transformer=dict(layers=0, **BLOCK)),
        embedding=128,
        scale_init=10.0,
        scale_max=50.0,
    )  # fmt: skip
    config.train = dict(steps=900, log_every=20, evaluate_every=450)
    config.checkpoint.every = 450
    config.checkpoint.metric = "validation/unseen_pitch/audio_to_text/r1"
    config.validation = held_out("validation")
    config.test = held_out("test")
    return config
