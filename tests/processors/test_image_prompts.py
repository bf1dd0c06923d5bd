"""Prompts with pictures: ids and pixels of the reference, conversations, what is refused."""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest
import vlm_reference
from PIL import Image

from mmjax.data.source import DataError
from mmjax.processors import tiles
from mmjax.processors.checkpoints.chat_template import ChatTemplate, ChatTemplateError
from mmjax.processors.prompting import image_prompts

GOLDEN = Path(__file__).parents[1] / "golden" / "image_prompts"
P = 9  # tokens of a picture


@functools.cache
def processor(case):
    about = dict(start="<s>", end="</s>") if case == "paligemma" else {}
    return image_prompts.load(GOLDEN / case, 4, P, **about)


@functools.cache
def expected(case):
    with np.load(GOLDEN / case / "expected.npz") as held:
        return dict(held)


@pytest.mark.parametrize("case", vlm_reference.TEXTS)
def test_ids_and_pixels_of_the_reference(case):
    """Pictures of each text in a list, and one behind the other."""
    said = expected(case)
    nested = vlm_reference.pictures(case)
    for images in (nested, sum(nested, [])):
        batch = processor(case)(images, vlm_reference.TEXTS[case])
        np.testing.assert_array_equal(batch["inputs"], said["ids"])
        np.testing.assert_array_equal(batch["mask"], said["mask"])
        counts = vlm_reference.COUNTS[case]
        assert batch["image_mask"].sum(1).tolist() == list(counts)
        held = batch["images"][batch["image_mask"]]
        np.testing.assert_allclose(held, said["pixels"], atol=1e-5)
        assert not batch["images"][~batch["image_mask"]].any()


def test_answers_stand_behind_their_prompts():
    said = expected("paligemma")
    images = vlm_reference.pictures("paligemma")
    texts = vlm_reference.TEXTS["paligemma"]
    batch = processor("paligemma")(images, texts, ["a", "the dog", ""])
    np.testing.assert_array_equal(batch["inputs"], said["answered"])
    learned = batch["mask"] & ~batch["prefix"]
    np.testing.assert_array_equal(learned, said["labels"] != -100)


def test_conversations_are_written_as_by_the_reference():
    picture = vlm_reference.pictures("llava")[0][0]
    chat = vlm_reference.conversation(picture)
    for turns, text in json.loads(str(expected("llava")["chats"])).items():
        count = int(turns)
        found = processor("llava").template(chat[:count], answer=count % 2 == 1)
        assert found == text
    batch = processor("llava").chat([chat[:3], chat[:1]])
    assert batch["image_mask"].tolist() == [[True, True], [True, False]]
    assert ((batch["inputs"] == 4).sum(1) == [2 * P, P]).all()
    text, places = processor("llava").template.answers(chat)
    assert [text[a:b] for a, b in places] == ["a cat. ", "a dog! "]
    assert text == processor("llava").template(chat)


def test_files_come_back_as_they_were(tmp_path):
    processor("llava").save(tmp_path)
    for file in ("tokenizer.json", "processor_config.json", "chat_template.jinja"):
        assert (tmp_path / file).read_bytes() == (GOLDEN / "llava" / file).read_bytes()


PICTURE = np.zeros((20, 20, 3), np.uint8)


@pytest.mark.parametrize(
    "images, texts, message",
    [
        ([PICTURE] * 3, ["<image> a", "<image> b"], "2 <image> and 3 pictures"),
        ([PICTURE], ["<image> a", "<image> b"], "2 <image> and 1 pictures"),
        (None, ["<image> a"], "1 <image> and 0 pictures"),
        ([[PICTURE], [PICTURE]], ["<image><image>", "a"], "text 0 has 2 <image> and 1 pictures"),
        ([[PICTURE]], ["<image>", "a"], "2 texts have 1 lists"),
        (None, [], "there is no text"),
    ],
)
def test_pictures_without_tokens_and_tokens_without_pictures(images, texts, message):
    with pytest.raises(DataError, match=message):
        processor("llava")(images, texts)


def test_paligemmas_prompts_may_leave_the_tokens_out():
    written = processor("paligemma")
    plain = written([[PICTURE], [PICTURE] * 2], ["caption en", "what"])
    marked = written([PICTURE] * 3, ["<image>caption en", "<image><image>what"])
    np.testing.assert_array_equal(plain["inputs"], marked["inputs"])
    with pytest.raises(DataError, match="2 texts have 1 lists"):
        written([[PICTURE]], ["caption en", "what"])
    with pytest.raises(DataError, match="2 <image> and 1 pictures"):
        written([PICTURE], ["caption en", "what"])
    with pytest.raises(DataError, match="1 prompts have 2 answers"):
        written([PICTURE], ["what"], ["a", "b"])


def test_a_vocabulary_without_the_image_token():
    other = dataclasses.replace(processor("llava"), image_id=400)
    with pytest.raises(DataError, match="id 400, is missing from the tokenizer's vocabulary of"):
        other([PICTURE], "<image>")


USER = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    "source, message",
    [
        ("{% if %}", "line 1: "),
        ("{{ raise_exception('only users speak') }}", "refuses .*: only users speak"),
        ("{{ messages[0]['content'] + 1 }}", "refuses this conversation"),
        ("{{ messages.nothing.there }}", "refuses .*'list object' has no attribute 'nothing'"),
        ("{{ messages.append(1) }}", "refuses"),  # the sandbox
        ("{{ ''.__class__.__mro__ }}", "refuses"),
    ],
)
def test_templates_that_fail_say_why(source, message):
    with pytest.raises(ChatTemplateError, match=message):
        ChatTemplate(source)(USER)


def test_what_templates_see():
    source = "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}\n" \
        "{{ bos_token }}{{ m | tojson }}{{ extra }}\n  {% endfor %}"
    found = ChatTemplate(source, {"bos_token": "<s>"})([*USER, *USER], extra=PICTURE)
    assert found == '<s>{"role": "user", "content": "hello"}<ndarray>\n'
    with pytest.raises(ChatTemplateError, match="put {% generation %}"):
        ChatTemplate(source).answers(USER)
    without = dataclasses.replace(processor("llava"), template=None)
    with pytest.raises(ChatTemplateError, match="has no chat template"):
        without.chat(USER)
    with pytest.raises(DataError, match="is an image, and holds none"):
        processor("llava").chat([{"role": "user", "content": [{"type": "image"}]}])


def test_tiles():
    """AnyRes: the whole, then tiles; each has the tokens of a picture."""
    wide = np.arange(30 * 60 * 3, dtype=np.uint32).reshape(30, 60, 3).astype(np.uint8)
    cut = tiles.tiles(wide, ((1, 2), (2, 1), (2, 2)), 20)
    assert [one.size for one in cut] == [(20, 20)] * 3
    fitted = np.asarray(Image.fromarray(wide).resize((40, 20), resample=3))
    np.testing.assert_array_equal(np.concatenate([np.asarray(one) for one in cut[1:]], 1), fitted)
    assert tiles.best_grid(50, 20, ((1, 2), (2, 1), (3, 1)), 20) == (3, 1)
    anyres = dataclasses.replace(processor("llava"), grids=((1, 2), (2, 1), (2, 2)))
    batch = anyres([wide, PICTURE], "<image> a <image>")
    assert batch["images"].shape[1] * P == (batch["inputs"] == 4).sum()


def test_raw_fields_are_prepared_as_the_models_arguments():
    """As every processor's: a row's picture, or its list."""
    fields = dict(image=[[PICTURE], [PICTURE, PICTURE]], text=["<image>a", "<image> or <image>"])
    assert processor("llava").takes == ("image", "text")
    found = processor("llava").inputs(fields)
    for name, value in processor("llava")(fields["image"], fields["text"]).items():
        np.testing.assert_array_equal(found[name], value)
    assert set(found) == {"inputs", "mask", "images", "image_mask"}
