"""HTS-AT: a Swin transformer over a log-mel spectrogram that is folded into a square picture.

Chen et al. 2022, https://arxiv.org/abs/2202.00874; Swin, https://arxiv.org/abs/2103.14030; with
fusion of crops, LAION-CLAP, https://arxiv.org/abs/2211.06687.

* 1,024 frames (a window of 10 seconds, stretched a little) are cut into quarters that lie one above
  the other: 256 x 256 pixels of 64 mel bins.
* Attention stays within windows of 8 x 8 places and knows their distance by a learned offset. Every
  second block has its windows shifted by half; what then meets around the edge is not seen. Between
  stages four neighbours become one place.
* Blocks go in pairs, a plain and a shifted one, which are scanned over. What leaves each stage is
  an intermediate, "stage_0/hidden_states" and on, [B, H, W, D]; "patches" what enters the first.
* Batch norms have the statistics of their checkpoint, which are not trained (`bin_mean` and
  `bin_deviation` where there is none), so that a row never depends on the others of its batch.
* Fusion: of a clip longer than the window the tower sees four spectrograms, the whole one shrunk
  and three crops, and weighs one against the other in each place. A mask says which are there.

Letters: B batch, N spectrograms of a clip, T frames, M mel bins, I pixels, H rows, W columns, L
    places of a window, P places in the end, D width.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmjax.layers import pooling, transformer
from mmjax.layers.dense import Dense
from mmjax.layers.patches import patchify
from mmjax.layers.places import as_mask
from mmjax.layers.positions import stretched
from mmjax.layers.stack import run_blocks
from mmjax.layers.transformer import Mlp, embedding, layer_norm
from mmjax.models.resnet import FrozenNorm
from mmjax.models.whisper_encoder import Count
from mmjax.typing import Array, Bool, Float, Positive, Shaped

CROPS = 3  # spectrograms of a longer clip beside the whole one


@dataclasses.dataclass(frozen=True)
class Config:
    bins: Positive = 64  # M; divides image_size
    image_size: Positive = 256  # pixels along each edge of the picture that frames are folded into
    patch_size: Positive = 4  # pixels along each edge
    width: Positive = 96  # D of the first stage; doubled from stage to stage
    depths: tuple[int, ...] = (2, 2, 6, 2)  # blocks of each stage, an even number
    heads: tuple[int, ...] = (4, 8, 16, 32)  # of the attention of each stage
    window: Positive = 8  # places along each edge of what attends to each other
    hidden_ratio: float = 4.0  # width inside the MLPs, by that outside
    activation: Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "silu"] = "gelu"  # of the MLPs
    norm_epsilon: float = 1e-5  # of the LayerNorms of blocks
    qkv_bias: bool = True  # queries, keys and values have biases
    patch_norm: bool = True  # LayerNorm before the first block
    fusion: bool = False  # takes four spectrograms of a clip, and which of them are there
    fusion_ratio: Positive = 4  # the width, by that inside the weighing of crops
    bin_mean: float = 0.0  # dB, of all mel bins; where no checkpoint has statistics
    bin_deviation: float = 1.0  # dB, likewise
    # from places to one vector: their mean (of those with sound), attention to them
    pool: Literal["mean", "attention"] = "mean"
    dropout: float = 0.0  # share of residual updates' entries dropped in training
    remat: Literal["none", "dots", "full"] = "none"  # what backward recomputes
    unroll: Positive = 1  # pairs of blocks per iteration of the scan
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the operands of matmuls
    stream: Literal["float32", "bfloat16"] = "float32"  # of what is stored between them

    def __post_init__(self) -> None:
        if len(self.depths) != len(self.heads) or any(depth % 2 for depth in self.depths):
            raise ValueError(
                f"depths={self.depths} with heads={self.heads}: each stage has an even number of "
                "blocks and a number of heads"
            )
        if self.image_size % self.bins or self.image_size % self.patch_size:
            raise ValueError(
                f"image_size={self.image_size} is no multiple of bins={self.bins} and of "
                f"patch_size={self.patch_size}"
            )
        for stage in range(len(self.depths)):
            if self.grid % 2**stage or self.side(stage) % self.window:
                raise ValueError(
                    f"stage {stage} has {self.grid / 2**stage:g} places along each edge, which "
                    f"windows of {self.window} do not fill"
                )
        if self.side(len(self.depths) - 1) % self.folds:
            raise ValueError(f"the last stage's places do not divide into {self.folds} folds")

    def vectors(self, spectrograms: Count) -> Count:
        """P, of a clip that is there."""
        return self.side(len(self.depths) - 1) ** 2 * (spectrograms > 0)

    @property
    def folds(self) -> int:
        """Parts of the frames that lie one above the other."""
        return self.image_size // self.bins

    @property
    def window_frames(self) -> int:
        """Of the folded picture: the longest T."""
        return self.image_size * self.folds

    @property
    def grid(self) -> int:
        """Places along each edge of the first stage."""
        return self.image_size // self.patch_size

    def side(self, stage: int) -> int:
        """Places along each edge of a stage."""
        return self.grid // 2**stage

    def stage(self, number: int) -> transformer.Config:
        """The blocks of a stage; `layers` are pairs."""
        width = self.width * 2**number
        return transformer.Config(
            width=width,
            layers=self.depths[number] // 2,
            heads=self.heads[number],
            hidden=int(self.hidden_ratio * width),
            activation=self.activation,
            norm_epsilon=self.norm_epsilon,
            dropout=self.dropout,
            initialisation="bert",
            remat=self.remat,
            unroll=self.unroll,
            dtype=self.dtype,
            stream=self.stream,
            qkv_bias=self.qkv_bias,
        )


class Output(NamedTuple):
    """What the tower returns."""

    tokens: Float[Array, "B P D"]  # by frequency, then by time, which runs fastest
    pooled: Float[Array, "B D"]


def cut(x: Float[Array, "B H W D"], window: int) -> Float[Array, "C L D"]:
    """Windows in reading order, those of a row of the batch together."""
    batch, height, width, size = x.shape
    x = x.reshape(batch, height // window, window, width // window, window, size)
    return x.swapaxes(2, 3).reshape(-1, window * window, size)


def joined(x: Float[Array, "C L D"], window: int, side: int) -> Float[Array, "B H W D"]:
    """The way back."""
    across = side // window
    x = x.reshape(-1, across, across, window, window, x.shape[-1])
    return x.swapaxes(2, 3).reshape(-1, side, side, x.shape[-1])


def distances(window: int) -> np.ndarray:
    """Number of the distance between any two places of a window, [L, L]."""
    place = np.stack(np.meshgrid(np.arange(window), np.arange(window), indexing="ij"), -1)
    place = place.reshape(-1, 2)
    apart = place[:, None] - place[None] + window - 1  # rows and columns, from 0 on
    return apart[..., 0] * (2 * window - 1) + apart[..., 1]


def met(side: int, window: int, shift: int) -> Bool[np.ndarray, "C 1 L L"]:
    """Places of shifted windows that are neighbours, not brought together by the edge."""
    line = np.arange(side)
    part = (line >= side - window).astype(int) + (line >= side - shift)
    number = 3 * part[:, None] + part[None]
    across = side // window
    number = number.reshape(across, window, across, window).swapaxes(1, 2)
    number = number.reshape(across * across, window * window)
    return (number[:, :, None] == number[:, None])[:, None]


class Block(transformer.Block):
    """Pre-norm attention within windows, then an MLP."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "C L D"], mask: Bool[Array, "C 1 L L"] | None, window: int
    ) -> Float[Array, "C L D"]:
        c = self.config
        inits = transformer.initializers(c)
        drop = nn.Dropout(c.dropout, deterministic=not self.train)
        shape = ((2 * window - 1) ** 2, c.heads)
        table = embedding("distances", self, shape, 0.02, (None, "heads"))
        offset = table[distances(window)].transpose(2, 0, 1)[None]  # [1, heads, L, L]
        y = layer_norm(c, "attention_norm")(x)
        x = x + drop(self._attention("attention")(y, mask, offset=offset.astype(x.dtype)))
        mlp = Mlp(c.hidden, c.activation, inits.up, inits.down, inits.mlp_bias, c.dtype, name="mlp")
        return x + drop(mlp(layer_norm(c, "mlp_norm")(x)))


class Pair(nn.Module):
    """Two blocks, of which the second one's windows are shifted where there are several."""

    config: transformer.Config
    window: int
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "B H W D"]) -> tuple[Float[Array, "B H W D"], None]:
        window = self.window
        side = x.shape[1]
        plain = Block(self.config, self.train, name="plain")
        shifted = Block(self.config, self.train, name="shifted")
        y = plain(cut(x, window), None, window)
        if side == window:
            return joined(shifted(y, None, window), window, side), None
        shift = window // 2
        y = jnp.roll(joined(y, window, side), (-shift, -shift), (1, 2))
        neighbours = jnp.tile(jnp.asarray(met(side, window, shift)), (len(x), 1, 1, 1))
        y = joined(shifted(cut(y, window), neighbours, window), window, side)
        return jnp.roll(y, (shift, shift), (1, 2)), None


class Fusion(nn.Module):
    """Weighs the whole against the crops in each place (https://arxiv.org/abs/2009.14082)."""

    inner: int  # width inside
    dtype: str

    @nn.compact
    def __call__(
        self, whole: Float[Array, "B H W D"], crops: Float[Array, "B H W D"]
    ) -> Float[Array, "B H W D"]:
        both = whole + crops
        here = self._weighed(both, "local")
        everywhere = self._weighed(both.mean((1, 2), keepdims=True), "global")
        weight = nn.sigmoid(here + everywhere)
        return 2 * whole * weight + 2 * crops * (1 - weight)

    def _weighed(self, x: Array, name: str) -> Array:
        down = Dense((self.inner,), ("embed", "mlp"), dtype=self.dtype, name=f"{name}_down")
        up = Dense((x.shape[-1],), ("mlp", "embed"), dtype=self.dtype, name=f"{name}_up")
        x = nn.relu(FrozenNorm(name=f"{name}_down_norm")(down(x)))
        return FrozenNorm(name=f"{name}_up_norm")(up(x))


class Model(nn.Module):
    """Audio tower."""

    config: Config

    @nn.compact
    def __call__(
        self,
        audio: Float[Array, "B N T M"] | Float[Array, "B T M"],
        mask: Shaped[Array, "B N"] | Shaped[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Output:
        """Log-mel frames in dB of one window -> places and a pooled vector.

        Args:
          mask: with fusion, which spectrograms are there (True, True, True, True of a clip longer
            than the window, else True, False, False, False); without, which frames are sound: the
            others are seen, as silence or repetition, but not pooled. None: all.

        Raises:
          ValueError: frames or spectrograms that the model was not built for.
        """
        c = self.config
        audio = audio[:, None] if audio.ndim == 3 else audio
        self._check(audio)
        mask = as_mask(mask)
        x = self._patch_vectors(self._folded(audio), mask)
        if c.patch_norm:
            x = self._norm("patch_norm", x)
        x = nn.Dropout(c.dropout, deterministic=not train)(x)
        self.sow("intermediates", "patches", x)
        for number in range(len(c.depths)):
            arguments = (c.stage(number), c.window, train)
            x = Stage(*arguments, last=number == len(c.depths) - 1, name=f"stage_{number}")(x)
        x = self._norm("norm", x)
        # folds lie one above the other again, and go side by side: [B, folds, frequencies, W, D]
        x = x.reshape(len(x), c.folds, -1, *x.shape[2:]).swapaxes(1, 2)
        tokens = x.reshape(len(x), -1, x.shape[-1])
        valid = None
        if mask is not None and not c.fusion:
            times = tokens.shape[1] // x.shape[1]
            count = -(-mask.sum(1) * times // mask.shape[1])
            valid = jnp.tile(jnp.arange(times)[None] < count[:, None], (1, x.shape[1]))
        if c.pool == "mean":
            return Output(tokens, pooling.masked_mean(tokens, valid))
        body = c.stage(len(c.depths) - 1)
        return Output(tokens, pooling.AttentionPool(body, name="pool")(tokens, valid))

    def _folded(self, features: Float[Array, "B N T M"]) -> Float[Array, "B N I I"]:
        """Normalised, of the window's length, and folded into a square."""
        c = self.config
        batch, count = features.shape[:2]
        x = features.astype(c.stream).reshape(batch * count, *features.shape[2:])
        # the norm is the same for all frames of a bin, so it may come behind
        x = stretched(x, c.window_frames).reshape(batch, count, c.window_frames, c.bins)
        norm = FrozenNorm(mean=c.bin_mean, variance=c.bin_deviation**2, name="bin_norm")
        x = norm(x).reshape(batch, count, c.folds, c.image_size, c.bins)
        return x.swapaxes(3, 4).reshape(batch, count, c.image_size, c.image_size)

    def _patch_vectors(
        self, pictures: Float[Array, "B N I I"], mask: Bool[Array, "B N"] | None
    ) -> Float[Array, "B H W D"]:
        c = self.config
        batch = len(pictures)
        kwargs = dict(dtype=c.dtype, kernel_init=nn.initializers.lecun_normal())
        axes = ("patch", "embed")
        embed = Dense((c.width,), axes, name="patch_embedding", **kwargs)
        x = embed(patchify(pictures[:, 0, ..., None], c.patch_size))
        x = x.reshape(batch, c.grid, c.grid, c.width)
        if not c.fusion:
            return x
        # a patch of a crop is three times as wide, so that three crops are as wide as the whole
        columns = c.grid // CROPS
        wide = CROPS * c.patch_size
        crops = pictures[:, 1:, :, : columns * wide]
        crops = crops.reshape(batch, CROPS, c.grid, c.patch_size, columns, wide)
        crops = crops.transpose(0, 2, 1, 4, 3, 5).reshape(batch, c.grid, CROPS * columns, -1)
        crops = Dense((c.width,), axes, name="crop_embedding", **kwargs)(crops)
        crops = jnp.pad(crops, ((0, 0), (0, 0), (0, c.grid - CROPS * columns), (0, 0)))
        fused = Fusion(c.width // c.fusion_ratio, c.dtype, name="fusion")(x, crops)
        if mask is None:
            return fused
        return jnp.where(mask[:, 1, None, None, None], fused, x)

    def _norm(self, name: str, x: Array) -> Array:
        """LayerNorm outside of blocks, whose epsilon is always the same."""
        return layer_norm(dataclasses.replace(self.config.stage(0), norm_epsilon=1e-5), name)(x)

    def _check(self, features: Array) -> None:
        c = self.config
        count = 1 + CROPS * c.fusion
        _, given, frames, bins = features.shape
        if given != count or frames > c.window_frames or bins != c.bins:
            raise ValueError(
                f"the model was built for {count} spectrograms of at most {c.window_frames} "
                f"frames of {c.bins} bins, got {given} of {frames} of {bins}"
            )


class Stage(nn.Module):
    """Pairs of blocks, then half the places along each edge, unless it is the last."""

    config: transformer.Config
    window: int
    train: bool
    last: bool

    @nn.compact
    def __call__(self, x: Float[Array, "B H W D"]) -> Float[Array, "B I J E"]:
        c = self.config
        x, _ = run_blocks(self, Pair, (c, self.window, self.train), x, remat=True)
        x = x if self.last else self._merged(x)
        self.sow("intermediates", "hidden_states", x)
        return x

    @nn.compact
    def _merged(self, x: Float[Array, "B H W D"]) -> Float[Array, "B I J E"]:
        """Four neighbours made one place, twice as wide."""
        c = self.config
        batch, height, width, size = x.shape
        x = x.reshape(batch, height // 2, 2, width // 2, 2, size)
        # of four neighbours the left ones first, the upper one of each
        x = x.transpose(0, 1, 3, 4, 2, 5).reshape(batch, height // 2, width // 2, 4 * size)
        x = layer_norm(dataclasses.replace(c, norm_epsilon=1e-5), "merge_norm", axis=None)(x)
        init = nn.initializers.normal(0.02)
        return Dense(
            (2 * size,), (None, "embed"), bias=False, kernel_init=init, dtype=c.dtype, name="merge"
        )(x)


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row: a window."""
    count = 1 + CROPS * config.fusion
    return (jax.ShapeDtypeStruct((1, count, config.window_frames, config.bins), jnp.float32),)


_TINY = Config(32, 128, width=32, depths=(2, 2, 2), heads=(2, 4, 8), window=4)

VARIANTS = {
    "tiny": _TINY,  # windows of 512 frames of 32 bins
    "tiny-fusion": dataclasses.replace(_TINY, fusion=True),
    "T": Config(),  # laion/clap-htsat-unfused
    "T-fusion": Config(fusion=True),  # laion/clap-htsat-fused
    "B": Config(width=128, depths=(2, 2, 12, 2)),  # laion/larger_clap_general
}
