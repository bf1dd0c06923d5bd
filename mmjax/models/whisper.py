"""Whisper: log-mel frames -> text (Radford et al. 2022, https://arxiv.org/abs/2212.04356).

* Two convolutions halve the frames, pre-norm blocks encode them; the decoder's blocks attend to the
  text so far, then to the sound. Its token table is also its output.
* Keys have no bias, so the encoder has blocks of its own as well. Its positions are sinusoids, kept
  among the parameters because files hold them; no gradient reaches them.
* The sound's keys and values are computed once a clip (`prefill`); `extend` reads new tokens.
* A window shorter than 30 seconds is taken too, with the first positions; the published weights
  were never trained on that.

Letters: B batch, T frames, M mel bins, S encoded frames, L tokens, D width, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers import cache, transformer
from mmjax.layers.attention import Attention
from mmjax.layers.cache import Cache, KeyValues, Places
from mmjax.layers.convolution import Convolution
from mmjax.layers.placement import lookup, rows_apart
from mmjax.layers.transformer import Mlp, embedding, layer_norm, stacked
from mmjax.typing import Array, Bool, Float, Int

STACK = transformer.Config(width=384, layers=4, heads=6, hidden=1536)


@dataclasses.dataclass(frozen=True)
class Config:
    bins: int = 80  # M
    frames: int = 3_000  # of a window, 10 ms each: the longest T
    vocab_size: int = 51_865  # V
    context_length: int = 448  # tokens of a window at most, prompt included
    encoder: transformer.Config = STACK  # blocks over the sound
    decoder: transformer.Config = STACK  # blocks over the text, as wide as the encoder's
    start_id: int | None = None  # token that opens a text for its tokenizer
    end_ids: tuple[int, ...] = ()  # tokens that end one
    padding_id: int | None = None  # token that fills up rows
    decoder_start_id: int | None = None  # <|startoftranscript|>, the first that the decoder reads


class Output(NamedTuple):
    """What the whole model returns."""

    logits: Float[Array, "B L V"]  # of the token behind each one, float32
    tokens: Float[Array, "B L D"]  # after the decoder's norm
    encoded: Float[Array, "B S D"]  # after the encoder's norm


class Past(NamedTuple):
    """Everything that `extend` needs of the past."""

    text: Cache
    sound: KeyValues  # [layers, B, S, N, H], the same from step to step


class Step(NamedTuple):
    """What the model says to new tokens."""

    tokens: Float[Array, "B L D"]  # after the decoder's norm
    logits: Float[Array, "B L V"]  # of the token behind each one, float32
    cache: Past


def sinusoids(length: int, width: int) -> Float[Array, "S D"]:
    """Sines, then cosines, of wavelengths from 2 pi to 10,000 * 2 pi frames."""
    steps = max(width // 2 - 1, 1)
    rates = jnp.exp(-jnp.log(10_000.0) / steps * jnp.arange(width // 2))
    angles = jnp.arange(length)[:, None] * rates[None]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)


class Block(nn.Module):
    """x + attention(norm(x)), then x + cross(norm(x), sound), then x + mlp(norm(x)); the encoder's
    blocks have no second step."""

    config: transformer.Config
    train: bool

    def _attention(self, name: str) -> Attention:
        c, init = self.config, nn.initializers.normal(0.02)
        return Attention(c.heads, init, init, c.dtype, key_bias=False, name=name)

    def _update(
        self, x: Array, read: Callable[..., tuple], hear: Callable[..., Array] | None
    ) -> tuple[Array, Any]:
        c, init = self.config, nn.initializers.normal(0.02)
        drop = nn.Dropout(c.dropout, deterministic=not self.train)
        mlp = Mlp(
            c.hidden, c.activation, init, init, nn.initializers.zeros_init(), c.dtype, name="mlp"
        )
        x = rows_apart(x)
        y, kept = read(self._attention("attention"), layer_norm(c, "attention_norm")(x))
        x = x + drop(y)
        if hear is not None:
            x = x + drop(hear(self._attention("cross"), layer_norm(c, "cross_norm")(x)))
        x = x + drop(mlp(layer_norm(c, "mlp_norm")(x)))
        self.sow("intermediates", "hidden", x)
        return x, kept


class EncoderBlock(Block):
    """Of the encoder: every frame sees every other."""

    @nn.compact
    def __call__(self, x: Float[Array, "B S D"]) -> tuple[Float[Array, "B S D"], None]:
        # (carry, nothing to collect): what scan expects
        return self._update(x, lambda attention, y: (attention(y), None), None)


class DecoderBlock(Block):
    """Of the decoder, for whole texts."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "B L D"], places: Places, encoded: Float[Array, "B S D"]
    ) -> tuple[Float[Array, "B L D"], None]:
        return self._update(
            x,
            lambda attention, y: (attention(y, places.mask), None),
            lambda cross, y: cross(y, context=encoded),
        )


class CachedBlock(Block):
    """The same for new tokens, with the past's and the sound's keys and values at hand."""

    @nn.compact
    def __call__(
        self,
        carry: tuple[Array, KeyValues],
        layer: Int[Array, ""],
        sound: KeyValues,
        places: Places,
    ) -> tuple[tuple[Array, KeyValues], None]:
        x, past = carry
        return self._update(
            x,
            lambda attention, y: attention.extend(y, past, layer, places.start, places.mask),
            lambda cross, y: cross.attend(y, sound),
        ), None


class SoundBlock(Block):
    """Only the keys and values of the sound."""

    @nn.compact
    def __call__(self, encoded: Float[Array, "B S D"]) -> tuple[Array, KeyValues]:
        return encoded, self._attention("cross").keys_values(encoded)


def stack(
    block: type[Block], config: transformer.Config, train: bool, axes: Any = nn.broadcast
) -> nn.Module:
    """The blocks of a side, as the submodule "blocks"; `axes`: of what they take besides x."""
    return stacked(block, config, axes, remat=train)(config, train, name="blocks")


class Encoder(nn.Module):
    """Frames -> half as many vectors."""

    config: Config

    @nn.compact
    def __call__(
        self, features: Float[Array, "B T M"], *, train: bool = False
    ) -> Float[Array, "B S D"]:
        c, t = self.config, self.config.encoder
        if features.shape[1] > c.frames or features.shape[2] != c.bins:
            raise ValueError(
                f"the model was built for at most {c.frames} frames of {c.bins} bins, got "
                f"{features.shape[1]} of {features.shape[2]}"
            )
        x, kinds = features.astype(t.stream), dict(padding=(1, 1), dtype=t.dtype)
        x = nn.gelu(Convolution(t.width, 3, name="conv1", **kinds)(x), approximate=False)
        x = nn.gelu(Convolution(t.width, 3, stride=2, name="conv2", **kinds)(x), approximate=False)
        init = nn.with_logical_partitioning(
            lambda key, shape, dtype: sinusoids(*shape).astype(dtype), ("position", "embed")
        )
        positions = self.param("positions", init, ((c.frames + 1) // 2, t.width), jnp.float32)
        positions = jax.lax.stop_gradient(positions)[: x.shape[1]]
        x = nn.Dropout(t.dropout, deterministic=not train)(x + positions.astype(x.dtype)[None])
        x, _ = stack(EncoderBlock, t, train)(x)
        return layer_norm(t, "norm")(x)


class Decoder(nn.Module):
    """Tokens and encoded sound -> a vector and logits for each token."""

    config: Config

    def __call__(
        self,
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"],
        encoded: Float[Array, "B S D"],
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "B L D"], Float[Array, "B L V"]]:
        def blocks(x: Array, places: Places) -> tuple[Array, None]:
            return stack(DecoderBlock, self.config.decoder, train)(x, places, encoded)

        _, places = cache.claim(mask)
        return self._read(ids, places, blocks, train)[:2]

    @nn.compact
    def hear(self, encoded: Float[Array, "B S D"]) -> KeyValues:
        """Keys and values of all layers, [layers, B, S, N, H]."""
        return stack(SoundBlock, self.config.decoder, False)(encoded)[1]

    def extend(self, ids: Int[Array, "B L"], mask: Bool[Array, "B L"], past: Past) -> Step:
        def blocks(x: Array, places: Places) -> tuple[Array, KeyValues]:
            t = self.config.decoder
            cached = stack(CachedBlock, t, False, (0, 0, nn.broadcast))
            return cached((x, past.text.past), jnp.arange(t.layers), past.sound, places)[0]

        text, places = cache.claim(mask, past.text)
        tokens, logits, kept = self._read(ids, places, blocks, False)
        return Step(tokens, logits, past._replace(text=text._replace(past=kept)))

    @nn.compact
    def _read(
        self, ids: Array, places: Places, blocks: Callable[[Array, Places], tuple], train: bool
    ) -> tuple[Array, Array, Any]:
        c, t = self.config, self.config.decoder
        if ids.shape[1] > c.context_length:
            raise ValueError(f"{ids.shape[1]} tokens do not fit the context, {c.context_length}")
        table = embedding("tokens", self, (c.vocab_size, t.width), 0.02, ("vocab", "embed"))
        shape = (c.context_length, t.width)
        positions = embedding("positions", self, shape, 0.01, ("position", "embed"))
        x = lookup(table, ids) + positions[places.position]
        x = nn.Dropout(t.dropout, deterministic=not train)(x.astype(t.stream))
        x, kept = blocks(x, places)
        x = layer_norm(t, "norm")(x)
        operands = x.astype(t.dtype), table.astype(t.dtype)
        logits = jnp.einsum("BLD,VD->BLV", *operands, preferred_element_type=jnp.float32)
        return x, logits, kept


class Model(nn.Module):
    """Encoder and decoder."""

    config: Config

    def setup(self):
        c = self.config
        if c.encoder.width != c.decoder.width:
            raise ValueError(
                f"the encoder's width {c.encoder.width} is not the decoder's {c.decoder.width}"
            )
        self.encoder = Encoder(c)
        self.decoder = Decoder(c)

    def encode_audio(
        self, features: Float[Array, "B T M"], *, train: bool = False
    ) -> Float[Array, "B S D"]:
        """Log-mel frames -> one vector for each two of them."""
        return self.encoder(features, train=train)

    def decode(
        self,
        ids: Int[Array, "B L"],
        encoded: Float[Array, "B S D"],
        mask: Bool[Array, "B L"] | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "B L D"], Float[Array, "B L V"]]:
        """Token vectors and logits of whole texts; True in the mask = a real token, padding on
        either side."""
        return self.decoder(ids, _all(ids) if mask is None else mask, encoded, train=train)

    def __call__(
        self,
        features: Float[Array, "B T M"],
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"] | None = None,
        *,
        train: bool = False,
    ) -> Output:
        """Logits for given texts (teacher forcing)."""
        encoded = self.encode_audio(features, train=train)
        tokens, logits = self.decode(ids, encoded, mask, train=train)
        return Output(logits, tokens, encoded)

    def prefill(
        self,
        ids: Int[Array, "B L"],
        encoded: Float[Array, "B S D"],
        mask: Bool[Array, "B L"] | None = None,
        *,
        slots: int,
    ) -> Step:
        """Reads the prompts of a batch, padded on either side.

        Args:
          slots: tokens to make room for, prompt and padding included; `context_length` at most.
        """
        c, t = self.config, self.config.decoder
        if slots > c.context_length:
            raise ValueError(f"{slots} slots are more than the context length {c.context_length}")
        size = t.width // t.heads
        empty = cache.empty(t.layers, len(ids), slots, t.heads, size, t.stream)
        return self.extend(ids, Past(empty, self.decoder.hear(encoded)), mask)

    def extend(
        self, ids: Int[Array, "B L"], cache: Past, mask: Bool[Array, "B L"] | None = None
    ) -> Step:
        """Reads more tokens of each row; what it says equals the whole text's in one go."""
        return self.decoder.extend(ids, _all(ids) if mask is None else mask, cache)


def _all(ids: Array) -> Array:
    return jnp.ones(ids.shape, bool)


def _size(width: int, layers: int, heads: int, decoder_layers: int = 0, **fields: Any) -> Config:
    stack = dataclasses.replace(STACK, width=width, layers=layers, heads=heads, hidden=4 * width)
    decoder = dataclasses.replace(stack, layers=decoder_layers or layers)
    return Config(encoder=stack, decoder=decoder, **fields)


ENGLISH = dict(vocab_size=51_864)  # its vocabulary is GPT-2's


def inputs(config: Config) -> tuple[Array, ...]:
    """What the model is called with to make its parameters, one row."""
    return jnp.zeros((1, config.frames, config.bins)), jnp.zeros((1, 1), jnp.int32)


VARIANTS = {
    "tiny.en": _size(384, 4, 6, **ENGLISH),
    "tiny": _size(384, 4, 6),
    "base.en": _size(512, 6, 8, **ENGLISH),
    "base": _size(512, 6, 8),
    "small.en": _size(768, 12, 12, **ENGLISH),
    "small": _size(768, 12, 12),
    "medium.en": _size(1024, 24, 16, **ENGLISH),
    "medium": _size(1024, 24, 16),
    "large-v2": _size(1280, 32, 20),
    "large-v3": _size(1280, 32, 20, vocab_size=51_866, bins=128),
    "large-v3-turbo": _size(1280, 32, 20, 4, vocab_size=51_866, bins=128),
}
