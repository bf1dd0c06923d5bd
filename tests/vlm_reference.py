"""Processors of `transformers` for prompts with pictures, with a tokenizer made here; torch-free,
but for what makes them."""

import numpy as np

TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
WORDS = "USER ASSISTANT a b c cat dog what is this that in the picture answer en caption : ? . !"
# The template of llava-hf/llava-1.5-7b-hf.
TEMPLATE = """\
{% for message in messages %}{% if message['role'] != 'system' %}\
{{ message['role'].upper() + ': '}}{% endif %}{# Render all images first #}\
{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}\
{{ '<image>\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}\
{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}\
{{ content['text'] + ' '}}{% endfor %}{% else %}\
{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}\
{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"""
TEXTS = {
    "llava": ("<image> what is this?", "no picture", "a <image>\n<image> cat or <image> dog"),
    "paligemma": ("<image>caption en", "<image><image>what is this", "<image> <image> answer en"),
}
COUNTS = {"llava": (1, 0, 3), "paligemma": (1, 2, 2)}


def pictures(kind):
    """Noise of several shapes, uint8 [H, W, 3], for each text a list."""
    rng = np.random.default_rng(0)
    sides = iter([(20, 31), (37, 9), (40, 40), (25, 50), (20, 20)])
    noise = lambda: rng.integers(0, 256, (*next(sides), 3), dtype=np.uint8)  # noqa: E731
    return [[noise() for _ in range(count)] for count in COUNTS[kind]]


def conversation(picture):
    """Two turns, with a picture in each."""
    image = {"type": "image", "image": picture}

    def say(role, text, *images):
        return {"role": role, "content": [*images, {"type": "text", "text": text}]}

    return [
        say("user", "what is this?", image), say("assistant", "a cat."),
        say("user", "that?", image), say("assistant", "a dog!"),
    ]  # fmt: skip


def tokenizer():
    """Words and bytes, "<s>" before each text."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = [AddedToken(one, special=True, normalized=False) for one in TOKENS]
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    backend.train_from_iterator([WORDS] * 3, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        unk_token="<unk>", padding_side="left", extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip


def processor(kind, template=TEMPLATE):
    """The reference's, for pictures of 20 x 20 pixels in patches of 6: 9 tokens each."""
    import transformers

    if kind == "llava":
        pixels = transformers.CLIPImageProcessorPil(
            size={"shortest_edge": 20}, crop_size={"height": 20, "width": 20}
        )
        return transformers.LlavaProcessor(
            pixels, tokenizer(), patch_size=6, vision_feature_select_strategy="default",
            num_additional_image_tokens=1, chat_template=template,
        )  # fmt: skip
    pixels = transformers.SiglipImageProcessorPil(size={"height": 20, "width": 20})
    pixels.image_seq_length = 9
    return transformers.PaliGemmaProcessor(pixels, tokenizer())
