"""The command line of mmjax.

    python -m mmjax.main --config=configs/contrastive/clip_emoji.py --workdir=runs/clip_emoji
    python -m mmjax.main --config=configs/contrastive/clip_emoji.py:smoke,train.steps=20 --mode=show
    python -m mmjax.main --mode=evaluate --workdir=runs/clip_emoji --split=test
    python -m mmjax.main --mode=evaluate --model=emoji_clip --config=... --split=test
    python -m mmjax.main --mode=compare --workdir=runs/a0,runs/a1 --against=runs/b0,runs/b1
    python -m mmjax.main --config=... --mode=inspect --step=3
    python -m mmjax.main --mode=prepare --set=openmoji,tuxpaint
    python -m mmjax.main --config=... --mode=plan --devices=256 --hardware="TPU v5e"
    python -m mmjax.main --mode=search --query="a big cat"
    python -m mmjax.main --mode=embed --model=emoji_clip --data=photos --out=photos.parquet

Fields of the config: `--config.optimizer.clip_norm=0.5`, or after the colon of --config.
"""

import time

STARTED = time.monotonic()

import argparse  # noqa: E402
import re  # noqa: E402
import sys  # noqa: E402

MODES = (
    "train", "evaluate", "compare", "show", "inspect", "plan", "prepare", "embed", "search",
)  # fmt: skip


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Flags, and overrides of config fields ("a.b=value")."""
    parser = argparse.ArgumentParser(
        "mmjax", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config", default="", help="config file, with :variant,key=value after it"
    )
    parser.add_argument(
        "--workdir", default="", help="folder of the run; by default runs/<name of the config>"
    )
    parser.add_argument("--mode", default="train", choices=MODES)
    parser.add_argument(
        "--step", type=int, default=None, help="evaluate: checkpoint (the best); inspect: batch (0)"
    )
    parser.add_argument(
        "--split", default="validation", choices=("validation", "test"), help="evaluate, compare"
    )
    parser.add_argument(
        "--against", default="", help="compare: the other runs; commas between, as in --workdir"
    )
    parser.add_argument(
        "--devices", type=int, default=0, help="plan: so many devices; 0: those that are here"
    )
    parser.add_argument(
        "--hardware", default="", help="plan: such as 'TPU v5e' or 'H100'; by default what is here"
    )
    parser.add_argument(
        "--set", default="", help="prepare: names of data sets, or 'all'; by default lists them"
    )
    parser.add_argument(
        "--side", type=int, default=256, help="prepare: pixels of the longer edge of pictures"
    )
    parser.add_argument(
        "--mirror", default="", help="prepare: a Debian archive to ask before apt's own"
    )
    parser.add_argument("--again", action="store_true", help="prepare: also what is ready")
    parser.add_argument(
        "--model",
        default="",
        help="embed, search, evaluate: a folder, 'emoji_clip', or an id of the hub",
    )
    parser.add_argument(
        "--data", default="", help="embed: a folder, a manifest, a .txt of lines, or a set's name"
    )
    parser.add_argument(
        "--kind", default="images", choices=("images", "texts"), help="embed: what of the data"
    )
    parser.add_argument("--column", default="", help="embed: of the manifest (image or text)")
    parser.add_argument(
        "--out",
        default="",
        help="embed: a .npy or .parquet file; search: the sheet (search.png); compare: a JSON file",
    )
    parser.add_argument("--query", default="", help="search: a text, or the path of a picture")
    parser.add_argument(
        "--index", default="", help="search: what --mode=embed wrote; by default the emoji"
    )
    parser.add_argument("--count", type=int, default=12, help="search: hits, at most")
    parser.add_argument(
        "--processes",
        default="",
        help="'auto', or 'host:port,count,number': one of several processes",
    )
    fields = [a[len("--config.") :] for a in arguments if re.match(r"--config\.[^=]+=", a)]
    rest = [a for a in arguments if not re.match(r"--config\.[^=]+=", a)]
    return parser.parse_args(rest), fields


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; the exit status. What a user can mend is one message, not a traceback."""
    flags, fields = parse(sys.argv[1:] if arguments is None else arguments)
    from mmjax.commands import dispatch

    return dispatch.run(flags, fields, STARTED)


if __name__ == "__main__":
    sys.exit(main())
