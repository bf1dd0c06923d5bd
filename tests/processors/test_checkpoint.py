"""What a checkpoint's own files make of pictures and texts: pixels of the reference to 1e-5."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmjax.processors import vocabularies
from mmjax.processors.checkpoints import checkpoint as checkpoint_processor
from mmjax.processors.checkpoints import open_clip as open_clip_processor
from mmjax.processors.checkpoints.pixels import Pixels, from_config, native_size
from mmjax.tokenizers import bpe
from mmjax.transforms.images import CLIP_MEAN, CLIP_STD

GOLDEN = Path(__file__).parents[1] / "golden"


def golden(which):
    held = np.load(GOLDEN / f"pixels_{which}.npz")
    pictures = [held[f"picture/{i}"] for i in range(3)]
    return json.loads(str(held["configs"])), pictures, held


def test_pixels_of_transformers():
    configs, pictures, held = golden("transformers")
    for number, config in enumerate(configs):
        pixels = from_config(config)
        for i, picture in enumerate(pictures):
            out = pixels(picture)
            if pixels.patch is not None:
                np.testing.assert_array_equal(out.shapes[0], held[f"{number}/{i}/shape"])
                assert out.mask[0].sum() == out.shapes[0].prod()
                out = out.values
            np.testing.assert_allclose(out[0], held[f"{number}/{i}"], atol=1e-5)
            assert out.dtype == np.float32


def test_pixels_of_open_clip():
    configs, pictures, held = golden("open_clip")
    for number, config in enumerate(configs):
        processor = open_clip_processor.of({"preprocess_cfg": config}, 224, 8)
        out = processor(images=pictures)["images"]
        for i in range(3):
            np.testing.assert_allclose(out[i], held[f"{number}/{i}"], atol=1e-5)


def test_early_releases_gave_one_number_and_left_out_the_rest():
    clip = from_config({"feature_extractor_type": "CLIPFeatureExtractor", "size": 30})
    assert (clip.shortest, clip.crop, clip.resample) == (30, (224, 224), 3)
    assert clip.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    clip = from_config({"image_processor_type": "CLIPImageProcessorFast", "crop_size": 20})
    assert clip.crop == (20, 20)
    vit = from_config({"feature_extractor_type": "ViTFeatureExtractor", "size": 30})
    assert (vit.height, vit.width, vit.crop, vit.mean) == (30, 30, None, (0.5, 0.5, 0.5))
    plain = from_config({"image_processor_type": "SiglipImageProcessor", "do_resize": False})
    assert plain.height is None and plain.shortest is None
    for change, message in (
        ({"do_pad": True}, "do_pad = True is not supported"),
        ({"image_processor_type": "DetrImageProcessor"}, "DetrImageProcessor is not supported"),
        ({"size": {"longest_edge": 30}}, "size = .*longest_edge.* is not supported"),
    ):
        with pytest.raises(ValueError, match=message):
            from_config({"image_processor_type": "CLIPImageProcessor", **change})


def test_every_kind_of_picture(tmp_path):
    pixels = from_config({"image_processor_type": "ViTImageProcessor", "size": 8})
    array = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    image = Image.fromarray(array)
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    path = tmp_path / "picture.png"
    path.write_bytes(encoded.getvalue())
    out = pixels([array, image, encoded.getvalue(), path, str(path)])
    assert out.shape == (5, 8, 8, 3) and (out == out[:1]).all()
    assert pixels(image.convert("L")).shape == (1, 8, 8, 3)
    turned = image.getexif()
    turned[0x0112] = 6  # the camera lay on its side
    image.save(path, exif=turned)
    upright = pixels(image.transpose(Image.Transpose.ROTATE_270))
    np.testing.assert_array_equal(pixels(path), upright)
    with pytest.raises(ValueError, match=r"this is float64 \[2, 2\]"):
        pixels(np.zeros((2, 2)))
    free = from_config({"image_processor_type": "ViTImageProcessor", "do_resize": False})
    with pytest.raises(ValueError, match="make no batch"):
        free([array, array[:5]])


def test_native_size_fills_the_patches():
    for height, width in ((31, 20), (500, 3), (1, 1), (224, 224)):
        rows, columns = (side // 16 for side in native_size(height, width, 16, 256))
        assert rows * columns <= 256 and min(rows, columns) >= 1
    assert native_size(224, 224, 16, 256) == (256, 256)


@pytest.fixture
def folder(tmp_path):
    """A CLIP tokenizer and pixels, as the hub keeps them."""
    vocabularies.named("clip").save(tmp_path / "tokenizer.json")
    settings = {"model_max_length": 8, "pad_token": "<|endoftext|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    config = {"image_processor_type": "CLIPImageProcessor", "size": 12, "crop_size": 10}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    return tmp_path


def test_a_batch_of_both(folder, tmp_path):
    processor = checkpoint_processor.load(folder)
    texts = ["a photo of a cat", "hi", "one two three four five six seven eight"]
    batch = processor(images=np.zeros((20, 30, 3), np.uint8), text=texts)
    assert batch["images"].shape == (1, 10, 10, 3)
    start, end = 49406, 49407
    np.testing.assert_array_equal(
        batch["ids"][:2],
        [[start, 320, 1125, 539, 320, 2368, end, end], [start, 1883] + [end] * 6],
    )
    np.testing.assert_array_equal(batch["mask"].sum(1), [7, 3, 8])
    assert batch["ids"][2, -1] == end and batch["ids"][2, 0] == start
    assert processor.tokens.decode(batch["ids"][0]) == "a photo of a cat"
    again = tmp_path / "again"
    again.mkdir()
    processor.save(again)
    assert {one.name: one.read_bytes() for one in again.iterdir()} == dict(processor.files)


def test_padding_as_the_files_say(folder):
    left = checkpoint_processor.load(folder, side="left", padding="max_length")
    batch = left(text="hi")
    np.testing.assert_array_equal(batch["mask"], [[False] * 5 + [True] * 3])
    pictures = {"image_processor": {"image_processor_type": "ViTImageProcessor", "size": 8}}
    (folder / "preprocessor_config.json").unlink()
    (folder / "tokenizer.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps(pictures))
    nested = checkpoint_processor.load(folder)
    assert nested.pixels.height == 8 and nested.tokens is None
    with pytest.raises(ValueError, match="no file that says how texts are prepared"):
        nested(text="hi")
    (folder / "processor_config.json").unlink()
    assert checkpoint_processor.load(folder) is None


def test_special_tokens_in_a_text_are_read_as_such(folder):
    """As the reference does; the project's own tokenizers take them for text."""
    processor = checkpoint_processor.load(folder)
    assert processor.tokens.encode("a<|endoftext|>") == [49406, 320, 49407, 49407]
    assert len(bpe.load(folder / "tokenizer.json").encode("a<|endoftext|>")) > 2


def test_llavas_pictures_are_made_square_and_its_successors_are_refused():
    config = dict(
        image_processor_type="LlavaImageProcessor", do_pad=True, do_resize=False, do_rescale=False,
        do_center_crop=False, do_normalize=False, image_mean=[0.2, 0.4, 1.0],
    )  # fmt: skip
    out = from_config(config)(np.zeros((2, 5, 3), np.uint8))[0]
    assert out.shape == (5, 5, 3)
    assert not out[1:3].any()
    assert (out[[0, 3, 4]] == (51, 102, 255)).all()
    with pytest.raises(ValueError, match="LlavaNextImageProcessor is not supported"):
        from_config(dict(image_processor_type="LlavaNextImageProcessor"))


def test_a_picture_is_shown_as_the_model_sees_it():
    """One, or several of a row side by side."""
    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    processor = checkpoint_processor.Processor(Pixels(4, 6, mean=CLIP_MEAN, std=CLIP_STD), None)
    pixels = processor.inputs({"image": [picture, 255 - picture]})["images"]
    np.testing.assert_array_equal(processor.show({"image": pixels}, 1)["image"], 255 - picture)
    both = processor.show({"image": pixels[None]}, 0)["image"]
    np.testing.assert_array_equal(both, np.concatenate([picture, 255 - picture], axis=1))
