"""Models of sound of the table in test_models.py, with their parameters counted by hand."""

import dataclasses

import jax
import jax.numpy as jnp

from mmjax.layers import transformer
from mmjax.models import (
    ast,
    audio_classifier,
    clap,
    conformer,
    htsat,
    music,
    pooled_audio,
    text,
    token_tower,
    wav2vec2,
    whisper,
    whisper_encoder,
)

TINY = transformer.Config(width=16, layers=2, heads=2, hidden=32)


def block(d, f):
    """Norms, query, key, value, out, MLP: weights and biases."""
    return 2 * 2 * d + 4 * (d * d + d) + d * f + f + f * d + d


def sound(rows=8):
    return jax.random.normal(jax.random.key(3), (rows, 12, 5))


def samples(rows=8):
    return jax.random.normal(jax.random.key(4), (rows, 90))


def heard(rows=8):
    return jnp.arange(90)[None] < 45 + 5 * jnp.arange(rows)[:, None]


def frames_heard(rows=8):
    return jnp.arange(12)[None] < 5 + jnp.arange(rows)[:, None] % 7


def unheard(rows=8):
    """Sounds [rows, 1, 12, 5] of which none is there: the prompts have no audio tokens."""
    return sound(rows)[:, None], jnp.zeros((rows, 1, 12), bool)


def ids(rows=8):
    return jax.random.randint(jax.random.key(2), (rows, 6), 0, 16)


def mask(rows=8):
    return jnp.arange(6)[None] < 2 + jnp.arange(rows)[:, None] % 5


EARS_BODY = dataclasses.replace(TINY, key_bias=False)
SPEECH = whisper.Config(5, 12, 16, 6, EARS_BODY, dataclasses.replace(EARS_BODY, layers=3, heads=4))
# two convolutions of 3 taps, 6 positions, blocks whose keys have no bias, norm
EARS = 3 * 5 * 16 + 16 + 3 * 16 * 16 + 16 + 6 * 16 + 2 * (block(16, 32) - 16) + 2 * 16
# tokens, positions, blocks with a second attention and its norm, norm
MOUTH = 16 * 16 + 6 * 16 + 3 * (block(16, 32) + 4 * (16 * 16 + 16) + 2 * 16 - 2 * 16) + 2 * 16
WAVES = wav2vec2.Config(
    front=(wav2vec2.Stage(6, 10, 5), wav2vec2.Stage(7, 3, 2)),
    position_taps=4,
    position_groups=2,
    transformer=dataclasses.replace(TINY, norm="post"),
    letters=16,
)
STABLE = dataclasses.replace(
    WAVES, front_norm="layer", front_bias=True, projection_norm=False, transformer=TINY
)
SOUNDING = jnp.arange(12)[None] < jnp.arange(5, 13)[:, None]
LISTENER = conformer.Config(5, transformer=TINY, taps=3, letters=16)
# norms, MLPs, attention and convolution of a block; two convolutions, projection, head
BODY_SIZE = 6 * 2 * 16 + 2 * (2 * 16 * 32 + 32 + 16) + 7 * (256 + 16) + 3 * 16
LISTENER_SIZE = 3 * 5 * 16 + 3 * 16 * 16 + 2 * 256 + 4 * 16 + 2 * BODY_SIZE
# projection, positions (lengths, directions, bias), norm, blocks, head
WAVES_BODY = 7 * 16 + 16 + 4 + 4 * 8 * 16 + 16 + 2 * 16 + 2 * block(16, 32) + 16 * 16 + 16
# convolutions of 10 and 3 taps; norms of the first and before the projection, or of both
WAVES_GROUP = 10 * 6 + 3 * 6 * 7 + 2 * 6 + 2 * 7 + WAVES_BODY
WAVES_LAYER = 10 * 6 + 6 + 3 * 6 * 7 + 7 + 2 * 6 + 2 * 7 + WAVES_BODY
EARS_ALONE = whisper_encoder.Config(5, 12, EARS_BODY)
HEARS = token_tower.Config(EARS_ALONE, stack=2)
# two vectors side by side pass two layers
HEARING = EARS + 2 * 16 * 16 + 16 + 16 * 16 + 16
# 2 x 4 patches of 2 frames x 2 of 5 bins, one every 3
SEES = ast.Config(5, 12, 2, 3, 3, TINY)
SEES_MEAN = dataclasses.replace(SEES, pool="mean")
SEEING = 4 * 16 + 16 + 8 * 16 + 2 * block(16, 32) + 2 * 16
POOL = 16 + 4 * (16 * 16 + 16) + 2 * 16 + 2 * 16 * 32 + 32 + 16  # probe, attention, norm, MLP
WORDS = text.Config(vocab_size=16, context_length=6, transformer=TINY)
READING = 16 * 16 + 6 * 16 + 2 * block(16, 32) + 2 * 16
UNLETTERED = dataclasses.replace(WAVES, letters=None)

# pictures of 16 x 16 pixels, of 32 frames of 8 bins: 8 x 8 places, then 4 x 4
FOLDED = htsat.Config(8, 16, 2, 16, (2, 2), (2, 4), 4, hidden_ratio=2.0)
# statistics; patches, norm; blocks with their distances, merging; the last norm
FOLDED_SIZE = 4 * 8 + 4 * 16 + 16 + 2 * 16 + 2 * (block(16, 32) + 49 * 2)
FOLDED_SIZE += 2 * 64 + 64 * 32 + 2 * (block(32, 64) + 49 * 4) + 2 * 32
# wide patches; twice two layers of 4 channels inside, each with its norm
FUSED_SIZE = 12 * 16 + 16 + 2 * (16 * 4 + 4 + 4 * 4 + 4 * 16 + 16 + 4 * 16)


def spectrograms(count, rows=8):
    return jax.random.normal(jax.random.key(5), (rows, count, 30, 8))


def longer(rows=8):
    return jnp.ones((rows, 4), bool).at[::2, 1:].set(False)

TUNES = music.Config(
    24, onsets=2, bands=2, heads=(music.Head("rhythm", 3), music.Head("key", 24, tonal=True)),
    channels=2, taps=3, width=8, lags=6, strides=1,
)  # fmt: skip
# the kernel along frequencies, two convolutions, norm, and twelve vectors that become one
TUNES_PITCHES = 3 * 2 + 2 + 2 * (5 * 4 * 4 + 4) + 2 * 8 + 12 * 8 * 8 + 8
# six lags of two bands, their sum, and the pitches
TUNES_TIME = (3 * 6 + 6) * 16 + 16 + 16 * 8 + 8
TUNES_FRAMES = 28 * 8 + 8 + 2 * 8 + 5 * 8 * 8 + 8 + 2 * 16 + 16 * 8 + 8
# the norm of all summaries, a head on them, and one on a pitch class
TUNES_HEADS = 2 * 80 + 80 * 3 + 3 + 8 * 2 + 2


def tunes(rows=8):
    return jax.random.normal(jax.random.key(5), (rows, 12, 28))


def table(row):
    """Model -> its rows."""
    return {
        "whisper": [row(whisper.Model(SPEECH), (sound(), ids(), mask()), EARS + MOUTH)],
        "whisper_encoder": [
            row(
                whisper_encoder.Model(dataclasses.replace(EARS_ALONE, pool=2)),
                (sound(), frames_heard()),
                EARS,
            )
        ],
        "ast": [
            row(ast.Model(SEES), (sound(),), SEEING + 4 * 16),  # two tokens and their positions
            row(
                ast.Model(dataclasses.replace(SEES, pool="attention")),
                (sound(), frames_heard()),
                SEEING + POOL,
            ),
        ],
        "audio_classifier": [
            row(
                audio_classifier.Model(audio_classifier.Config(SEES_MEAN, classes=16)),
                (sound(), frames_heard()),
                SEEING + 2 * 16 + 16 * 16 + 16,
            )
        ],
        "htsat": [
            row(htsat.Model(FOLDED), (spectrograms(1),), FOLDED_SIZE),
            row(
                htsat.Model(dataclasses.replace(FOLDED, fusion=True)),
                (spectrograms(4), longer()),
                FOLDED_SIZE + FUSED_SIZE,
            ),
        ],
        "pooled_audio": [
            row(
                pooled_audio.Model(pooled_audio.Config(UNLETTERED, "attention")),
                (samples(), heard()),
                WAVES_GROUP - 16 * 16 - 16 + POOL,
            )
        ],
        "clap": [
            row(
                clap.Model(clap.Config(None, WORDS, 8, audio=SEES_MEAN)),
                (None, ids(), mask(), None, {"audio": (sound(), frames_heard())}),
                SEEING + READING + 2 * 16 * 8 + 1,
            ),
            row(
                clap.Model(
                    clap.Config(
                        None, WORDS, 8, audio=pooled_audio.Config(EARS_ALONE),
                        projection_activation="relu", text_scale=True,
                    )  # fmt: skip
                ),
                (None, ids(), mask(), None, {"audio": (sound(), frames_heard())}),
                EARS + READING + 2 * (16 * 8 + 8 + 8 * 8 + 8) + 2,
            ),
        ],
        "conformer": [row(conformer.Model(LISTENER), (sound(), SOUNDING), LISTENER_SIZE)],
        "token_tower": [row(token_tower.Model(HEARS, 16), (sound(), frames_heard()), HEARING)],
        "music": [
            row(
                music.Model(TUNES), (tunes(),),
                TUNES_PITCHES + TUNES_TIME + TUNES_FRAMES + TUNES_HEADS,
            )
        ],
        "wav2vec2": [
            row(wav2vec2.Model(WAVES), (samples(),), WAVES_GROUP),
            row(wav2vec2.Model(STABLE), (samples(), heard()), WAVES_LAYER),
        ],
    }
