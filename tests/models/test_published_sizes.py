"""How many parameters models have at the sizes that they were published in."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from mmjax import tree
from mmjax.models import bert, blip, clip, gpt2, llama, vlm


@pytest.mark.parametrize(
    "variant, count",
    [
        # open_clip and transformers report the same numbers for these
        ("B/32", 151_277_313),
        ("B/16", 149_620_737),
        ("L/14", 427_616_513),
        ("H/14", 986_109_441),
        ("g/14", 1_366_678_273),
        ("bigG/14", 2_539_567_105),
        ("RN50-quickgelu", 102_007_137 + 53_248),  # and the statistics of the batch norms
        ("SigLIP-B/16", 203_155_970),
    ],
)
def test_published_sizes(variant, count):
    config = clip.VARIANTS[variant]
    size = config.image.image_size
    images, words = jnp.zeros((1, size, size, 3)), jnp.zeros((1, config.text.context_length), int)
    boxed = jax.eval_shape(clip.Model(config).init, jax.random.key(0), images, words)
    assert tree.count(nn.unbox(boxed["params"])) == count


@pytest.mark.parametrize(
    "kind, variant, count",
    [
        (bert, "B", 109_482_240),
        (bert, "MiniLM-L6", 22_713_216),
        (bert, "RoBERTa-B", 124_645_632),
        (gpt2, "small", 124_439_808),
        (gpt2, "XL", 1_557_611_200),
        (llama, "Llama-2-7B", 6_738_415_616),
        (llama, "Llama-3.2-1B", 1_235_814_400),
        (llama, "Qwen2-0.5B", 494_032_768),
        (llama, "Gemma-2B", 2_506_172_416),
        (llama, "Gemma-2-2B", 2_614_341_888),
        (blip, "base-captions", 223_971_644),
        (blip, "base-answers", 361_230_140),
        (blip, "large-retrieval", 446_128_642),
        (vlm, "LLaVA-1.5-7B", 7_063_427_072),
        (vlm, "PaliGemma-3B", 2_923_466_480),
        (vlm, "Qwen2-Audio-7B", 8_397_094_912),
    ],
)
def test_published_sizes_of_other_models(kind, variant, count):
    config = kind.VARIANTS[variant]
    boxed = jax.eval_shape(kind.Model(config).init, jax.random.key(0), *kind.inputs(config))
    assert tree.count(nn.unbox(boxed["params"])) == count
