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
    python -m mmjax.main --mode=transcribe --audio=talk.mp3 --formats=srt
    python -m mmjax.main --mode=embed --model=emoji_clip --data=photos --out=photos.parquet
    python -m mmjax.main --mode=listen --source=talk.wav --out=talk.jsonl
    python -m mmjax.main --mode=export --workdir=runs/clip_emoji --out=my_clip

Fields of the config: `--config.optimizer.clip_norm=0.5`, or after the colon of --config. The flags
of a mode: `--mode=embed --help`. One of several processes: `--processes=auto`. Where mmjax is
installed, `mmjax embed ...` is the same as `python -m mmjax.main --mode=embed ...`.
"""

import time

STARTED = time.monotonic()

import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; the exit status. What a user can mend is one message, not a traceback."""
    from mmjax.run import dispatch

    words = sys.argv[1:] if arguments is None else arguments
    return dispatch.run(words, started=STARTED, about=__doc__)


def program() -> int:
    """The installed command `mmjax`, and `python -m mmjax.main`: a process of mmjax's own, from
    its first import to its exit status."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupted)
    from mmjax.run import dispatch  # noqa: F401  imports JAX and nearly all of mmjax: seconds
    from mmjax.training import echoes

    signal.signal(signal.SIGINT, before)
    echoes.silence()
    return main()


def _interrupted(number: int, frame: object) -> None:
    """Ctrl-C in the seconds of the imports: nothing is done yet that would have to be ended."""
    os.write(2, b"\ninterrupted\n")
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(program())
