"""Qwen2-Audio at the paper's size: Whisper large-v3's encoder, a linear map, Qwen-7B; 8.4 billion.

    python -m mmjax.main --config=configs/speech/qwen2_audio.py --workdir=runs/qwen2_audio/pretrain
    python -m mmjax.main --config=configs/speech/qwen2_audio.py:lora --workdir=runs/qwen2_audio/lora
    python -m mmjax.main --mode=chat --model=runs/qwen2_audio/lora --audio=bell.wav

Paper: https://arxiv.org/abs/2407.10759. It says how the model is built (every two vectors of the
encoder averaged: 40 ms a token) and names its stages, not their numbers: batch, rates and steps
here are choices.

* `:projector`, which is what the file says without a variant: the linear map learns between an
  encoder and a language model that stay as they are.
* `:full`: all of it learns, at 1e-5, the encoder at 2e-6. `:lora`: of the language model matrices
  of rank 64 beside its maps, and the linear map. Both go on from where the first ended.
* The data is one conversation a line (mmjax/readers/conversations.py), in data/audio: sounds beside
  it, in "audio" or in parts of messages. Qwen's folder gives tokenizer and weights; the encoder's
  come from Whisper large-v3. To start from the whole of a published Qwen2-Audio, name its folder
  alone: `--config.warm_start=checkpoints/Qwen2-Audio-7B`.

NOT run here at this size. `--mode=plan --devices=8 --hardware=H100` says what a step needs at the
peak: 36 GiB on each device for the first stage, 39 for `:full`, 21 for `:lora`. What runs here is
`:smoke` (seconds, the same path with tiny parts on conversations about beeps), and after it
`:full,smoke` and `:lora,smoke`, with `--config.warm_start=` and the folder of the first.
"""

from pathlib import Path

from mmjax.config import relative

EXAMPLE = Path(__file__).resolve().parents[2] / "experiments" / "own_data" / "sounds.jsonl"
QWEN = "checkpoints/Qwen-7B"
WHISPER = "openai/whisper-large-v3#encoder"
FIRST_STAGE = "runs/qwen2_audio/pretrain"


def group(match: str, learning_rate: float) -> dict:
    return dict(match=match, learning_rate=learning_rate, warmup=200)


SECOND_STAGE = {
    "data.batch_size": 64,
    "train.steps": 5000,
    "warm_start": FIRST_STAGE,
}
SMALL = dict(width=32, layers=2, heads=2, hidden=64)
VARIANTS = {
    "projector": {},
    "full": {
        **SECOND_STAGE,
        "optimizer.groups": (group("audio/encoder/.*", 2e-6), group(".*", 1e-5)),
    },
    "lora": {
        **SECOND_STAGE,
        "adapters": (
            dict(match="language/.*/(attention|mlp)/.*", rank=64, alpha=128.0, dropout=0.05),
        ),
        "optimizer.groups": (
            group("language/.*/lora/.*", 1e-4),
            group("audio/projector/.*", 2e-5),
            dict(optimizer="frozen"),
        ),
    },
    "smoke": {
        "data.train.talks": dict(path=str(EXAMPLE), validation=0.3, test=0.0),
        "data.batch_size": 4,
        "data.processor": dict(tokenizer="", vocab_size=400, max_length=100),
        "data.processor.audio": dict(bins=16, seconds=1.0, max_clips=2),
        "train": dict(steps=6, evaluate_every=3, log_every=1),
        "validation.talks.batch_size": 2,
        "model.audio.encoder.transformer": SMALL,
        "model.language.decoder": dict(**SMALL, kv_heads=1, head_size=16),
        "optimizer.groups.0.warmup": 1,
        "optimizer.groups.1.warmup": 1,
        "optimizer.accumulate": 1,
        "execution.mesh.fsdp": 1,
        "warm_start": "",
    },
}


def get_config():
    config = relative(__file__, "../base.py")
    talks = dict(
        name="conversations", path="data/audio/talks.jsonl", split="train", validation=0.001,
        test=0.0,
    )  # fmt: skip
    config.data = dict(
        train=dict(talks=talks),
        processor=dict(
            name="dialogue",
            max_images=0,
            audio=dict(
                name="sounds", bins=128, seconds=30.0, pool=2, buckets=(5.0, 10.0, 20.0)
            ),
            max_length=2048,
            tokenizer=QWEN,
            vocab_size=156_032,
        ),
        batch_size=256,
    )
    mixed = dict(dtype="bfloat16", stream="bfloat16", remat="full")
    config.model = dict(
        name="vlm",
        variant="Qwen2-Audio-7B",
        audio=dict(encoder=dict(transformer=mixed)),
        language=dict(decoder=mixed),
    )
    config.task = dict(name="language")
    config.warm_start = {"audio/encoder": WHISPER, "language": QWEN}
    config.optimizer.accumulate = 4
    config.optimizer.groups = (group("audio/projector/.*", 1e-3), dict(optimizer="frozen"))
    config.checkpoint = dict(every=500, latest=2, best=1, trained_only=True)
    config.checkpoint.metric = "validation/talks/perplexity"
    config.checkpoint.higher_is_better = False
    config.train = dict(steps=2000, log_every=10, evaluate_every=500)
    held_out = dict(name="@talks", split="validation")
    config.validation = dict(
        talks=dict(source=held_out, evaluator=dict(name="perplexity"), batch_size=64)
    )
    config.execution.mesh = dict(fsdp=8)
    return config
