"""Writes the example of a user's own conversations about sounds: beeps and what is said of them.

    python experiments/own_data/make_sounds.py      # rewrites sounds.jsonl and sounds/ here

Eight sounds of a third of a second, in the three forms that a conversation may have: clips in a
column, their places in the text, clips in parts of messages.
"""

import json
from pathlib import Path

import numpy as np
import soundfile

HERE = Path(__file__).resolve().parent
RATE = 8000  # samples per second
SECONDS = 0.3
TONES = {"low": 220.0, "middle": 440.0, "high": 880.0, "very high": 1760.0}  # hertz
TIMES = {"one": 1, "two": 2}  # beeps


def beeps(hertz: float, times: int) -> np.ndarray:
    """A tone that is broken off in between, where there are two beeps."""
    time = np.arange(round(SECONDS * RATE)) / RATE
    phase = (time / SECONDS * times) % 1.0
    return (0.3 * np.sin(2 * np.pi * hertz * time) * (phase < 0.8)).astype(np.float32)


def conversations() -> list[dict]:
    """What is said of the sounds."""
    rows = []
    names = [(tone, times) for tone in TONES for times in TIMES]
    for place, (tone, times) in enumerate(names):
        path = f"sounds/{tone.replace(' ', '_')}_{times}.wav"
        other, _ = names[(place + 2) % len(names)]
        beside = f"sounds/{other.replace(' ', '_')}_one.wav"
        ends = "beep" if times == "one" else "beeps"
        many = {"role": "assistant", "content": f"{times} {ends}".capitalize() + "."}
        pitch = {"role": "assistant", "content": f"It is {tone}."}
        rows.append({
            "audio": path,
            "conversation": [
                {"role": "user", "content": "How many beeps are there?"}, many,
                {"role": "user", "content": "How high are they?"}, pitch,
            ],
        })  # fmt: skip
        rows.append({
            "audio": [path, beside],
            "conversation": [
                {"role": "user", "content": "Is <audio> as high as <audio>?"},
                {"role": "assistant", "content": f"No, one is {tone}, the other {other}."},
            ],
        })  # fmt: skip
        heard = {"type": "audio", "audio": path}
        asked = {"type": "text", "text": "What do you hear?"}
        said = f"{many['content'][:-1]}, {tone}."
        rows.append({
            "conversation": [
                {"role": "user", "content": [heard, asked]}, {"role": "assistant", "content": said}
            ],
        })  # fmt: skip
    return rows


def main() -> None:
    """Writes the files."""
    (HERE / "sounds").mkdir(exist_ok=True)
    for tone, hertz in TONES.items():
        for name, times in TIMES.items():
            path = HERE / "sounds" / f"{tone.replace(' ', '_')}_{name}.wav"
            soundfile.write(path, beeps(hertz, times), RATE, subtype="PCM_U8")
    lines = [json.dumps(row) + "\n" for row in conversations()]
    (HERE / "sounds.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
