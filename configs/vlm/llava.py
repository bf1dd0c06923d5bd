"""LLaVA-1.5 in its two stages, at the paper's size: CLIP L/14 at 336 pixels, an MLP, Llama-2-7B.

    python -m mmjax.main --config=configs/vlm/llava.py:projector --workdir=runs/llava/projector
    python -m mmjax.main --config=configs/vlm/llava.py:lora --workdir=runs/llava/lora   # or :full
    python -m mmjax.main --mode=chat --model=runs/llava/lora --images=cat.jpg

Papers: https://arxiv.org/abs/2304.08485, https://arxiv.org/abs/2310.03744; the numbers are those of
the authors' scripts.

* `:projector`, which is what the file says without a variant: the projector alone learns to caption
  558K pictures, batch 256, AdamW at 1e-3. (Theirs sees no question in this stage, ours does.)
* `:full`: projector and language model learn 665K conversations from where the first stage ended,
  batch 128, 2e-5. `:lora`: of the language model matrices of rank 128 beside its maps, 2e-4.
* The data is theirs as one object per line (mmjax/readers/conversations.py), in data/llava. Llama's
  folder gives the tokenizer and the weights; CLIP's comes from the hub, or name its folder.

NOT run here at this size: 7.06 billion parameters want 8 devices of 80 GiB, the mesh of the config.
`--mode=plan --devices=8 --hardware=H100` says what a step needs. What runs here is `:smoke`
(seconds, the same path with tiny towers on easy-VQA), and after it `:full,smoke` and `:lora,smoke`,
with `--config.warm_start=` and the folder of the first.
"""

from mmjax.config import relative

LLAMA = "checkpoints/Llama-2-7b-hf"
CLIP = "openai/clip-vit-large-patch14-336#image"
FIRST_STAGE = "runs/llava/projector"
PICTURES = 558_128
CONVERSATIONS = 665_298
WARMUP = 0.03  # share of the steps


def group(match: str, learning_rate: float, steps: int) -> dict:
    return dict(match=match, learning_rate=learning_rate, warmup=int(WARMUP * steps))


STEPS = PICTURES // 256
MORE_STEPS = CONVERSATIONS // 128
SECOND_STAGE = {
    "data.train.talks.path": "data/llava/llava_v1_5_mix665k.jsonl",
    "data.batch_size": 128,
    "data.processor.max_length": 2048,  # 576 of them are a picture's
    "train.steps": MORE_STEPS,
    "optimizer.accumulate": 2,
    "warm_start": FIRST_STAGE,
}
SMALL = dict(width=32, layers=2, heads=2, hidden=64)
VARIANTS = {
    "projector": {},
    "full": {
        **SECOND_STAGE,
        "optimizer.groups": (
            dict(match="image/.*", optimizer="frozen"),
            group(".*", 2e-5, MORE_STEPS),
        ),
    },
    "lora": {
        **SECOND_STAGE,
        "adapters": (
            dict(match="language/.*/(attention|mlp)/.*", rank=128, alpha=256.0, dropout=0.05),
        ),
        "optimizer.groups": (
            group("language/.*/lora/.*", 2e-4, MORE_STEPS),
            group("projector/.*", 2e-5, MORE_STEPS),
            dict(optimizer="frozen"),
        ),
    },
    "smoke": {
        "data.train.talks": dict(name="easy_vqa", split="train"),
        "data.batch_size": 16,
        "data.processor": dict(image_size=28, tokenizer="", vocab_size=400, max_length=100),
        "validation.talks.source": dict(name="easy_vqa", split="validation"),
        "validation.talks.evaluator.rows": 32,
        "train": dict(steps=6, evaluate_every=3, log_every=1),
        "model.image.transformer": SMALL,
        "model.language.decoder": dict(**SMALL, kv_heads=1, head_size=16),
        "optimizer.groups.0.warmup": 1,
        "optimizer.groups.1.warmup": 1,
        "execution.mesh.fsdp": 1,
        "warm_start": "",
    },
}


def get_config():
    config = relative(__file__, "../base.py")
    talks = dict(
        name="conversations", path="data/llava/blip_laion_cc_sbu_558k.jsonl", split="train",
        validation=0.001, test=0.0,
    )  # fmt: skip
    config.data = dict(
        train=dict(talks=talks),
        processor=dict(
            name="dialogue", image_size=336, patch_size=14, max_length=768, roles="words",
            tokenizer=LLAMA, vocab_size=32_064,
        ),
        batch_size=256,
    )  # fmt: skip
    mixed = dict(dtype="bfloat16", stream="bfloat16", remat="full")
    config.model = dict(
        name="vlm",
        variant="LLaVA-1.5-7B",
        image=dict(transformer=mixed),
        language=dict(context_length=4096, decoder=mixed),
    )
    config.task = dict(name="language")
    config.warm_start = dict(image=CLIP, language=LLAMA)
    config.optimizer.groups = (
        group("projector/.*", 1e-3, STEPS),
        dict(optimizer="frozen"),
    )
    config.checkpoint = dict(every=500, latest=2, best=1, trained_only=True)
    config.checkpoint.metric = "validation/talks/perplexity"
    config.checkpoint.higher_is_better = False
    config.train = dict(steps=STEPS, log_every=10, evaluate_every=500)
    held_out = dict(name="@talks", split="validation")
    config.validation = dict(
        talks=dict(source=held_out, evaluator=dict(name="perplexity"), batch_size=64)
    )
    config.execution.mesh = dict(fsdp=8)
    return config
