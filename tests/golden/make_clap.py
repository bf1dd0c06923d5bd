"""Makes tests/golden/clap and tests/golden/ast: tiny random checkpoints of `transformers`, their
extractors' files, and what they say of clips and texts.

    PYTHONPATH=tests python tests/golden/make_clap.py      # needs torch and transformers 5
"""

from pathlib import Path

import family_reference
import numpy as np
import sound_reference

FOLDER = Path(__file__).parent
CASES = {
    "clap/unfused": "ClapModel",
    "clap/fused": "ClapModel",
    "clap/audio": "ClapAudioModelWithProjection",
    "clap/text": "ClapTextModelWithProjection",
    "ast/tower": "ASTModel",
    "ast/classes": "ASTForAudioClassification",
}


def checkpoint(case, name):
    family = case.partition("/")[0]
    fused = case == "clap/fused"
    if family == "clap":
        model = sound_reference.clap(name, fused)
    else:
        labels = {0: "rain", 1: "dog", 2: "bell"}
        model = sound_reference.ast(name, id2label=labels)
    folder = FOLDER / case
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    arrays = {}
    inputs = {}
    texts = None
    if "Text" not in name:
        extractor = sound_reference.extractor(family, fused)
        extractor.save_pretrained(folder)
        clips = sound_reference.clips(family)
        inputs = sound_reference.features(extractor, clips, sound_reference.RATE[family])
    if name in ("ClapModel", "ClapTextModelWithProjection"):
        texts = family_reference.batch(61, 1)
        arrays["ids"], arrays["valid"] = texts
    said = sound_reference.said(model, inputs, texts)
    arrays |= {f"said_{name}": array for name, array in said.items()}
    np.savez_compressed(folder / "outputs.npz", **arrays)


if __name__ == "__main__":
    for case, name in CASES.items():
        checkpoint(case, name)
