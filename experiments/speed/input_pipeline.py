"""Examples a second of the input pipeline: mmjax beside a torch DataLoader with 2 workers, in turn.

    python -m experiments.speed.input_pipeline --folder=runs/speed

* Both: 640 x 480 JPEG files of quality 90 (collages of the bundled emoji), decoded, random resized
  crop of CLIP's training (0.9 to 1 of the area) to 224, flip, CLIP's mean and std, captions as
  CLIP's tokens; float32 batches of 64, the files in the cache of the system.
* "pixels": mean distance of the two sides' images for the same crops, in units of 1/255.
* The other side is torchvision's transforms on Pillow and open_clip's tokenizer, in an environment
  of its own that is made in the folder, unless --open-clip-python names one.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COUNT, ROWS, SIZE, SCALE = 512, 64, 224, (0.9, 1.0)


def photos(folder: Path) -> None:
    """COUNT collages and their manifest."""
    import io

    import numpy as np
    from PIL import Image

    from mmjax.datasets import emoji

    if (folder / "list.jsonl").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    source, rng = emoji.open(emoji.Config(split="train")), np.random.default_rng(0)
    tiles = [Image.open(io.BytesIO(source[row]["image"])).convert("RGB") for row in range(400)]
    lines = []
    for number in range(COUNT):
        picture = Image.new("RGB", (640, 480), tuple(rng.integers(0, 256, 3).tolist()))
        for _ in range(60):
            side = int(rng.integers(40, 240))
            tile = tiles[rng.integers(len(tiles))].resize((side, side))
            picture.paste(tile, tuple(rng.integers((-40, -40), (620, 460)).tolist()))
        picture.save(folder / f"{number}.jpg", quality=90)
        lines.append(json.dumps({"image": f"{number}.jpg", "text": source[number]["text"]}))
    (folder / "list.jsonl").write_text("\n".join(lines) + "\n")


def ours(folder: Path, seconds: float) -> dict:
    """Examples a second, all cores; memory as in a run."""
    from mmjax.data.pipeline import Pipeline
    from mmjax.data.plan import Mixture
    from mmjax.processors import image_text, vocabularies
    from mmjax.readers import manifest
    from mmjax.run.runtime import keep_memory

    keep_memory()
    source = manifest.open(manifest.Config(str(folder / "list.jsonl"), check_files=0))
    config = image_text.Config(
        image_size=SIZE,
        max_length=77,
        pad_to=77,
        normalisation="clip",
        augmentation=image_text.Augmentation(crop=SCALE, flip=0.5),
        tokenizer="open_clip",
    )
    processor = image_text.Processor(config, vocabularies.named("open_clip"))
    plan = Mixture((len(source),), ROWS, shape={"text": (77,)})
    pipeline = Pipeline([source], plan, processor.train, threads=os.cpu_count(), cache_bytes=0)
    with pipeline.batches() as batches:
        for _ in range(4):
            next(batches)
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            next(batches)
            count += ROWS
        return {"rate": count / (time.perf_counter() - started)}


class Photos:
    """The torch side's data set (of module scope: its workers import it)."""

    def __init__(self, folder: Path):
        import open_clip
        from torchvision import transforms

        self.lines = [json.loads(line) for line in (folder / "list.jsonl").open()]
        self.folder = folder
        self.tokenize = open_clip.get_tokenizer("ViT-B-32")
        kind = transforms.InterpolationMode.BICUBIC
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(SIZE, scale=SCALE, interpolation=kind),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int):
        from PIL import Image

        line = self.lines[index]
        image = Image.open(self.folder / line["image"]).convert("RGB")
        return self.transform(image), self.tokenize(line["text"])[0]


def theirs(folder: Path, seconds: float) -> dict:
    """Examples a second, 2 workers."""
    import torch

    loader = torch.utils.data.DataLoader(
        Photos(folder), ROWS, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True
    )
    next(iter(loader))
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        for _ in loader:
            count += ROWS
            if time.perf_counter() - started >= seconds:
                break
    return {"rate": count / (time.perf_counter() - started)}


def crops(folder: Path) -> list[tuple[int, tuple[int, int, int, int]]]:
    """(picture, left, top, width, height) of some crops that both sides make."""
    import numpy as np

    from mmjax.transforms.images import RandomResizedCrop

    crop, rng = RandomResizedCrop(SIZE, scale=SCALE), np.random.default_rng(1)
    return [(number, crop.box(640, 480, rng)) for number in range(32)]


def pixels_of_ours(folder: Path):
    """[32, 224, 224, 3], values 0 to 255."""
    import numpy as np

    from mmjax.transforms.decode import DecodeImage
    from mmjax.transforms.images import RandomResizedCrop

    out = []
    for number, box in crops(folder):
        crop = RandomResizedCrop(SIZE, scale=SCALE, decode=DecodeImage(draft=True))
        object.__setattr__(crop, "box", lambda *_, box=box: box)
        out.append(crop({"image": (folder / f"{number}.jpg").read_bytes()}, None)["image"])
    return np.stack(out).astype(np.float32)


def pixels_of_theirs(folder: Path):
    """The same by torchvision."""
    import numpy as np
    from PIL import Image
    from torchvision.transforms import InterpolationMode, functional

    out = []
    for number, (left, top, width, height) in crops(folder):
        image = Image.open(folder / f"{number}.jpg").convert("RGB")
        size = [SIZE, SIZE]
        image = functional.resized_crop(
            image, top, left, height, width, size, InterpolationMode.BICUBIC
        )
        out.append(np.asarray(image))
    return np.stack(out).astype(np.float32)


def main() -> None:
    """The table; with --side, one side's figures as a line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", default="runs/speed")
    parser.add_argument("--open-clip-python", default="")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--side", default="", choices=("", "mmjax", "torch"))
    flags = parser.parse_args()
    folder = Path(flags.folder).absolute()
    pictures = folder / "pictures"
    import numpy as np

    if flags.side:
        rate, pixels = {"mmjax": (ours, pixels_of_ours), "torch": (theirs, pixels_of_theirs)}[
            flags.side
        ]
        found = rate(pictures, flags.seconds)
        np.save(folder / f"pixels-{flags.side}.npy", pixels(pictures))
        print(json.dumps(found))
        return
    from experiments.emoji.compare import environment
    from mmjax.report.table import aligned

    photos(pictures)
    other = flags.open_clip_python or str(environment(folder))
    rates: dict[str, list[float]] = {"mmjax": [], "torch": []}
    for _ in range(flags.turns):
        for side, python in (("mmjax", sys.executable), ("torch", other)):
            command = [python, "-m", "experiments.speed.input_pipeline", f"--side={side}",
                       f"--folder={folder}", f"--seconds={flags.seconds}"]  # fmt: skip
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            rates[side].append(json.loads(done.stdout.splitlines()[-1])["rate"])
    mine, others = (np.load(folder / f"pixels-{side}.npy") for side in rates)
    rows = [(side, f"{np.median(one):.0f}", f"{min(one):.0f} to {max(one):.0f}")
            for side, one in rates.items()]  # fmt: skip
    print(aligned(("", "examples/s", "of all turns"), rows, right=(1, 2)))
    ratio = np.median([a / b for a, b in zip(*rates.values(), strict=True)])
    print(f"ratio {ratio:.2f}; pixels differ by {np.abs(mine - others).mean():.2f}/255 on average")


if __name__ == "__main__":
    main()
