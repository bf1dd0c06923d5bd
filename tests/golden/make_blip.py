"""Makes tests/golden/blip: tiny random checkpoints of the three classes, and what they say.

    python tests/golden/make_blip.py      # needs torch and transformers 5
"""

import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import family_reference  # noqa: E402

VISION = dict(
    hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
    image_size=10, patch_size=4,
)  # fmt: skip
TEXT = dict(
    vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=20, max_position_embeddings=20, bos_token_id=27, sep_token_id=4,
    eos_token_id=4, pad_token_id=0,
)  # fmt: skip
CASES = {
    "captions": ("BlipForConditionalGeneration", {}),
    "answers": ("BlipForQuestionAnswering", dict(hidden_size=12, num_attention_heads=4)),
    "retrieval": ("BlipForImageTextRetrieval", dict(hidden_act="relu")),
}


def main():
    for place, (name, fields) in CASES.items():
        folder = HERE / "blip" / place
        shutil.rmtree(folder, ignore_errors=True)
        model = family_reference.build(
            name, vision_config=VISION, text_config={**TEXT, **fields}, image_text_hidden_size=6
        )
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        # the reference compares and matches by the first token, padding or not
        left = place != "retrieval"
        given = family_reference.captioned(TEXT["vocab_size"], VISION["image_size"], left)
        said = family_reference.seen(model, *given)
        names = ("images", "ids", "mask", "answers", "answer_mask")
        arrays = {**dict(zip(names, given, strict=True)), **said}
        np.savez_compressed(folder / "outputs.npz", **arrays)


if __name__ == "__main__":
    main()
