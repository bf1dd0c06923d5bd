"""Makes tests/golden/video: tiny random checkpoints of models of videos of `transformers`, and what
they say.

    python tests/golden/make_video.py      # needs torch and transformers 5
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import video_reference  # noqa: E402
from video_reference import LABELS, SMALL  # noqa: E402

CLIP = dict(SMALL, image_size=9, num_frames=4)
CASES = {
    "vivit": ("VivitModel", dict(CLIP, tubelet_size=[2, 4, 4])),
    "videomae": ("VideoMAEForVideoClassification", dict(CLIP, patch_size=4, **LABELS)),
    "videomae_pretraining": (
        "VideoMAEForPreTraining",
        dict(
            CLIP, image_size=8, patch_size=4, use_mean_pooling=False, **video_reference.DECODER
        ),
    ),
    "timesformer": (
        "TimesformerForVideoClassification", dict(CLIP, patch_size=4, **LABELS)
    ),
    "xclip": ("XCLIPModel", video_reference.xclip(SMALL, 3, 9, 4)),
}  # fmt: skip
PIXELS = {  # the image processors whose files lie beside a checkpoint
    "vivit": ("VivitImageProcessor", dict(size={"shortest_edge": 12})),
    "videomae": ("VideoMAEImageProcessorPil", dict(size={"shortest_edge": 9})),
    "xclip": ("CLIPImageProcessorPil", dict(size={"shortest_edge": 9})),
}


def main():
    import transformers

    for case, (name, fields) in CASES.items():
        folder = HERE / "video" / case
        model = video_reference.build(name, **fields)
        model.save_pretrained(folder)
        sizes = fields.get("vision_config", fields)
        video = video_reference.clips(sizes["num_frames"], sizes["image_size"])
        arrays = {"video": video}
        if case == "xclip":
            ids, mask = video_reference.captions()
            arrays |= {"ids": ids, "mask": mask}
            said = video_reference.compared(model, video, ids, mask)
            said = {key: said[key] for key in ("text", "logits")}
        elif case == "videomae_pretraining":
            arrays["visible"] = video_reference.visible(2, 4, 1)
            said = video_reference.said(model, video, arrays["visible"])
            said = {"pixels": said["logits"]}
        else:
            said = video_reference.said(model, video)
            said.pop("hidden")
        np.savez_compressed(folder / "outputs.npz", **arrays, **said)
        if case in PIXELS:
            kind, options = PIXELS[case]
            crop = {"height": sizes["image_size"], "width": sizes["image_size"]}
            getattr(transformers, kind)(crop_size=crop, **options).save_pretrained(folder)
        for leftover in folder.glob("README.md"):
            leftover.unlink()


if __name__ == "__main__":
    main()
