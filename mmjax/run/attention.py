"""Where a model looks for each word that it says about a picture.

    sheet = look(mmjax.load("Salesforce/blip-image-captioning-base"), "cat.png")
    sheet = look(mmjax.restore("runs/vlm"), ["cat.png", "dog.png"], "which one sleeps?")
    sheet.save("attention.png")  # a notebook shows it as it is

* Of BLIP, the cross-attention to the image's tokens; of a model that answers through what it read
  of a question, that of the answer to the question times that of the question to the image.
* Of a vision-language GPT, the self-attention to the pictures of the prompt.
* What the numbers are: generation/attention.py. What is drawn:
  evaluation/drawing/attention_sheet.py.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from mmjax.config import ConfigError
from mmjax.evaluation.drawing import attention_sheet
from mmjax.evaluation.drawing.attention_sheet import Looked
from mmjax.generation import attention
from mmjax.generation.generate import Generator
from mmjax.generation.options import Options
from mmjax.models import blip
from mmjax.processors.inference import Inference
from mmjax.processors.raw import several
from mmjax.run.blip import Blip

LENGTH = 20  # tokens of a text at most, where no options are given

_compiled = {
    function: jax.jit(function, static_argnames=("model", "layer"))
    for function in (attention.over_context, attention.over_question, attention.over_pictures)
}


def look(
    model: Inference,
    images: Any,
    question: str = "",
    options: Options | None = None,
    *,
    layer: int | None = None,
    seed: int = 0,
) -> Image.Image:
    """The sheet: the pictures, and on them the attention of each word that the model says.

    Args:
      model: a BLIP that writes, or a vision-language GPT, loaded or restored.
      images: one, or several of one prompt: a path, encoded bytes, a Pillow image, an array.
      question: about them; "": a caption, which BLIP writes.
      options: of the text; None: the likeliest words.
      layer: whose attention it is, the mean over its heads; None: the mean over all layers.
      seed: of the random numbers, where the options ask for any.

    Raises:
      ConfigError: a model that cannot be asked this, or that has no such layer.
      CorruptExample: a picture that cannot be used.
    """
    looked = attended(model, images, question, options, layer=layer, seed=seed)
    which = "all layers" if layer is None else f"layer {layer}"
    return attention_sheet.draw([looked], f"Where the model looked for each word, {which}")


def attended(
    model: Inference,
    images: Any,
    question: str = "",
    options: Options | None = None,
    *,
    layer: int | None = None,
    seed: int = 0,
) -> Looked:
    """What `look` draws: the words, and of each its attention to each patch of each picture."""
    config = model.model.config
    if isinstance(config, blip.Config) and config.writes:
        prompt, picture, through = _blip(model, several(images), question, layer)
        maps_of = functools.partial(_compiled[attention.over_context], model.model)
    elif attention.shows_places(config) and hasattr(model.processor, "chat"):
        prompt, picture = _chat(model, several(images), question)
        through = None
        maps_of = functools.partial(_compiled[attention.over_pictures], model.model)
    else:
        raise ConfigError(
            f"a {type(config).__module__.rsplit('.', 1)[-1]} says nothing about the places of a "
            "picture: give a BLIP that writes texts, or a language model with eyes"
        )
    options = options or Options(max_new_tokens=LENGTH, end_ids=_ends(model))
    variables = {"params": model.variables["params"]}
    said = Generator(model.model, variables)(prompt, options, seed)
    tokens = said.tokens[:, 0]
    mask = ~np.isin(tokens, options.end_ids)
    mask &= np.arange(tokens.shape[1])[None] < said.lengths[:, :1]
    maps = maps_of(variables, prompt, tokens, mask, layer=layer)
    if through is not None:
        maps = jnp.einsum("BNL,BLP->BNP", maps, through)
    if isinstance(config, blip.Config):
        maps = attention.on_picture(maps, config.image)
    decode = model.processor.decode
    real = tokens[0][mask[0]].tolist()
    words, found = attention_sheet.by_word(
        np.asarray(maps[0], np.float32), len(real), lambda count: decode(real[:count])
    )
    return Looked(picture, found, words, question)


def _blip(
    model: Inference, images: list[Any], question: str, layer: int | None
) -> tuple[dict[str, Any], np.ndarray, Any]:
    """The prompt, the picture as it is seen, and what the question saw of it, or None."""
    if len(images) != 1:
        raise ConfigError(f"BLIP describes one picture, not {len(images)}: ask it of each")
    describer = Blip(model)
    pixels = describer.pixels(images)
    picture = describer.processor.show({"image": pixels}, 0)["image"]
    image_tokens = describer.image_tokens(pixels)
    prompt = {**describer.prompt([""]), "context": image_tokens}
    texts = describer.config.texts
    if texts != "both":
        if question:
            raise ConfigError(f"this BLIP answers no questions: it has texts={texts!r}, not 'both'")
        return prompt, picture, None
    # the hub's class of answers leaves [CLS] where [ENC] was in training
    of_hub = getattr(model, "family", "native") == "blip"
    ids, mask = describer.ids([question], beside_image=not of_hub)
    prompt["context"] = describer.fuse(ids, mask, image_tokens)
    prompt["context_mask"] = mask
    function = _compiled[attention.over_question]
    through = function(describer.model, describer.variables, ids, mask, image_tokens, layer=layer)
    return prompt, picture, through


def _chat(
    model: Inference, images: list[Any], question: str
) -> tuple[dict[str, Any], np.ndarray]:
    """The prompt, and its pictures side by side as they are seen."""
    processor = model.processor
    if getattr(processor, "template", True) is None:  # a checkpoint that holds no conversations
        batch = processor([images], [processor.image_token * len(images) + question])
    else:
        parts = [{"type": "image", "image": image} for image in images]
        asked = [*parts, {"type": "text", "text": question}]
        batch = processor.chat([[{"role": "user", "content": asked}]], answer=True)
    arrays = {"image": batch["images"], "image_mask": batch["image_mask"]}
    return batch, processor.show(arrays, 0)["image"]


def _ends(model: Inference) -> tuple[int, ...]:
    """The tokens that end a text, as the processor or the model says."""
    found = getattr(model.processor, "end_ids", None)
    return tuple(model.model.config.end_ids if found is None else found)
