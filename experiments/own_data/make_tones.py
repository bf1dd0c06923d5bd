"""Writes the example of a user's own sounds with texts: tones that rise, fall, tremble and stop.

    python experiments/own_data/make_tones.py      # rewrites tones.csv and tones/ here

40 sounds of a half to a whole second, made of sines and noise: a manifest over a folder for each
kind, so that the same files can be read as a manifest, or as one folder per class.
"""

import csv
from pathlib import Path

import numpy as np
import soundfile

HERE = Path(__file__).resolve().parent
RATE = 8000  # samples per second
PITCHES = {"very low": 110.0, "low": 220.0, "middle": 440.0, "high": 880.0, "very high": 1760.0}
KINDS = {
    "steady": "a {} steady tone",
    "rising": "a tone that rises from a {} pitch",
    "falling": "a tone that falls from a {} pitch",
    "trembling": "a {} trembling tone",
}


def sound(kind: str, hertz: float, long: bool) -> np.ndarray:
    """Samples of one sound, softer towards the end."""
    seconds = 1.0 if long else 0.5
    time = np.arange(round(seconds * RATE)) / RATE
    bend = {"rising": 0.5, "falling": -0.5}.get(kind, 0.0) / seconds
    phase = 2 * np.pi * hertz * (time + bend * time**2 / 2)
    loud = 0.6 + 0.4 * np.sin(2 * np.pi * 9 * time) if kind == "trembling" else 1.0
    fade = np.minimum(1, np.minimum(time, time[::-1]) / 0.02)
    return (0.3 * loud * fade * (np.sin(phase) + 0.3 * np.sin(2 * phase))).astype(np.float32)


def main() -> None:
    """Writes the files."""
    rows = []
    for kind, text in KINDS.items():
        (HERE / "tones" / kind).mkdir(parents=True, exist_ok=True)
        for name, hertz in PITCHES.items():
            for long in (False, True):
                length = "long" if long else "short"
                path = f"tones/{kind}/{name.replace(' ', '_')}_{length}.ogg"
                samples = sound(kind, hertz, long)
                soundfile.write(HERE / path, samples, RATE, format="OGG", subtype="VORBIS")
                rows.append((path, f"{text.format(name)}, {length}"))
    with (HERE / "tones.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["audio", "text"])
        table.writerows(rows)


if __name__ == "__main__":
    main()
