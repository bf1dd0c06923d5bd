"""LLaVA and PaliGemma of the hub: names of all releases, config files, what is refused."""

import dataclasses

import pytest

from mmjax.conversion import llava, paligemma
from mmjax.conversion.mapping import fields
from mmjax.layers.projectors import linear, mlp, resampler
from mmjax.models import gpt2, vlm

LLAVA = vlm.VARIANTS["LLaVA-1.5-7B"]
PALIGEMMA = vlm.VARIANTS["PaliGemma-3B"]
NAMES = {  # of the releases up to 4.51, those after it, in the memory of 5
    "vision_tower.pre_layrnorm.weight": (
        "vision_tower.vision_model.pre_layrnorm.weight",
        "model.vision_tower.vision_model.pre_layrnorm.weight",
        "model.vision_tower.pre_layrnorm.weight",
    ),
    "multi_modal_projector.linear_1.bias": ("model.multi_modal_projector.linear_1.bias",),
    "language_model.model.norm.weight": ("model.language_model.norm.weight",),
    "language_model.lm_head.weight": ("lm_head.weight",),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_every_release(name):
    assert name in {one for row in llava.table(LLAVA) for one in row.names}
    assert {llava.rename(one) for one in (name, *NAMES[name])} == {name}


@pytest.mark.parametrize("family, config", [(llava, LLAVA), (paligemma, PALIGEMMA)])
def test_config_files_say_everything(family, config):
    written = family.upstream(config)
    body = dataclasses.replace(config.image.transformer, initialisation="clip")
    said = dataclasses.replace(config, image=dataclasses.replace(config.image, transformer=body))
    assert family.config(written) == said
    assert config.image_tokens == {llava: 576, paligemma: 256}[family]


OTHERS = {
    "mmjax.models.gpt2 as language has no place": dict(language=gpt2.Config()),
    "mmjax.layers.projectors.resampler as projector": dict(projector=resampler.Config()),
    "no file of model_type 'llava' has": dict(prefix_lm=True),
    "vision_feature_layer = None is not": dict(
        image=dataclasses.replace(LLAVA.image, feature_layer=None)
    ),
}


@pytest.mark.parametrize("message", OTHERS)
def test_what_no_file_can_say_is_refused(message):
    with pytest.raises(fields.Unsupported, match=message):
        llava.upstream(dataclasses.replace(LLAVA, **OTHERS[message]))


def test_what_paligemmas_files_cannot_say_is_refused():
    for change in (dict(prefix_lm=False), dict(projector=mlp.Config()),
                   dict(projector=linear.Config(bias=False))):  # fmt: skip
        with pytest.raises(fields.Unsupported):
            paligemma.upstream(dataclasses.replace(PALIGEMMA, **change))


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(vision_feature_layer=[-2, -5]), r"vision_feature_layer = \[-2, -5\]"),
        (dict(vision_feature_select_strategy="all"), "vision_feature_select_strategy = 'all'"),
        (dict(vision_config=dict(model_type="siglip_vision_model")), "this image tower has none"),
        (dict(vision_config=dict(model_type="pixtral")), "model_type = 'pixtral' is not supported"),
        (dict(text_config=dict(model_type="mistral")), "model_type = 'mistral' is not supported"),
        (dict(image_token_index=40_000), "image_id=40000 is missing from the vocabulary"),
    ],
)
def test_files_that_ask_for_more_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        llava.config({"model_type": "llava", "image_token_index": 31_999, **change})
