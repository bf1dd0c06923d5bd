"""Pictures: every kind decodes to upright RGB, bad bytes are named, transforms do what they say."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mmjax.data.source import CorruptExample
from mmjax.transforms import images
from mmjax.transforms.decode import DecodeImage

WIDE = (48, 32)  # width, height


def encoded(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def smooth(width, height, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def decode(data, **options):
    return DecodeImage(**options)({"image": data})["image"]


def rng(seed=0):
    return np.random.default_rng(seed)


def huge_png(side=50_000):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


JPEG, PNG, WEBP = (encoded(smooth(200, 150), format) for format in ("JPEG", "PNG", "WEBP"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (JPEG[: len(JPEG) // 2], "truncated"),
        (PNG[: len(PNG) // 2], "truncated"),
        (WEBP[: len(WEBP) // 2], "image"),
        (PNG[:20], "image"),
        (b"just some text, named .png", "begins b'just some te'"),
        (b"", "empty image file"),
        (huge_png(), "header"),
        (huge_png(9_000), "9000 x 9000 pixels by its header, more than max_pixels"),
        (None, "no image"),
        (17, "the image is int"),
        (np.zeros((0, 4, 3), np.uint8), "4 x 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_bytes_are_named(data, reason):
    resize, crop, affine = images.Resize(8), images.RandomResizedCrop(8), images.RandomAffine(8)
    for transform in (DecodeImage(), resize, crop, affine):
        with pytest.raises(CorruptExample, match=reason):
            transform({"image": data}, rng())


def test_damaged_chunks_of_a_png():
    damaged = bytearray(PNG)
    damaged[len(PNG) // 2] ^= 0xFF
    with pytest.raises(CorruptExample, match="broken or truncated"):
        decode(bytes(damaged))


def test_an_array_of_a_wrong_kind_is_a_bug_not_bad_data():
    with pytest.raises(TypeError, match="before Normalize"):
        decode(np.zeros((4, 4, 3), np.float32))


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "YCbCr"])
def test_modes_become_rgb(mode):
    image = smooth(*WIDE).convert(mode)
    format = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    out = decode(encoded(image, format, **({"quality": 95} if format == "JPEG" else {})))
    assert out.shape == (32, 48, 3) and out.dtype == np.uint8
    assert np.abs(out.astype(int) - np.asarray(image.convert("RGB"))).mean() < 3


def test_sixteen_bits():
    values = np.arange(48 * 32, dtype=np.uint16).reshape(32, 48) * 42
    out = decode(encoded(Image.fromarray(values), "PNG"))
    assert np.abs(out[..., 0] - values / 257.0).max() <= 0.5 + 1e-6
    assert np.array_equal(out[..., 0], out[..., 2])


def test_floating_point_pixels_are_refused():
    with pytest.raises(CorruptExample, match="floating-point"):
        decode(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))


def test_alpha_is_composited():
    image = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
    image.putpixel((1, 0), (200, 0, 0, 0))
    assert decode(encoded(image, "PNG")).tolist() == [[[200, 0, 0], [255, 255, 255]]]
    assert decode(encoded(image, "PNG"), background=(0, 0, 9))[0, 1].tolist() == [0, 0, 9]
    grey = Image.new("LA", (1, 1), (100, 0))
    assert decode(encoded(grey, "PNG"))[0, 0].tolist() == [255] * 3
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([9, 9, 9])
    assert decode(encoded(palette, "PNG", transparency=0))[0, 0].tolist() == [255] * 3


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation(turn):
    upright = smooth(*WIDE)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # PIL transpositions that undo the turn
    stored = upright.transpose(Image.Transpose(back[turn])) if turn > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(stored, "PNG", exif=exif)
    assert np.array_equal(decode(data), np.asarray(upright))
    # A transform that decodes for itself sees the upright picture, too.
    for transform in (images.Resize(16), images.RandomResizedCrop(16), images.RandomAffine(16)):
        early = transform({"image": data}, rng())["image"]
        late = transform({"image": np.asarray(upright)}, rng())["image"]
        assert np.array_equal(early, late)


def test_resize_and_center_crop():
    image = {"image": np.asarray(smooth(100, 50))}
    assert images.Resize(20)(image)["image"].shape == (20, 40, 3)
    assert images.Resize(20, keep_ratio=False)(image)["image"].shape == (20, 20, 3)
    out = images.CenterCrop(20)(images.Resize(20)(image))["image"]
    expected = smooth(100, 50).resize((40, 20), Image.Resampling.BICUBIC).crop((10, 0, 30, 20))
    assert np.array_equal(out, np.asarray(expected))
    with pytest.raises(ValueError, match=r"put Resize\(60\) before"):
        images.CenterCrop(60)(image)
    with pytest.raises(CorruptExample, match="long and thin"):
        images.Resize(512)({"image": np.zeros((1, 1000, 3), np.uint8)})


def test_resize_does_not_alias():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    for transform in (
        images.Resize(16),
        images.RandomAffine(16),
        images.RandomResizedCrop(16, (1.0, 1.0)),
    ):
        out = transform({"image": stripes}, rng())["image"][2:-2, 2:-2]
        assert np.abs(out.astype(int) - 128).max() < 12, transform


def test_random_resized_crop_takes_the_parts_that_it_says():
    crop = images.RandomResizedCrop(8, (0.2, 0.5))
    for seed in range(200):
        left, top, width, height = crop.box(60, 40, rng(seed))
        assert left >= 0 and top >= 0 and left + width <= 60 and top + height <= 40
        assert 0.17 < width * height / 2400 < 0.53 and 0.7 < width / height < 1.4
    assert images.RandomResizedCrop(8).box(1, 100, rng()) == (0, 49, 1, 1)  # no part fits
    whole = images.RandomResizedCrop(8, (1.0, 1.0), (1.0, 1.0))(
        {"image": np.asarray(smooth(32, 32))}, rng()
    )
    exact = np.asarray(smooth(32, 32).resize((8, 8), Image.Resampling.BICUBIC))
    assert np.abs(whole["image"].astype(int) - exact).mean() < 3  # reduced in two steps


def test_draft_decoding_agrees():
    data = encoded(smooth(1200, 900), "JPEG", quality=90)
    for name in (images.Resize, images.RandomResizedCrop, images.RandomAffine):
        exact, draft = name(48), name(48, decode=DecodeImage(draft=True))
        for seed in range(5):
            a, b = (
                one({"image": data}, rng(seed))["image"].astype(float) for one in (exact, draft)
            )
            assert np.abs(a - b).mean() < 1, name


def test_affine_without_changes_is_the_central_square():
    image = np.asarray(smooth(48, 32))
    out = images.RandomAffine(32)({"image": image}, rng())["image"]
    assert np.array_equal(out, image[:, 8:40])


def test_affine_moves_pixels_where_it_says():
    image = np.full((33, 33, 3), 255, np.uint8)
    image[4:7, 24:27] = 0  # a dot, right of the centre and above
    affine = images.RandomAffine(33, (0.6, 1.4), (0.8, 1.25), 40.0, 10.0, 0.1, flip=0.5)
    for seed in range(20):
        (a, b, c, d), shift, _ = affine.draw(33, rng(seed))
        x, y = 25.5 - 16.5, 5.5 - 16.5
        expected = np.array([a * x + b * y + shift[0], c * x + d * y + shift[1]]) + 16.5
        dark = 255.0 - affine({"image": image}, rng(seed))["image"][..., 0]
        if dark.sum() > 1000 and ((expected > 2) & (expected < 31)).all():
            grid = np.arange(33) + 0.5
            found = np.array([(dark.sum(0) * grid).sum(), (dark.sum(1) * grid).sum()]) / dark.sum()
            assert np.abs(found - expected).max() < 0.35, seed


def test_affine_fills_and_flips():
    image = {"image": np.zeros((8, 8, 3), np.uint8)}
    small = images.RandomAffine(8, (0.5, 0.5), fill=(1, 2, 3))(image, rng())["image"]
    assert small[0, 0].tolist() == [1, 2, 3] and small[4, 4].tolist() == [0, 0, 0]
    picture = {"image": np.asarray(smooth(16, 16))}
    flipped = images.RandomAffine(16, flip=1.0)(picture, rng())["image"]
    assert np.array_equal(flipped, picture["image"][:, ::-1])
    assert np.array_equal(images.RandomFlip(1.0)(picture, rng())["image"], flipped)
    assert images.RandomFlip(0.0)(picture, rng()) is picture


def test_colour_jitter_against_its_definition():
    image = np.asarray(smooth(24, 24))
    rgb = image.astype(float)
    luma = rgb @ (0.299, 0.587, 0.114)

    def apply(**change):
        values = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, **change}
        matrix = images.color_matrix(**values, luma=luma.mean())
        return rgb @ matrix[:, :3].T + matrix[:, 3]

    assert np.abs(apply() - rgb).max() < 1e-9
    assert np.abs(apply(brightness=0.7) - 0.7 * rgb).max() < 1e-9
    assert np.abs(apply(contrast=1.3) - (1.3 * rgb - 0.3 * luma.mean())).max() < 1e-9
    assert np.abs(apply(saturation=0.4) - (0.4 * rgb + 0.6 * luma[..., None])).max() < 1e-9
    turned = apply(hue=0.2)
    assert np.abs(turned @ (0.299, 0.587, 0.114) - luma).max() < 1e-9  # the luma stays
    assert np.abs(turned - rgb).mean() > 5
    assert np.abs(apply(hue=1.0) - rgb).max() < 1e-9


def test_colour_jitter_on_pixels():
    image = {"image": np.asarray(smooth(24, 24))}
    jitter = images.ColorJitter(0.4, 0.4, 0.4, 0.1)
    out = jitter(image, rng(3))["image"]
    rgb = image["image"].astype(float)
    matrix = jitter.matrix((rgb @ (0.299, 0.587, 0.114)).mean(), rng(3))
    expected = (rgb @ matrix[:, :3].T + matrix[:, 3]).clip(0, 255)
    assert np.abs(out - expected).max() < 0.6
    assert np.array_equal(images.ColorJitter()(image, rng())["image"], image["image"])


@pytest.mark.parametrize(
    ("mean", "std"), [((0.5,) * 3, (0.5,) * 3), (images.CLIP_MEAN, images.CLIP_STD)]
)
def test_normalize(mean, std):
    image = np.asarray(smooth(10, 6))
    out = images.Normalize(mean, std)({"image": image[:, ::-1]})["image"]
    assert out.dtype == np.float32
    assert np.abs(out - (image[:, ::-1] / 255.0 - mean) / std).max() < 1e-6


def test_transforms_leave_their_input_alone():
    image = np.asarray(smooth(32, 32)).copy()
    image.flags.writeable = False
    before = image.copy()
    example = {"image": image, "id": "x"}
    for transform in (
        DecodeImage(),
        images.Resize(16),
        images.CenterCrop(16),
        images.RandomAffine(16),
        images.RandomResizedCrop(16),
        images.RandomFlip(1.0),
        images.ColorJitter(0.4, 0.4, 0.4, 0.1),
        images.Normalize(),
    ):
        out = transform(example, rng())
        assert out["id"] == "x" and example["image"] is image
    assert np.array_equal(image, before)
