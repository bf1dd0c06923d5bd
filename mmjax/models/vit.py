"""Vision transformer: patches, learned positions, pre-norm blocks, one pooled vector.

Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929. What differs between its users is a field
here:

* CLIP pools the class token and normalises before the first block; SigLIP pools by attention and
  has neither.
* FLIP's patch dropout (https://arxiv.org/abs/2212.00794): in training only a random share of
  patches is encoded.
* The patch embedding is a matmul on reshaped pixels.
* Pictures of other sizes, where asked for: positions are resized. NaFlex
  (https://arxiv.org/abs/2502.14786) takes patches of pictures that keep their shape, with a mask.
* DeiT (https://arxiv.org/abs/2012.12877) has a second learned token, taught by distillation.
* LLaVA (https://arxiv.org/abs/2304.08485) takes the tokens of the last block but one, without the
  norm behind the last: `feature_layer`.
* `apply(..., mutable=["intermediates"])` gives "transformer/hidden_states" [layers + 1, B, L, D]:
  what goes into the first block, and what leaves each.
* A stem of overlapping convolutions before it sees edges and small shifts as they are, which a
  small data set cannot teach (https://arxiv.org/abs/2106.14881).

Letters: B batch, P patches, L sequence (patches, and a class token where there is one), D width.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers import pooling, positions, transformer
from mmjax.layers.attention import attention_mask
from mmjax.layers.dense import Dense
from mmjax.layers.patches import Patches, overlapping, patchify
from mmjax.layers.transformer import embedding, layer_norm
from mmjax.typing import Array, Float, Positive


@dataclasses.dataclass(frozen=True)
class Stage:
    """A convolution of the stem, with LayerNorm and GELU behind it."""

    width: Positive  # channels that leave it
    stride: Positive = 2  # S; the kernel has S + S // 2 pixels along each edge


@dataclasses.dataclass(frozen=True)
class Config:
    image_size: Positive = 224  # pixels along each edge
    patch_size: Positive = 16  # pixels along each edge
    channels: Positive = 3  # of a pixel
    # convolutions before the patch embedding, which overlaps then; strides multiply to patch_size
    stem: tuple[Stage, ...] = ()
    transformer: transformer.Config = transformer.Config()  # the stack of blocks
    pool: Literal["class", "mean", "attention"] = "class"  # from tokens to one vector
    patch_bias: bool = True  # CLIP's patch embedding has none
    pre_norm: bool = False  # LayerNorm before the first block, as in CLIP
    patch_dropout: float = 0.0  # share of patches left out in training
    distilled: bool = False  # DeiT: a second token beside that of pool="class"
    any_size: bool = False  # images of other sizes are taken, and positions resized to theirs
    native_aspect: bool = False  # NaFlex: takes Patches, of pictures of any shape
    # tokens are those behind so many blocks, without the norm behind the last; negative: counted
    # from the end, -1 the last block, -2 the one before (LLaVA). Later blocks are not computed
    feature_layer: int | None = None

    @property
    def grid(self) -> int:
        """Patches along each edge; pixels left over on the right and below are not seen."""
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        return self.grid**2

    @property
    def learned_tokens(self) -> int:
        """Before the patches."""
        return (self.pool == "class") * (1 + self.distilled)


class Output(NamedTuple):
    """What the tower returns."""

    tokens: Float[Array, "B L D"]  # after the last block and norm, or as `feature_layer` says
    pooled: Float[Array, "B D"]


def drop_patches(x: Float[Array, "B P D"], share: float, key: jax.Array) -> Float[Array, "B Q D"]:
    """Keeps a random `1 - share` of each row's patches, in order."""
    kept = max(1, round(x.shape[1] * (1 - share)))
    order = jnp.argsort(jax.random.uniform(key, x.shape[:2]), axis=1)
    return jnp.take_along_axis(x, jnp.sort(order[:, :kept], axis=1)[..., None], axis=1)


class Model(nn.Module):
    """Image tower."""

    config: Config

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"] | Patches, *, train: bool = False) -> Output:
        """Normalised pixels -> tokens and a pooled vector.

        Raises:
          ValueError: images of another size than the config's, or the other form.
          ConfigError: a stem whose strides do not divide the patch size, no such feature layer.
        """
        c = self.config
        t = c.transformer
        self._check(images)
        x = self._patch_vectors(images)
        count = c.learned_tokens
        table = embedding(
            "positions", self, (c.patches + count, t.width), t.width**-0.5, ("position", "embed")
        ).astype(x.dtype)
        x = x + self._grid_positions(table[count:], images)
        if train and c.patch_dropout > 0:
            x = drop_patches(x, c.patch_dropout, self.make_rng("dropout"))
        if count:
            x = self._behind_learned_tokens(x, table[:count])
        if c.pre_norm:
            x = layer_norm(t, "pre_norm")(x)
        valid = images.mask.astype(bool) if c.native_aspect else None
        allowed = attention_mask(valid, x.shape[1], causal=False)
        x = self._blocks(train)(x, allowed)
        tokens = layer_norm(t, "norm")(x)
        if c.pool == "class":
            pooled = tokens[:, 0]
        elif c.pool == "mean":
            pooled = pooling.masked_mean(tokens, valid)
        else:
            pooled = pooling.AttentionPool(t, name="pool")(tokens, valid)
        return Output(tokens if c.feature_layer is None else x, pooled)

    def _patch_vectors(self, images: Array | Patches) -> Float[Array, "B P D"]:
        """Pixels, behind the stem where there is one, as one vector a patch."""
        c = self.config
        t = c.transformer
        patch = c.patch_size
        x = images.values if c.native_aspect else _whole(images, patch)
        x = x.astype(t.stream)
        for i, stage in enumerate(c.stem):
            x = overlapping(x, stage.stride)
            x = Dense((stage.width,), ("patch", None), name=f"stem_{i}", dtype=t.dtype)(x)
            x = nn.gelu(layer_norm(t, f"stem_norm_{i}", axis=None)(x))
            patch //= stage.stride
        if not c.native_aspect:
            x = overlapping(x, patch) if c.stem else patchify(x, patch)
        init = nn.initializers.normal(0.02) if c.pre_norm else nn.initializers.lecun_normal()
        x = Dense(
            (t.width,),
            ("patch", "embed"),
            bias=c.patch_bias,
            kernel_init=init,
            dtype=t.dtype,
            name="patch_embedding",
        )(x)
        return x.reshape(len(x), -1, t.width)

    def _behind_learned_tokens(
        self, x: Float[Array, "B P D"], table: Float[Array, "C D"]
    ) -> Float[Array, "B L D"]:
        """The class token, and DeiT's second one, before the patches of each row."""
        width = self.config.transformer.width
        names = ("class_token", "distillation_token")[: len(table)]
        tokens = [embedding(name, self, (1, width), width**-0.5, (None, "embed")) for name in names]
        learned = jnp.concatenate(tokens).astype(x.dtype) + table
        return jnp.concatenate([jnp.broadcast_to(learned, (len(x), *learned.shape)), x], axis=1)

    def _blocks(self, train: bool) -> nn.Module:
        """The stack of blocks, as far as it is computed; all of their parameters are there."""
        t = self.config.transformer
        layer = self.config.feature_layer
        count = t.layers if layer is None else layer + (t.layers + 1) * (layer < 0)
        if not 0 <= count <= t.layers:
            raise ConfigError(f"feature_layer={layer}: there are {t.layers} blocks")
        if count == t.layers or self.is_initializing():
            return transformer.Transformer(t, train, name="transformer")
        first = functools.partial(_first_blocks, count=count)
        shorter = nn.map_variables(transformer.Transformer, "params", first)
        return shorter(dataclasses.replace(t, layers=count), train, name="transformer")

    def _check(self, images: Array | Patches) -> None:
        c = self.config
        if c.patch_size % math.prod(stage.stride for stage in c.stem):
            strides = ", ".join(str(stage.stride) for stage in c.stem)
            raise ConfigError(
                f"the strides of the stem ({strides}) do not divide patch_size={c.patch_size}"
            )
        if c.native_aspect:
            if c.stem or c.learned_tokens:
                raise ConfigError("native_aspect has no stem, class token or distillation token")
            if not isinstance(images, Patches):
                raise ValueError("native_aspect: the model takes Patches, not pixels")
        elif isinstance(images, Patches):
            raise ValueError("the model takes pixels; Patches are for native_aspect=True")
        elif images.shape[1:] != (c.image_size, c.image_size, c.channels) and not c.any_size:
            raise ValueError(
                f"the model was built for images of {c.image_size} x {c.image_size} x "
                f"{c.channels}, got {' x '.join(map(str, images.shape[1:]))}"
            )

    def _grid_positions(
        self, table: Float[Array, "P D"], images: Float[Array, "B H W C"] | Patches
    ) -> Float[Array, "#B Q D"]:
        """Of each patch."""
        c = self.config
        grid = table.reshape(c.grid, c.grid, -1)
        if isinstance(images, Patches):
            return positions.bilinear(grid, images.shapes, images.values.shape[1])
        rows = images.shape[1] // c.patch_size
        columns = images.shape[2] // c.patch_size
        return positions.bicubic(grid, rows, columns)[None]


def _first_blocks(params: Any, count: int) -> Any:
    """Of a transformer's parameters those of `count` blocks, where they are stacked."""

    def first(path: tuple, leaf: Array) -> Array:
        stacked = any(getattr(key, "key", None) == "blocks" for key in path)
        return leaf[:count] if stacked else leaf

    return jax.tree_util.tree_map_with_path(first, params)


def _whole(images: Float[Array, "B H W C"], patch: int) -> Float[Array, "B I J C"]:
    """Without the pixels that fill no patch."""
    rows = images.shape[1] // patch
    columns = images.shape[2] // patch
    return images[:, : rows * patch, : columns * patch]


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row: an image, or the patches of one."""
    c = config
    if not c.native_aspect:
        shape = (1, c.image_size, c.image_size, c.channels)
        return (jax.ShapeDtypeStruct(shape, jnp.float32),)
    values = (1, c.patches, c.patch_size**2 * c.channels)
    patches = Patches(
        jax.ShapeDtypeStruct(values, jnp.float32),
        jax.ShapeDtypeStruct((1, 2), jnp.int32),
        jax.ShapeDtypeStruct((1, c.patches), jnp.bool_),
    )
    return (patches,)


def _size(width: int, layers: int, heads: int, hidden: int, **fields) -> transformer.Config:
    return transformer.Config(width=width, layers=layers, heads=heads, hidden=hidden, **fields)


SIZES = {  # the transformer of each size; So400m: https://arxiv.org/abs/2305.13035
    "tiny": _size(192, 4, 3, 768),
    "S": _size(384, 12, 6, 1536),
    "B": _size(768, 12, 12, 3072),
    "L": _size(1024, 24, 16, 4096),
    "H": _size(1280, 32, 16, 5120),
    "g": _size(1408, 40, 16, 6144),  # these two: https://github.com/mlfoundations/open_clip
    "bigG": _size(1664, 48, 16, 8192),
    "So400m": _size(1152, 27, 16, 4304),
}
VARIANTS = {
    f"{size}/{patch}": Config(patch_size=patch, transformer=SIZES[size])
    for size, patch in [
        ("tiny", 16),
        ("S", 16),
        ("B", 32),
        ("B", 16),
        ("L", 16),
        ("L", 14),
        ("H", 14),
        ("g", 14),
        ("bigG", 14),
        ("So400m", 14),
    ]
}
