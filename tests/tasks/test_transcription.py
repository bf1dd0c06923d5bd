"""Whisper's training: what is learned of a text, what is written, and the processor of both."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import unbox

from mmjax.data.source import CorruptExample
from mmjax.datasets import librivox
from mmjax.generation.options import Options
from mmjax.models import whisper
from mmjax.processors import transcription as processors
from mmjax.tasks import transcription

BODY = dict(width=16, layers=1, heads=2, hidden=32)
STACK = dataclasses.replace(whisper.STACK, **BODY)
CONFIG = processors.Config(max_length=90, seconds=7.2, bins=8, vocab_size=280)


@pytest.fixture(scope="module")
def made():
    """Processor, task with its variables, two clips in batches, and the model's compiled call."""
    source = librivox.open(librivox.Config())
    processor = processors.build(CONFIG, lambda: [source], None)
    model = whisper.Model(
        whisper.Config(8, 720, processor.vocab_size, 128, encoder=STACK, decoder=STACK)
    )
    rules = processor.sizes
    options = Options(
        max_new_tokens=6, end_ids=rules["generate.end_ids"], padding_id=rules["generate.padding_id"]
    )
    task = transcription.build(transcription.Config(generate=options), model)
    batch = {}
    for name in ("train", "evaluate"):
        examples = []
        for row in range(2):
            example = source[row]
            for transform in getattr(processor, name):
                example = transform(example, np.random.default_rng(0))
            examples.append({key: value for key, value in example.items() if key != "id"})
        batch[name] = jax.tree.map(jnp.asarray, processor.collate(examples))
    variables = unbox(jax.jit(task.init)(jax.random.key(0), batch["train"]))
    grown = jax.tree.map(lambda x: 5 * x if x.ndim > 2 else x, variables["params"])
    return processor, task, {"params": grown, "state": {}}, batch, jax.jit(model.apply)


def test_words_and_end_are_learned_and_the_prompt_is_read(made):
    processor, task, variables, batch, apply = made
    rows = batch["train"]
    start, plain = processor.prompt
    assert rows["audio"].shape == (2, 720, 8)
    assert (rows["text"][:, 0] == start).all() and (rows["text"][:, 1] == plain).all()
    assert (rows["text_weight"][:, :2] == 0).all()
    logits = apply(variables, rows["audio"], rows["text"], rows["text_mask"]).logits
    log_probs = jax.nn.log_softmax(logits)
    wanted = []
    for row in range(2):
        length = int(rows["text_mask"][row].sum())
        assert rows["text"][row, length - 1] == processor.whisper.decoding.end
        for place in range(2, length):
            wanted.append(-log_probs[row, place - 1, rows["text"][row, place]])
    key = jax.random.key(0)
    loss_of = jax.jit(lambda rows: task.loss(variables, rows, None, key, jnp.int32(0), train=False))
    loss = loss_of(rows).parts["text"]
    total = (loss.values * loss.weights).sum() / task.totals(rows)["text"]
    np.testing.assert_allclose(total, np.mean(wanted), rtol=1e-5)


def test_what_is_written_is_the_likeliest(made):
    processor, task, variables, batch, apply = made
    rows = batch["evaluate"]
    assert rows["text"].tolist() == [list(processor.prompt)] * 2
    np.testing.assert_array_equal(rows["answered"], batch["train"]["text"])
    said = jax.jit(task.generate)(variables, rows, jax.random.split(jax.random.key(0), 2))
    text = np.array(batch["train"]["text"])  # as long as the other test's: one program for both
    mask = np.zeros(text.shape, bool)
    start = len(processor.prompt)
    mask[:, :start] = True
    for place in range(start, start + task.config.generate.max_new_tokens):
        logits = apply(variables, rows["audio"], jnp.asarray(text), jnp.asarray(mask)).logits
        text[:, place] = logits[:, place - 1].argmax(-1)
        mask[:, place] = True
    there = np.asarray(said["text_mask"])
    assert there.any(1).all()
    written = text[:, start:][:, : there.shape[1]]
    np.testing.assert_array_equal(np.asarray(said["text"])[there], written[there])
    score = jax.jit(task.score)(variables, rows, jax.random.split(jax.random.key(0), 2))
    assert score["tokens"].tolist() == batch["train"]["text_weight"].sum(1).tolist()


def test_texts_come_back(made, tmp_path):
    processor, _, _, batch, _ = made
    source = librivox.open(librivox.Config())
    arrays = jax.tree.map(np.asarray, batch["train"])
    assert processor.show(arrays, 0)["text"] == source[0]["text"]
    assert processor.lengths(source)["text"][0] == batch["train"]["text_mask"][0].sum()
    processor.save(tmp_path)
    again = processors.build(CONFIG, None, tmp_path)
    assert again.prompt == processor.prompt and again.sizes == processor.sizes
    assert again.train[-1].words("and then") == processor.train[-1].words("and then")


def test_what_would_be_cut_is_refused(made):
    processor = made[0]
    short = dataclasses.replace(processor.train[-1], max_length=5)
    with pytest.raises(CorruptExample, match="more than max_length=5"):
        short({"text": "a text that is longer than so few tokens"})
    with pytest.raises(CorruptExample, match="8.00 seconds of sound"):
        processor.whisper.mel({"audio": np.zeros(128_000, np.float32)})
