"""Writes the example of a user's own recordings: sentences of synthetic voices, and their list.

python -m mmjax.main --mode=prepare --set=synthetic_speech
python -m experiments.own_data.make_speech     # rewrites speech.csv and speech/ here
"""

import csv
from pathlib import Path

import soundfile

from mmjax.datasets import synthetic_speech
from mmjax.transforms.audio import DecodeAudio

HERE = Path(__file__).resolve().parent
COUNT = 32


def main() -> None:
    """Writes the files."""
    source = synthetic_speech.open(synthetic_speech.Config(split="train"))
    decode = DecodeAudio(synthetic_speech.RATE)
    folder = HERE / "speech"
    folder.mkdir(exist_ok=True)
    with (HERE / "speech.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["audio", "text", "speaker"])
        for number in range(COUNT):
            example = decode(source[number * len(source) // COUNT])
            name = f"{number:02}.ogg"
            soundfile.write(
                folder / name, example["audio"], synthetic_speech.RATE, format="OGG",
                subtype="VORBIS",
            )  # fmt: skip
            speaker = example["id"].partition(", ")[2]
            table.writerow([f"speech/{name}", example["text"], speaker])


if __name__ == "__main__":
    main()
