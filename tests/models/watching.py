"""Models of videos of the table in test_models.py, with their parameters counted by hand."""

import dataclasses

import jax
import jax.numpy as jnp
from models.sounding import TINY, block, ids, mask

from mmjax.models import frame_tower, text, video_classifier, video_clip, video_mae, video_vit, vit
from mmjax.models.towers import hierarchical

ATTENTION = 4 * (16 * 16 + 16)
MAP = 16 * 16 + 16
NORM = 2 * 16
NO_KEY_BIAS = dataclasses.replace(TINY, key_bias=False)
VIVIT = video_vit.Config(4, 8, 4, transformer=TINY)
# tubelets, class token, positions, blocks, norm
VIVIT_SIZE = 96 * 16 + 16 + 16 + 9 * 16 + 2 * block(16, 32) + NORM
MASKED = dataclasses.replace(
    VIVIT, positions="sine", pool="mean", norm="pooled", transformer=NO_KEY_BIAS
)
MASKED_SIZE = 96 * 16 + 16 + 2 * (block(16, 32) - 16) + NORM
STEMMED = dataclasses.replace(VIVIT, stem=(vit.Stage(8, 2),))
# 3 x 3 kernels over two frames side by side, a norm; then the same over what leaves, twice as far
STEMMED_SIZE = VIVIT_SIZE - 96 * 16 + 9 * 6 * 8 + 8 + 2 * 8 + 9 * 8 * 16
DIVIDED = dataclasses.replace(VIVIT, tubelet=1, attention="divided", positions="space_time")
FRAME = 48 * 16 + 16 + 16 + 5 * 16 + 2 * block(16, 32) + NORM  # patches, class, places
DIVIDED_SIZE = FRAME + 4 * 16 + 2 * (ATTENTION + NORM + MAP)
SPACE = dataclasses.replace(DIVIDED, attention="space", positions="space")
IMAGE = vit.Config(8, 4, transformer=TINY)
OVER = dataclasses.replace(TINY, layers=1)
FRAMES = frame_tower.Config(IMAGE, 4, transformer=OVER)
FRAMES_SIZE = FRAME + 4 * 16 + block(16, 32)
TALKING = frame_tower.Config(IMAGE, 4, 16, OVER, messages=True)
TALKING_SIZE = FRAMES_SIZE + 16 * 16 + 2 * (ATTENTION + NORM + MAP)
SCALES = (hierarchical.Scale("short", 2), hierarchical.Scale("long", 0, 3))
PROGRAMME = hierarchical.Config(
    dataclasses.replace(IMAGE, pool="mean"), 4, SCALES, 20, 3, OVER, OVER
)
# of each scale: two maps, of which the second reads three segments, the places of 2 vectors, a
# block; then those of all scales, a norm
SCALE = 16 * 20 + 20 + 3 * 20 * 16 + 16 + 2 * 16 + block(16, 32)
PROGRAMME_SIZE = FRAME - 2 * 16 + 2 * SCALE + block(16, 32) + NORM
ASKED = (video_classifier.Head("now", 2), video_classifier.Head("after", 3))
QUERIES = video_classifier.Config(PROGRAMME, heads=ASKED, queries=True)
WORDS = text.Config(vocab_size=32, context_length=6, transformer=TINY)
WORDS_SIZE = 32 * 16 + 6 * 16 + 2 * block(16, 32) + NORM
PAIR = video_clip.Config(None, WORDS, 16, video=FRAMES)
XCLIP = video_clip.Config(
    None, WORDS, 16, video=TALKING, video_projection=False, prompt_layers=1, prompt_heads=2
)
# norms and map of the places, scale; a layer: norms, attention with one bias, MLP
PROMPTS = 2 * NORM + 16 * 16 + 16 + 2 * NORM + 4 * 16 * 16 + 16 + 2 * 16 * 64 + 64 + 16


def clips(rows=8):
    return jax.random.normal(jax.random.key(5), (rows, 4, 8, 8, 3))


def there(rows=8):
    """Which frames are real: 1 to 4 of each clip."""
    return jnp.arange(4)[None] < 1 + jnp.arange(rows)[:, None] % 4


def seen(rows=8):
    """Two of eight tubelets."""
    first = jnp.arange(rows)[:, None] % 4
    return jnp.concatenate([first, first + 4], axis=1)


def table(row):
    """Model -> its rows."""
    return {
        "video_vit": [
            row(video_vit.Model(VIVIT), (clips(), there()), VIVIT_SIZE),
            row(video_vit.Model(MASKED), (clips(), None, seen()), MASKED_SIZE),
            row(video_vit.Model(DIVIDED), (clips(), there()), DIVIDED_SIZE),
            row(video_vit.Model(STEMMED), (clips(), there()), STEMMED_SIZE),
            row(video_vit.Model(SPACE), (clips(), there()), FRAME),
        ],
        "video_classifier": [
            row(
                video_classifier.Model(video_classifier.Config(VIVIT, 16, 16)),
                (clips(),),
                VIVIT_SIZE + 2 * MAP,
            ),
            row(
                video_classifier.Model(video_classifier.Config(FRAMES, 16)),
                (clips(), there()),
                FRAMES_SIZE + MAP,
            ),
            row(
                video_classifier.Model(QUERIES),
                (clips(), there()),
                # two classifiers; a query each, attention, a norm, an MLP
                PROGRAMME_SIZE + 5 * 16 + 5 + 2 * 16 + ATTENTION + NORM + 2 * 16 * 32 + 32 + 16,
            ),
        ],
        "video_mae": [
            row(
                video_mae.Model(video_mae.Config(MASKED, OVER)),
                (clips(), seen()),
                # map, token, blocks, norm, pixels
                MASKED_SIZE + 16 * 16 + 16 + block(16, 32) + NORM + 16 * 96 + 96,
            )
        ],
        "frame_tower": [
            row(frame_tower.Model(FRAMES), (clips(), there()), FRAMES_SIZE),
            row(frame_tower.Model(TALKING), (clips(), there()), TALKING_SIZE),
        ],
        "hierarchical": [
            row(hierarchical.Model(PROGRAMME), (clips(), there()), PROGRAMME_SIZE),
        ],
        "video_clip": [
            row(
                video_clip.Model(PAIR),
                (clips(), ids(), mask(), there()),
                FRAMES_SIZE + WORDS_SIZE + 2 * 16 * 16 + 1,
            ),
            row(
                video_clip.Model(XCLIP),
                (clips(), ids(), mask(), there()),
                TALKING_SIZE + WORDS_SIZE + 16 * 16 + 1 + PROMPTS,
            ),
        ],
    }
