"""Builds the bundled speech: five clips of LibriVox with their transcripts.

    python -m experiments.bundled.build_librivox --cache=FOLDER

* WAV files of 16 kHz, unchanged, one after the other in `librivox.bin`; `librivox.csv` has a line
  for each. One woman reads from "Sense and Sensibility".
* The transcripts are the package's; that of 0920 says "a more a amiable woman", and she does not.
"""

import csv
import io
import re
from pathlib import Path

from experiments.bundled import fetch

PACKAGE = fetch.Package(
    "debian", "pocketsphinx-testdata", "0.8+5prealpha+1-15",
    "eaeb7a01d54f20b799d1a81ef110ec544b2cb47ea006614078220737a33019f0",
    "BSD-2-Clause", "five recordings of LibriVox (public domain) and their transcripts")
FOLDER = "usr/share/pocketsphinx/test/data/librivox/"
COPYRIGHT = "usr/share/doc/pocketsphinx-testdata/copyright"


def main(cache: Path) -> None:
    """Fetches, checks, builds and writes the set with its provenance."""
    files = fetch.members(PACKAGE, cache,
                          lambda path: path.startswith(FOLDER) or path == COPYRIGHT)
    table = io.StringIO()
    clips = []
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["name", "bytes", "text"])
    for line in files[FOLDER + "transcription"].decode().splitlines():
        text, name = re.fullmatch(r"<s> (.*) </s> \((.*)\)", line).groups()
        clips.append(files[f"{FOLDER}{name}.wav"])
        writer.writerow([name, len(clips[-1]), text])
    fetch.write(
        "librivox",
        {"librivox.bin": b"".join(clips), "librivox.csv": table.getvalue().encode()}, [PACKAGE],
        {PACKAGE.name: f"{FOLDER}{{*.wav,transcription}}, {COPYRIGHT}"},
        {"pocketsphinx-testdata.txt": files[COPYRIGHT]}, {})


if __name__ == "__main__":
    main(fetch.cache_folder(__doc__))
