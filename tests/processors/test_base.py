"""One protocol for every processor: some of the fields, ragged ones, and the way back."""

import io

import numpy as np
import pytest
from PIL import Image

from mmjax.data.source import CorruptExample, DataError, InMemory
from mmjax.processors import image, image_text
from mmjax.processors.base import AtLeast

RED = np.full((20, 30, 3), (255, 0, 0), np.uint8)
ROWS = [{"image": RED, "text": "a red thing"}, {"image": RED, "text": "red"}]


@pytest.fixture(scope="module")
def processor():
    config = image_text.Config(image_size=8, max_length=6, tokenizer="words", vocab_size=20)
    return image_text.build(config, lambda: [InMemory(ROWS)], None)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_examples_may_hold_some_of_the_fields(processor):
    texts = processor.encode([{"text": "a red thing"}, {"text": "red"}])
    assert texts["text"].shape == (2, 5) and texts["text_mask"].sum(1).tolist() == [5, 3]
    assert "image" not in texts and texts["weight"].tolist() == [1, 1]
    pictures = processor.encode([{"image": png(RED)}])
    assert pictures["image"].shape == (1, 8, 8, 3) and "text" not in pictures
    several = processor.encode([{"text": ("red", "a red thing")}, {"text": ("red",)}])
    assert several["text"].shape == (2, 2, 5)
    assert several["text_mask"].sum((1, 2)).tolist() == [8, 3]


def test_what_no_transform_decodes_is_refused_and_never_left_out(processor):
    """What `restore(...).predict` is given: bytes are of a known field, or they are named."""
    encoded, decoded = (processor.encode([{"image": one}])["image"] for one in (png(RED), RED))
    np.testing.assert_array_equal(encoded, decoded)
    for example in ({"image": RED, "audio": b"RIFF"}, {"audio": bytearray(b"RIFF")}):
        with pytest.raises(DataError, match=r"'audio' is still encoded \(4 bytes\)"):
            processor.encode([example])
    with pytest.raises(CorruptExample, match="no image format we know"):
        processor.encode([{"image": b"RIFF"}])


def test_examples_of_one_batch_have_the_same_fields(processor):
    with pytest.raises(DataError, match="the same fields; example 1 .* differ in image"):
        processor.encode([{"text": "red"}, {"text": "red", "image": RED}])


def test_what_the_model_sees_is_shown(processor):
    shown = processor.show(processor.encode(ROWS), 0)
    assert shown["text"].strip() == "a red thing"
    np.testing.assert_array_equal(shown["image"], RED[:8, :8])


def test_a_processor_is_saved_and_built_without_data(processor, tmp_path):
    processor.save(tmp_path)

    def closed():
        raise AssertionError("a saved tokenizer needs no data")

    again = image_text.build(processor.config, closed, tmp_path)
    assert again == processor
    assert again.encode(ROWS)["text"].tolist() == processor.encode(ROWS)["text"].tolist()


def test_on_paper_there_is_no_data(processor):
    made = image_text.build(processor.config, None, None)
    assert made.sizes["text.vocab_size"] == 20  # as many as it may have
    assert isinstance(made.sizes["text.vocab_size"], AtLeast)
    batch = made.encode([image_text.paper(processor.config)])
    assert batch["image"].shape == (1, 8, 8, 3) and batch["text"].shape[0] == 1


def test_pictures_alone():
    processor = image.build(image.Config(image_size=8), None, None)
    assert processor(png(RED))["images"].shape == (1, 8, 8, 3)
    batch = processor.encode([{"image": RED, "label": 3}])
    assert batch["label"].tolist() == [3] and processor.sizes == {"image_size": 8}
    np.testing.assert_array_equal(processor.show(batch, 0)["image"], RED[:8, :8])
