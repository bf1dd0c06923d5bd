"""BLIP live against `transformers`, at odd shapes: the three classes layer by layer, saved here and
opened there; pixels, ids and prompts; and the same captions and answers, greedy and with beams."""

import dataclasses
import functools
import json

import family_checks
import family_reference
import jax
import numpy as np
import pytest
from family_reference import BLIP_TEXT, BLIP_VISION
from flax.linen import unbox
from PIL import Image

from mmjax.conversion import blip as conversion
from mmjax.conversion import load
from mmjax.generation.generate import Generator
from mmjax.generation.options import Options
from mmjax.models import blip
from mmjax.processors import vocabularies

pytestmark = pytest.mark.parity

CAPTIONS = "BlipForConditionalGeneration"
ANSWERS = "BlipForQuestionAnswering"
RETRIEVAL = "BlipForImageTextRetrieval"
AS_WIDE = dict(BLIP_TEXT, hidden_size=30, num_attention_heads=6)  # as the image tower
# Case -> the reference's class, fields of its image tower and of its texts, of the whole config.
CASES = {
    "captions": (CAPTIONS, {}, {}, {}),
    "captions_one_head_relu": (
        CAPTIONS, dict(num_attention_heads=1, hidden_act="gelu_new"),
        dict(num_attention_heads=1, hidden_act="relu", layer_norm_eps=1e-3), {},
    ),
    "captions_untied": (
        CAPTIONS, {}, dict(tie_word_embeddings=False), dict(tie_word_embeddings=False),
    ),
    "answers": (ANSWERS, {}, AS_WIDE, {}),
    "answers_one_layer": (ANSWERS, {}, dict(AS_WIDE, num_hidden_layers=1), {}),
    "retrieval": (RETRIEVAL, {}, {}, {}),
    "retrieval_wide": (
        RETRIEVAL, dict(image_size=12, patch_size=3, layer_norm_eps=1e-3),
        dict(hidden_size=40, num_attention_heads=5), dict(image_text_hidden_size=17),
    ),
}  # fmt: skip
# What the reference has and does not read.
UNREAD = {"captions_untied": {"text_decoder.cls.predictions.bias"}}


def built(name, vision=None, text=None, scale=0.15, **fields):
    return family_reference.build(
        name, scale, vision_config={**BLIP_VISION, **(vision or {})},
        text_config={**BLIP_TEXT, **(text or {})}, **fields,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_blip(case, tmp_path):
    name, vision, text, fields = CASES[case]
    reference = built(name, vision, text, **fields)
    edge = reference.config.vision_config.image_size
    given = family_reference.captioned(61, edge, left=name != RETRIEVAL)
    expected = family_reference.seen(reference, *given)
    reference.save_pretrained(tmp_path / "theirs")
    loaded = load.load(tmp_path / "theirs")
    found = family_checks.ours_of_images(loaded, *given)
    texts, written = family_checks.apart(loaded, expected)
    family_checks.agree(found, texts, given[2])
    family_checks.agree(found, written, given[4 if name == ANSWERS else 2])

    load.save(loaded, tmp_path / "ours")
    opened = family_reference.opened(name, tmp_path / "ours", UNREAD.get(case, set()))
    again = family_reference.seen(opened, *given)
    assert again.keys() == expected.keys()
    for output, theirs in expected.items():
        np.testing.assert_allclose(again[output], theirs, atol=1e-5, rtol=0, err_msg=output)


def test_images_of_another_size(tmp_path):
    import torch

    reference = built(CAPTIONS)
    reference.save_pretrained(tmp_path)
    loaded = load.load(tmp_path, image_size=43)
    images = np.random.default_rng(0).normal(size=(2, 43, 43, 3)).astype(np.float32)
    pixels = torch.tensor(images.transpose(0, 3, 1, 2))
    with torch.no_grad():
        theirs = reference.vision_model(pixels, interpolate_pos_encoding=True)
    close(run(loaded, "image_tokens", images), theirs.last_hidden_state.numpy())


def test_a_shared_model_is_each_of_theirs(tmp_path):
    """What pre-training leaves, taken apart and opened by each class."""
    fields = dict(vision_config=BLIP_VISION, text_config=AS_WIDE, image_text_hidden_size=7)
    config = conversion.config(dict(fields, architectures=[RETRIEVAL]))
    config = dataclasses.replace(config, texts="shared", scale_init=10.0)
    model = blip.Model(config)
    given = family_reference.captioned(61, 31, left=False)
    images, ids, mask, answers, answer_mask = given
    variables = unbox(jax.jit(model.init)(jax.random.key(0), images, ids))
    everything = jax.jit(model.apply)
    seen = everything(variables, images, ids, mask)
    answered = everything(variables, *given)

    def opened(texts, name):
        own, params = conversion.separated(config, variables["params"], texts)
        load.save(load.Loaded("blip", blip.Model(own), params, None, own), tmp_path / texts)
        return family_reference.seen(family_reference.opened(name, tmp_path / texts), *given)

    compared = opened("encoder", RETRIEVAL)
    close(seen.matching, compared["matching"])
    close(seen.image_embedding @ seen.text_embedding.T, compared["similarity"])
    captioned = opened("decoder", CAPTIONS)
    close(np.asarray(seen.logits)[mask], captioned["logits"][mask])
    asked = opened("both", ANSWERS)
    close(np.asarray(answered.logits)[answer_mask], asked["logits"][answer_mask])


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)


PROMPTS = 20
FIXED = dict(max_new_tokens=32, do_sample=False)
OPTIONS = {
    "greedy": (dict(), dict()),
    "beams": (dict(beams=4, returns=3), dict(num_beams=4, num_return_sequences=3)),
    "beams, early": (
        dict(beams=4, early_stopping=True, length_penalty=0.6),
        dict(num_beams=4, early_stopping=True, length_penalty=0.6),
    ),
}  # fmt: skip


# A token that some texts say early, some late, some never.
ENDS = {CAPTIONS: 50, ANSWERS: 48}


@pytest.fixture(scope="module", params=ENDS)
def both(request, tmp_path_factory):
    """The reference, and ours with its weights."""
    import torch

    name = request.param
    text = dict(AS_WIDE if name == ANSWERS else {}, sep_token_id=ENDS[name])
    reference = built(name, text=text)
    with torch.no_grad():  # what is said follows from images, questions and places
        head = reference.text_decoder.cls.predictions
        head.bias.zero_()
        head.transform.LayerNorm.weight.fill_(1)
        head.transform.LayerNorm.bias.zero_()
        reference.text_decoder.bert.embeddings.position_embeddings.weight.mul_(5)
    folder = tmp_path_factory.mktemp(name)
    reference.save_pretrained(folder)
    loaded = load.load(folder)
    return reference, loaded, Generator(loaded.model, loaded.variables)


def questions(ragged=True):
    """Images, and texts of 1 to 9 words (or all of 7) between [CLS] and [SEP], not padded."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(PROMPTS, 31, 31, 3)).astype(np.float32)
    lengths = rng.integers(1, 10, PROMPTS) if ragged else [7] * PROMPTS
    return images, [np.array([2, *rng.integers(6, 58, length), 4]) for length in lengths]


def padded(texts, side):
    length = max(map(len, texts))
    ids = np.zeros((len(texts), length), np.int32)
    mask = np.zeros(ids.shape, bool)
    for row, text in enumerate(texts):
        place = slice(length - len(text), None) if side == "left" else slice(0, len(text))
        ids[row, place] = text
        mask[row, place] = True
    return ids, mask


def run(loaded, method, *arguments, **kwargs):
    call = jax.jit(functools.partial(loaded.model.apply, method=method))
    return call(loaded.variables, *arguments, **kwargs)


def same_tokens(said, theirs):
    """`theirs` [R, N or less] are ours up to their ends, and nothing is said behind these.

    The reference fills up with padding or, where that is token 0, with the end of a text.
    """
    found = said.tokens.reshape(-1, said.tokens.shape[-1])
    for tokens, length, wanted in zip(found, said.lengths.reshape(-1), theirs, strict=True):
        wanted = wanted.numpy()
        length = min(length, len(wanted))
        np.testing.assert_array_equal(tokens[:length], wanted[:length])
        assert set(wanted[length:]) <= {0, wanted[length - 1]}
        assert not tokens[length:].any()


def options_of(loaded, ours):
    return Options(max_new_tokens=32, end_ids=loaded.config.end_ids, padding_id=0, **ours)


@pytest.mark.parametrize("case", ["greedy", "beams"])
def test_the_same_words(both, case):
    """Each of 20 ragged rows of a batch as the reference's `generate` has it alone."""
    import torch

    reference, loaded, generator = both
    ours, theirs = OPTIONS[case]
    images, texts = questions()
    for kind, prompt in prompts(loaded, images, texts).items():
        said = generator(prompt, options_of(loaded, ours))
        assert len(np.unique(said.lengths[:, 0])) > 1  # some end before, some do not
        for row, text in enumerate(texts):
            given = dict(pixel_values=torch.tensor(images[row : row + 1].transpose(0, 3, 1, 2)))
            if kind != "from the first word on":
                given["input_ids"] = torch.tensor(text)[None]
            with torch.no_grad():
                out = reference.generate(**given, **FIXED, **theirs)
            begins = len(text) - 1 if kind == "prompted" else 1
            same_tokens(jax.tree.map(lambda x, row=row: x[row], said), out[:, begins:])


@pytest.mark.parametrize("case", ["beams, early"])
def test_a_batch_of_theirs(both, case):
    """Captions behind prompts that are padded on the left. The questions are of one length: the
    reference's `generate` lets an answer see the padding of its question."""
    import torch

    reference, loaded, generator = both
    ours, theirs = OPTIONS[case]
    answers = loaded.config.texts == "both"
    images, texts = questions(ragged=not answers)
    (prompt,) = [*prompts(loaded, images, texts).values()][:1]
    said = generator(prompt, options_of(loaded, ours))
    assert len(np.unique(said.lengths[:, 0])) > 1
    with torch.no_grad():
        if answers:
            pixels = torch.tensor(images.transpose(0, 3, 1, 2))
            out = reference.generate(torch.tensor(np.stack(texts)), pixels, **FIXED, **theirs)
        else:
            out = reference.text_decoder.generate(
                torch.tensor(prompt["inputs"]).long(),
                attention_mask=torch.tensor(prompt["mask"].astype(int)),
                encoder_hidden_states=torch.tensor(np.asarray(prompt["context"])),
                eos_token_id=list(loaded.config.end_ids), pad_token_id=0, **FIXED, **theirs,
            )  # fmt: skip
    same_tokens(said, out[:, prompt["inputs"].shape[1] :])


def prompts(loaded, images, texts):
    """What our decoder is given: of captions with the texts in front, and without; of answers to
    them."""
    context = run(loaded, "image_tokens", images)
    start = loaded.config.start_id
    opening = np.full((len(texts), 1), start)
    if loaded.config.texts == "both":
        ids, mask = padded(texts, "right")
        fused = run(loaded, "fuse", ids, mask, context=context)
        return {"answered": dict(inputs=opening, context=fused, context_mask=mask)}
    inputs, mask = padded([np.array([start, *text[1:-1]]) for text in texts], "left")
    return {
        "prompted": dict(inputs=inputs, mask=mask, context=context),
        "from the first word on": dict(inputs=opening, context=context),
    }


@pytest.mark.parametrize("extra", [False, True])
def test_pixels_ids_and_prompts(tmp_path, extra):
    """As BlipProcessor; [DEC] and [ENC] in no vocabulary (the hub's), or in the tokenizer's."""
    import transformers

    vocab = json.loads(vocabularies.named("bert").json)["model"]["vocab"]
    tokenizer = transformers.BertTokenizer(vocab=vocab, model_max_length=12)
    if extra:
        tokenizer.add_special_tokens({"bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]})
    theirs = transformers.BlipProcessor(transformers.BlipImageProcessorPil(), tokenizer)
    theirs.save_pretrained(tmp_path)
    config = conversion.config({"text_config": {"bos_token_id": len(vocab)}})
    ours = conversion.processor(tmp_path, config)
    texts = ["a photo of a cat", "", "Hello,   World!! it's", "ĞÜNAYDIN naïve [SEP] in a text"]
    texts.append("one two three four five six seven eight nine ten eleven twelve")
    rng = np.random.default_rng(0)
    sides = [(20, 31), (170, 99), (40, 40), (401, 50), (384, 384)]
    pictures = [Image.fromarray(rng.integers(0, 256, (*s, 3), dtype=np.uint8)) for s in sides]
    want = theirs(images=pictures, text=texts, padding=True, truncation=True, return_tensors="np")
    found = ours(images=pictures, text=texts)
    pixels = np.moveaxis(np.asarray(want["pixel_values"]), 1, -1)
    np.testing.assert_allclose(found["images"], pixels, atol=1e-5)
    np.testing.assert_array_equal(found["ids"], want["input_ids"])
    np.testing.assert_array_equal(found["mask"], want["attention_mask"])

    prompt = ours.prompt(texts[:4])
    for row, text in enumerate(texts[:4]):
        ids = theirs(text=text, return_tensors="np")["input_ids"][0]
        ids[0] = config.start_id  # as the reference's `generate` makes a prompt of them
        np.testing.assert_array_equal(prompt["inputs"][row][prompt["mask"][row]], ids[:-1])
        assert prompt["mask"][row, -1]
        said = [config.start_id, *ids[1:], *config.end_ids, 0, 0]
        assert ours.decode(said) == theirs.decode(said, skip_special_tokens=True)
    if extra:
        assert len(tokenizer) == len(vocab) + 2
        assert ours.tokens.encode("[DEC] [ENC]")[1:-1] == [len(vocab), len(vocab) + 1]
    (tmp_path / "again").mkdir()
    ours.save(tmp_path / "again")
    again = conversion.processor(tmp_path / "again", config)
    np.testing.assert_array_equal(again(text=texts)["ids"], found["ids"])
