"""Pictures as transformers (its Pillow image processors) and open_clip prepare them.

    python tests/golden/make_pixels.py transformers   # 5.23
    python tests/golden/make_pixels.py open_clip      # 3.3, torch 2.14, torchvision 0.29

Writes tests/golden/pixels_<which>.npz: pictures, configs as JSON, and the pixels of each.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
SIDES = ((31, 20), (9, 26), (24, 24))  # height, width: tall, flatter than the crop, as it is


def pictures():
    """Smooth noise, so that the filters of a resize matter."""
    rng = np.random.default_rng(0)
    out = []
    for height, width in SIDES:
        small = rng.integers(0, 256, (height // 2, width // 2, 3), dtype=np.uint8)
        out.append(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    return out


def of_transformers():
    import transformers as t

    crop = dict(size={"shortest_edge": 17}, crop_size={"height": 16, "width": 13})
    processors = [
        t.CLIPImageProcessorPil(**crop),
        t.CLIPImageProcessorPil(size={"shortest_edge": 10}, crop_size={"height": 15, "width": 12}),
        t.SiglipImageProcessorPil(size={"height": 14, "width": 19}),
        t.ViTImageProcessorPil(size={"height": 12, "width": 12}, do_normalize=False),
        t.DeiTImageProcessorPil(
            size={"height": 16, "width": 16}, crop_size={"height": 11, "width": 11}
        ),
        t.Siglip2ImageProcessorPil(patch_size=4, max_num_patches=15),
    ]
    for number, one in enumerate(processors):
        config = one.to_dict()
        found = {}
        for i, picture in enumerate(pictures()):
            made = one(picture, return_tensors="np")
            values = np.asarray(made["pixel_values"])[0]
            found[f"{number}/{i}"] = values if values.ndim == 2 else np.moveaxis(values, 0, -1)
            if "spatial_shapes" in made:
                found[f"{number}/{i}/shape"] = made["spatial_shapes"][0]
        yield config, found


def of_open_clip():
    from open_clip.transform import PreprocessCfg, image_transform_v2

    for number, fields in enumerate(
        (
            dict(size=15),
            dict(size=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), resize_mode="squash"),
        )
    ):
        transform = image_transform_v2(PreprocessCfg(**fields), is_train=False)
        yield (
            fields,
            {
                f"{number}/{i}": transform(picture).permute(1, 2, 0).numpy()
                for i, picture in enumerate(pictures())
            },
        )


if __name__ == "__main__":
    which = sys.argv[1]
    made = list({"transformers": of_transformers, "open_clip": of_open_clip}[which]())
    arrays = {key: value for _, found in made for key, value in found.items()}
    for i, picture in enumerate(pictures()):
        arrays[f"picture/{i}"] = np.asarray(picture)
    configs = json.dumps([config for config, _ in made], default=str)
    np.savez_compressed(HERE / f"pixels_{which}.npz", configs=configs, **arrays)
