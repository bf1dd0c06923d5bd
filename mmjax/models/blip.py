"""BLIP: one text model that is compared with an image, matched to it, and describes it.

Li et al. 2022, https://arxiv.org/abs/2201.12086.

* The image tower is a ViT; its tokens are what texts attend to.
* The text model is a BERT whose blocks may attend to a context: alone it encodes a text for
  comparison, beside an image it encodes both for matching (or for a question's answer), and with
  a causal self-attention it writes captions. Pre-training shares everything between these but the
  self-attention of reading and that of writing.
* The decoder is called as every decoder of the house is (layers/decoding.py). Its context is the
  image's tokens (captions), or the tokens of a question that was read beside the image (answers).
* A text opens with [CLS] to be compared, with [ENC] to be read beside an image, with [DEC] to be
  written; who calls puts them there.

Letters: B batch, P tokens of an image, L tokens of a text, Q places asked for, C positions of a
    context, D width of texts, E width of a context or of embeddings, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers import transformer
from mmjax.layers.cache import Cache, KeyValues
from mmjax.layers.decoding import Inputs, Step, real_tokens
from mmjax.layers.dense import Dense
from mmjax.layers.placement import lookup
from mmjax.layers.places import LogitsAt, Places, whole_places
from mmjax.layers.transformer import embedding, layer_norm
from mmjax.models import bert, gpt2, vit
from mmjax.models.clip import unit
from mmjax.typing import Array, Float, Int, Shaped

# The temperature of the contrastive loss stays between 0.001 and 0.5, as in the released code.
SCALES = (1 / 0.5, 1 / 0.001)


@dataclasses.dataclass(frozen=True)
class Config:
    image: vit.Config = vit.VARIANTS["tiny/16"]  # the image tower
    vocab_size: int = 30_524  # V: BERT's words, then [DEC] and [ENC]
    context_length: int = 512  # rows of the position table
    text: transformer.Config = bert.BODY  # the blocks that read and write texts
    # encoder: texts are read (retrieval); decoder: written (captions); both: read by one and
    # written by another (answers); shared: by one, with a self-attention for each (pre-training)
    texts: Literal["encoder", "decoder", "both", "shared"] = "shared"
    embedding: int = 256  # E, where images and texts are compared; 0: they are not
    matching: bool = True  # a head says whether an image and a text belong together
    # factor on cosines at the start of training; None: the model has none (checkpoints of the hub)
    scale_init: float | None = 1 / 0.07
    tied: bool = True  # the matrix of the decoder's head is the token table
    start_id: int | None = 30_522  # [DEC], which opens a text that is written
    match_id: int | None = 30_523  # [ENC], which opens a text that is read beside an image
    end_ids: tuple[int, ...] = (102,)  # [SEP], which ends a text
    padding_id: int | None = 0  # token that fills up rows

    def __post_init__(self):
        if self.text.norm != "post":
            raise ConfigError("BLIP's blocks of texts are BERT's: set text.norm to 'post'")
        if self.texts == "decoder" and (self.embedding or self.matching):
            raise ConfigError(
                "texts='decoder' reads no texts to compare or to match: set embedding=0 and "
                "matching=False"
            )
        if self.scale_init is not None and not self.embedding:
            raise ConfigError("embedding=0 compares nothing: set scale_init=None")

    @property
    def reads(self) -> bool:
        """Whether there is an encoder of texts."""
        return self.texts != "decoder"

    @property
    def writes(self) -> bool:
        """Whether there is a decoder."""
        return self.texts != "encoder"


class Output(NamedTuple):
    """What the whole model returns; None where it has no such part."""

    image_tokens: Float[Array, "B P E"]  # after the image tower's norm
    image_embedding: Float[Array, "B E"] | None  # unit vectors
    text_embedding: Float[Array, "B E"] | None
    fused: Float[Array, "B L D"] | None  # the text as it was read beside the image
    matching: Float[Array, "B 2"] | None  # logits, [:, 1]: image and text belong together
    tokens: Float[Array, "B L D"] | None  # of the decoder, after its last block
    logits: Float[Array, "B Q V"] | None  # of the token behind each, float32


class Text(gpt2.Model):
    """A BERT that reads or writes, alone or beside a context.

    It is called as GPT-2 is, with BERT's norms and BERT's head for words.
    """

    shared: bool = False  # reading and writing have a self-attention each, and share the rest

    def setup(self):
        c = self.config
        width = c.transformer.width
        self.table = embedding("tokens", self, (c.vocab_size, width), 0.02, ("vocab", "embed"))
        axes = ("position", "embed")
        self.positions = embedding("positions", self, (c.context_length, width), 0.02, axes)
        self.embedding_norm = layer_norm(c.transformer, None)
        self.dropout = nn.Dropout(c.transformer.dropout)
        self.head = bert.WordHead(bert.Config(transformer=c.transformer, tied=c.tied))

    def norm(self, tokens: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
        """Nothing: the last block ends in its own."""
        return tokens

    def logits(self, tokens: Float[Array, "B L D"]) -> Float[Array, "B L V"]:
        """Of the token after each, from what leaves the last block."""
        return self.head(tokens, self.table)

    def encode(
        self,
        ids: Int[Array, "B L"],
        mask: Shaped[Array, "B L"] | None = None,
        *,
        context: Float[Array, "B C E"] | None = None,
        context_mask: Shaped[Array, "B C"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B L D"]:
        """Texts whose tokens see each other both ways, and the context where there is one.

        Raises:
          ValueError: more tokens than the context length.
        """
        self._check(ids)
        valid = real_tokens(ids, mask)
        places = whole_places(valid, prefix=jnp.ones_like(valid))
        x = self._first(ids, places, train)
        return self._stack(train, "attention")(x, places.mask, context, context_mask)

    def _body(self, train: bool) -> transformer.Transformer:
        return self._stack(train, "causal_attention" if self.shared else "attention")

    @nn.compact
    def _stack(self, train: bool, attention: str) -> transformer.Transformer:
        t = self.config.transformer
        return transformer.Transformer(t, train, attention, name="transformer")

    def _first(self, inputs: Array, places: Places, train: bool) -> Array:
        t = self.config.transformer
        x = self.embed(inputs) if inputs.ndim == 2 else inputs
        x = x + lookup(self.positions, places.position, nan_outside=True)
        x = self.embedding_norm(x.astype(t.stream))
        return self.dropout(x, deterministic=not train)


class Model(nn.Module):
    """Image tower, text model and heads."""

    config: Config

    def setup(self):
        c = self.config
        words = gpt2.Config(c.vocab_size, c.context_length, c.text, c.tied)
        self.image = vit.Model(c.image)
        if c.reads:
            self.text = Text(words, shared=c.texts == "shared")
        if c.texts in ("decoder", "both"):
            self.decoder = Text(words)
        if c.embedding:
            self.image_head = self._linear(c.embedding, c.image.transformer.dtype)
            self.text_head = self._linear(c.embedding, c.text.dtype)
        if c.matching:
            self.match_head = self._linear(2, c.text.dtype)
        if c.scale_init is not None:
            init = nn.initializers.constant(math.log(c.scale_init))
            self.log_scale = self.param("log_scale", init, (), jnp.float32)

    def __call__(
        self,
        images: Float[Array, "B H W C"],
        ids: Int[Array, "B L"],
        mask: Shaped[Array, "B L"] | None = None,
        answers: Int[Array, "B A"] | None = None,
        answer_mask: Shaped[Array, "B A"] | None = None,
        *,
        logits_at: LogitsAt = "all",
        train: bool = False,
    ) -> Output:
        """All that the model says of images and texts.

        Args:
          answers: texts that the decoder is given beside the questions `ids`; None: it is given
            `ids` beside the images.
        """
        c = self.config
        image_tokens = self.image_tokens(images, train=train)
        fused = None
        image_embedding = None
        text_embedding = None
        matching = None
        if c.embedding:
            self.scale()
            image_embedding = self.image_embedding(image_tokens)
            text_embedding = self.encode_text(ids, mask, train=train)
        if c.reads:
            fused = self.fuse(ids, mask, context=image_tokens, train=train)
        if c.matching:
            matching = self.matching(fused, mask)
        written = gpt2.Output(None, None)
        if c.writes:
            kwargs = dict(logits_at=logits_at, train=train)
            if answers is None:
                written = self.decode(ids, mask, context=image_tokens, **kwargs)
            else:
                kwargs |= dict(context=fused, context_mask=mask)
                written = self.decode(answers, answer_mask, **kwargs)
        return Output(image_tokens, image_embedding, text_embedding, fused, matching, *written)

    def image_tokens(
        self, images: Float[Array, "B H W C"], *, train: bool = False
    ) -> Float[Array, "B P E"]:
        """Normalised pixels -> the tokens that texts attend to, the class token first."""
        return self.image(images, train=train).tokens

    def image_embedding(self, image_tokens: Float[Array, "B P D"]) -> Float[Array, "B E"]:
        """Unit vectors of images, from their class token, or from the mean of all where the tower
        has none."""
        self._need(self.config.embedding, "compares nothing: it has embedding=0")
        classes = self.config.image.learned_tokens
        pooled = image_tokens[:, 0] if classes else image_tokens.mean(1)
        return unit(self.image_head(pooled))

    def encode_image(
        self, images: Float[Array, "B H W C"], *, train: bool = False
    ) -> Float[Array, "B E"]:
        """Normalised pixels -> unit vectors."""
        return self.image_embedding(self.image_tokens(images, train=train))

    def encode_text(
        self,
        ids: Int[Array, "B L"],
        mask: Shaped[Array, "B L"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B E"]:
        """Texts that open with [CLS] -> unit vectors."""
        self._need(self.config.embedding, "compares nothing: it has embedding=0")
        tokens = self.text.encode(ids, mask, train=train)
        return unit(self.text_head(_first_token(tokens, mask)))

    def scale(self) -> Float[Array, ""] | None:
        """The factor on the cosines of the contrastive loss; None where the model has none."""
        if self.config.scale_init is None:
            return None
        low, high = SCALES
        return jnp.exp(jnp.clip(self.log_scale, math.log(low), math.log(high)))

    def fuse(
        self,
        ids: Int[Array, "B L"],
        mask: Shaped[Array, "B L"] | None = None,
        *,
        context: Float[Array, "B C E"],
        context_mask: Shaped[Array, "B C"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B L D"]:
        """Texts as they are read beside a context, which is the tokens of their images.

        For matching they open with [ENC]; of a question this is what its answer attends to.
        """
        self._need(self.config.reads, "reads no texts: it has texts='decoder'")
        return self.text.encode(ids, mask, context=context, context_mask=context_mask, train=train)

    def matching(
        self, fused: Float[Array, "B L D"], mask: Shaped[Array, "B L"] | None = None
    ) -> Float[Array, "B 2"]:
        """Logits of what `fuse` returned, float32; [:, 1]: image and text belong together."""
        self._need(self.config.matching, "has no head that matches: it has matching=False")
        return self.match_head(_first_token(fused, mask)).astype(jnp.float32)

    def embed(self, ids: Int[Array, "B L"]) -> Float[Array, "B L D"]:
        """Vectors of tokens, before positions."""
        return self._writer().embed(ids)

    def logits(self, tokens: Float[Array, "B L D"]) -> Float[Array, "B L V"]:
        """Of the token after each, from what leaves the decoder's last block."""
        return self._writer().logits(tokens)

    def decode(
        self,
        inputs: Inputs,
        mask: Shaped[Array, "B L"] | None = None,
        *,
        context: Float[Array, "B C E"] | KeyValues,
        context_mask: Shaped[Array, "B C"] | None = None,
        segment: Int[Array, "B L"] | None = None,
        logits_at: LogitsAt = "all",
        train: bool = False,
    ) -> gpt2.Output:
        """Whole texts that open with [DEC], beside tokens of images or questions."""
        return self._writer()(
            inputs, mask, segment=segment, context=context, context_mask=context_mask,
            logits_at=logits_at, train=train,
        )  # fmt: skip

    def cross_kv(self, context: Float[Array, "B C E"]) -> KeyValues:
        """Keys and values that the decoder's layers make of a context."""
        return self._writer().cross_kv(context)

    def prefill(
        self,
        inputs: Inputs,
        mask: Shaped[Array, "B L"] | None = None,
        *,
        slots: int,
        context: Float[Array, "B C E"] | KeyValues,
        context_mask: Shaped[Array, "B C"] | None = None,
        logits_at: LogitsAt = "all",
        cache_dtype: str | None = None,
    ) -> Step:
        """Reads how texts begin, [DEC] at least, into a new cache of `slots` tokens a row."""
        return self._writer().prefill(
            inputs, mask, slots=slots, context=context, context_mask=context_mask,
            logits_at=logits_at, cache_dtype=cache_dtype,
        )  # fmt: skip

    def extend(
        self,
        inputs: Inputs,
        cache: Cache,
        mask: Shaped[Array, "B L"] | None = None,
        *,
        logits_at: LogitsAt = "all",
    ) -> Step:
        """Reads the next tokens of each row."""
        return self._writer().extend(inputs, cache, mask, logits_at=logits_at)

    def _writer(self) -> Text:
        self._need(self.config.writes, "writes no texts: it has texts='encoder'")
        return self.text if self.config.texts == "shared" else self.decoder

    def _need(self, part: Any, lack: str) -> None:
        if not part:
            raise ConfigError(f"this BLIP {lack}")

    def _linear(self, features: int, dtype: str) -> Dense:
        init = nn.initializers.normal(0.02)
        return Dense((features,), ("embed", None), kernel_init=init, dtype=dtype)


def _first_token(
    tokens: Float[Array, "B L D"], mask: Shaped[Array, "B L"] | None
) -> Float[Array, "B D"]:
    """The first real token of each row."""
    if mask is None:
        return tokens[:, 0]
    first = jnp.argmax(mask, axis=1)
    return jnp.take_along_axis(tokens, first[:, None, None], axis=1)[:, 0]


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    ids = jax.ShapeDtypeStruct((1, 4), jnp.int32)
    if config.texts == "both":
        return (*vit.inputs(config.image), ids, None, ids)
    return (*vit.inputs(config.image), ids)


def _size(image: str, edge: int = 224, **fields: Any) -> Config:
    tower = vit.VARIANTS[image]
    body = dataclasses.replace(tower.transformer, initialisation="bert")
    return Config(dataclasses.replace(tower, image_size=edge, transformer=body), **fields)


_TINY = dataclasses.replace(bert.BODY, width=192, layers=4, heads=3, hidden=768)
_CAPTIONS = dict(edge=384, texts="decoder", embedding=0, matching=False, scale_init=None)
_ANSWERS = dict(_CAPTIONS, texts="both")
_RETRIEVAL = dict(edge=384, texts="encoder", scale_init=None)
VARIANTS = {
    "tiny": _size("tiny/16", text=_TINY),
    "base": _size("B/16"),
    "large": _size("L/16"),  # with the text model of "base"
    # as they were published, tuned for one use
    "base-captions": _size("B/16", **_CAPTIONS),
    "base-answers": _size("B/16", **_ANSWERS),
    "base-retrieval": _size("B/16", **_RETRIEVAL),
    "large-captions": _size("L/16", **_CAPTIONS),
    "large-retrieval": _size("L/16", **_RETRIEVAL),
}
