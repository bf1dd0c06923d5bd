"""Builds the bundled sounds: short instrument and effect recordings with telling names.

    python -m experiments.bundled.build_sounds --cache=FOLDER

* FLAC files of 44.1 kHz, unchanged, one after the other in `sounds.bin`; `sounds.csv` has a line
  for each: the file's name, its kind, and the name in words.
* Only sounds that the package's copyright file lists as CC0 (35 of its 165 are not listed), none
  longer than 3 seconds.
"""

import csv
import io
import re
from pathlib import Path

from experiments.bundled import fetch

PACKAGE = fetch.Package(
    "debian", "sonic-pi-samples", "3.2.2~repack-8",
    "25f2312d2fae005e6ad0f4726b8ed3084e776006a5a132083506e960224ac79d",
    "CC0-1.0", "short sounds, trimmed from freesound.org")
FOLDER = "usr/share/sonic-pi/samples/"
COPYRIGHT = "usr/share/doc/sonic-pi-samples/copyright"
KINDS = {  # prefix of the file name -> kind
    "ambi": "ambience", "bass": "bass", "bd": "bass drum", "drum": "drum", "elec": "electronic",
    "misc": "animal", "perc": "percussion", "tabla": "tabla", "vinyl": "vinyl",
}
SOUNDS = {  # file name -> the sound in words
    "ambi_choir": "a choir singing one chord",
    "ambi_swoosh": "a soft swoosh",
    "bass_hit_c": "a short bass note",
    "bass_voxy_hit_c": "a short vocal bass note",
    "bd_808": "a bass drum of a drum machine",
    "bd_fat": "a fat bass drum",
    "drum_bass_hard": "a bass drum, hit hard",
    "drum_cowbell": "a cowbell",
    "drum_cymbal_closed": "a closed cymbal",
    "drum_cymbal_open": "an open cymbal ringing",
    "drum_cymbal_pedal": "a cymbal closed by its pedal",
    "drum_snare_hard": "a snare drum, hit hard",
    "drum_snare_soft": "a snare drum, hit softly",
    "drum_splash_soft": "a splash cymbal, hit softly",
    "drum_tom_hi_hard": "a high tom drum, hit hard",
    "drum_tom_lo_hard": "a low tom drum, hit hard",
    "elec_beep": "an electronic beep",
    "elec_bell": "an electronic bell",
    "elec_blip": "an electronic blip",
    "elec_chime": "an electronic chime ringing",
    "elec_ping": "an electronic ping",
    "elec_pop": "an electronic pop",
    "elec_triangle": "an electronic triangle",
    "elec_twang": "an electronic twang",
    "elec_wood": "an electronic wood block",
    "misc_crow": "a crow",
    "perc_snap": "a snap of the fingers",
    "perc_till": "a shop's till ringing",
    "tabla_ghe4": "a tabla, stroke ghe",
    "tabla_ke1": "a tabla, stroke ke",
    "tabla_na": "a tabla, stroke na",
    "tabla_te2": "a tabla, stroke te",
    "tabla_tun3": "a tabla, stroke tun",
    "vinyl_backspin": "a vinyl record spun backwards",
    "vinyl_scratch": "a scratch on a vinyl record",
}


def main(cache: Path) -> None:
    """Fetches, checks, builds and writes the set with its provenance."""
    files = fetch.members(PACKAGE, cache,
                          lambda path: path.startswith(FOLDER) or path == COPYRIGHT)
    stated = re.findall(r"^Files: etc/samples/(\w+)\.flac\n(?:.+\n)*?License: (\S+)$",
                        files[COPYRIGHT].decode(), re.MULTILINE)
    free = {name for name, licence in stated if licence == "CC0"}
    table = io.StringIO()
    clips = []
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["name", "kind", "bytes", "text"])
    for name, text in SOUNDS.items():
        if name not in free:
            raise ValueError(f"{name}: the package does not state CC0 for it")
        clips.append(files[f"{FOLDER}{name}.flac"])
        writer.writerow([name, KINDS[name.split("_")[0]], len(clips[-1]), text])
    fetch.write(
        "sounds", {"sounds.bin": b"".join(clips), "sounds.csv": table.getvalue().encode()},
        [PACKAGE], {PACKAGE.name: f"{FOLDER}<name>.flac, {COPYRIGHT}"},
        {"sonic-pi-samples.txt": files[COPYRIGHT]}, {},
        ["The text of CC0 1.0 is beside the package's copyright file."])


if __name__ == "__main__":
    main(fetch.cache_folder(__doc__))
