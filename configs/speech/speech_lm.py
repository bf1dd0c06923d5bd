"""A GPT that hears: Whisper's real encoder, frozen, and questions about what a voice says.

    python -m mmjax.main --mode=prepare --set=spoken_questions
    python -m mmjax.main --config=configs/speech/speech_lm.py --workdir=runs/speech_lm
    python -m mmjax.main --mode=chat --model=runs/speech_lm --audio=clip.wav

"Which number is said?", "how many words are said?", "who speaks?" and "what is said?", of seven
voices, one of them a woman's recordings (mmjax/datasets/spoken_questions.py). Whisper tiny.en's
encoder (8.2 million parameters, fetched once) stays as it is and gets no gradient; four of its
vectors side by side, 80 ms, are a token. A projector and a GPT learn, 2.2 million.

1,000 steps, seed 0, 12 minutes of training on one CPU core and 5 of tests. Test answers exactly
right, of 1,554 to questions about 585 clips, and from the question alone (its most common answer):

    number, count and voice       0.956    0.192
      number (new to training)    0.854    0.000
      count                       0.980    0.372
      voice                       0.998    0.162
    the same with others' clips   0.113    0.175
    transcripts wholly right      0.890    0.000    words wrong: 4.1%

(number of 384, the others below the first row of 400 each.) The numbers of the test were never
said in training, alone or behind words.

A clip is encoded at its own length, padded to the longest (3 seconds): 15 times less work than
the window of 30 that Whisper was trained on. What that costs was measured with Whisper's own
decoder, which was never taught to end there: it says the right words and repeats them. Cut to the
reference's length, 64 Asterisk clips of 1 to 3 seconds (336 words) have 7.4% of their words wrong
at their own length, 3.0% in a window of 3 seconds whose silence is heard
(`data.processor.audio.masked=False`), 0.6% in the whole window. `:window` is the last, and has not
been trained; nor has `:lora`, beyond its smoke.
"""

from mmjax.config import relative

BLOCK = dict(width=192, heads=4, hidden=768, activation="gelu_tanh")
SMALL = dict(width=32, heads=2, hidden=64, layers=1)
KINDS = ("number", "count", "voice")
TONES = dict(source=dict(sound="tones"))

VARIANTS = {
    # Whisper hears the silence of its whole window, as it was trained to: 38 GFLOP a clip
    "window": {"data.processor.audio": dict(masked=False, seconds=30.0)},
    # matrices of rank 8 beside the encoder's attention learn as well
    "lora": {
        "adapters": (dict(match="audio/encoder/.*/attention/.*", rank=8, alpha=16.0),),
        "optimizer.groups.0.match": "audio/encoder/(?!.*/lora/).*",
    },
    "smoke": {
        "data.train.spoken.sound": "tones",  # which need no file
        "validation.spoken": TONES,
        "test": dict.fromkeys(("spoken", *KINDS, "words", "shuffled", "transcript"), TONES),
        "train": dict(steps=6, evaluate_every=3, log_every=1),
        "data.batch_size": 8,
        "optimizer.groups.1.warmup": 2,
        "optimizer.groups.2.warmup": 2,
        "model.audio.encoder.transformer": SMALL,
        "model.language.transformer": SMALL,
        "warm_start": "",  # a random encoder: no weights are fetched
    },
}


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(spoken=dict(name="spoken_questions", split="train", conversations=True)),
        processor=dict(
            name="dialogue",
            max_images=0,
            audio=dict(name="sounds", bins=80, seconds=3.0, stack=4),
            max_length=128,
            buckets=(128,),
            tokenizer="words",
            vocab_size=128,
        ),
        batch_size=16,
    )
    whisper = dict(width=384, layers=4, heads=6, hidden=1536, key_bias=False, unroll=4)
    config.model = dict(
        name="vlm",
        image=None,
        audio=dict(
            # the window that its positions are for; batches are as long as their longest clip
            encoder=dict(name="whisper_encoder", frames=3000, transformer=whisper),
            projector=dict(name="mlp"),
        ),
        language=dict(context_length=128, transformer=dict(layers=4, **BLOCK)),
    )
    config.task = dict(name="language", generate=dict(max_new_tokens=8))
    config.warm_start = {"audio/encoder": "whisper-tiny.en#encoder"}
    config.train = dict(steps=1000, log_every=20, evaluate_every=250)
    warmup = 50
    config.optimizer.groups = (
        dict(match="audio/encoder/.*", optimizer="frozen"),
        dict(
            match=r".*/blocks/.*/kernel", optimizer="muon", learning_rate=0.02, b1=0.95,
            weight_decay=0.1, warmup=warmup,
        ),
        dict(optimizer="adamw", learning_rate=1e-3, b2=0.98, weight_decay=0.1, warmup=warmup),
    )  # fmt: skip
    config.checkpoint = dict(every=250, latest=1, best=1, trained_only=True)
    config.checkpoint.metric = "validation/spoken/exact_match"
    config.validation = dict(spoken=asked("validation", KINDS, rows=192))
    config.test = dict(
        spoken=asked("test", KINDS),
        **{kind: asked("test", (kind,), rows=400) for kind in (*KINDS, "words")},
        shuffled=asked("test", KINDS, clips="shuffled", rows=400),
        transcript=dict(
            source=dict(name="spoken_questions", split="test", kinds=("words",)),
            evaluator=dict(name="word_errors", reference="answer", rows=400),
            batch_size=32,
        ),
    )
    config.execution.threads = 1
    return config


def asked(split: str, kinds: tuple, clips: str = "own", **evaluator) -> dict:
    """Some kinds of questions, one a row, beside what the question alone tells."""
    return dict(
        source=dict(name="spoken_questions", split=split, kinds=kinds, clips=clips),
        evaluator=dict(name="answers", reference="answer", **evaluator),
        baseline=dict(name="question_only", answer="answer", metric="exact_match"),
        batch_size=32,
    )
