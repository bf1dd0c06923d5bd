"""The command line of mmjax.

    python -m mmjax.main --config=configs/contrastive/clip_emoji.py --workdir=runs/clip_emoji
    python -m mmjax.main --config=configs/contrastive/clip_emoji.py:smoke,train.steps=20 --mode=show
    python -m mmjax.main --mode=evaluate --workdir=runs/clip_emoji --split=test
    python -m mmjax.main --config=... --mode=inspect --step=3

Fields of the config: `--config.optimizer.clip_norm=0.5`, or after the colon of --config.
"""

import time

STARTED = time.monotonic()

import argparse  # noqa: E402
import re  # noqa: E402
import sys  # noqa: E402

MODES = ("train", "evaluate", "show", "inspect")


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
        "--split", default="validation", choices=("validation", "test"), help="evaluate: which"
    )
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
