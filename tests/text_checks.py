"""What the tests of text families share: ours beside what the reference said; cached = full."""

import jax
import jax.numpy as jnp
import numpy as np
import text_reference

from mmjax.conversion import load


def ours(loaded, ids, valid):
    """Hidden states, pooled or logits of a loaded checkpoint, as `text_reference.outputs`."""

    @jax.jit
    def run(variables, ids, valid):
        return loaded.model.apply(variables, ids, valid, mutable=["intermediates"])

    out, kept = run(loaded.variables, jnp.asarray(ids), jnp.asarray(valid))
    (hidden,) = jax.tree.leaves(kept)
    found = {"hidden": hidden[1:], **out._asdict()}  # without the embeddings
    if "logits" in found:
        found["hidden"] = hidden[1:-1]
    return found


def agree(found, expected, valid, tolerance=1e-4):
    """Real places agree; what is said of padding does not matter."""
    for name, theirs in expected.items():
        mine = np.asarray(found[name])
        assert mine.shape == theirs.shape, name
        if name == "hidden":
            mine, theirs = mine[:, valid], theirs[:, valid]
        elif name == "logits":
            mine, theirs = mine[valid], theirs[valid]
        np.testing.assert_allclose(mine, theirs, atol=tolerance, rtol=0, err_msg=name)


def cached_is_full(loaded, ids, valid, full, chunk=True):
    """A prompt, three tokens at once (chunk), then one by one, with free slots left: the logits of
    the whole. Padding is inside the prompt on the left, inside the continuation on the right."""
    model, slots = loaded.model, ids.shape[1] + 3
    ids, valid = jnp.asarray(ids), jnp.asarray(valid)

    @jax.jit
    def prefill(variables, ids, valid):
        return model.apply(variables, ids, valid, slots=slots, method="prefill")

    @jax.jit
    def extend(variables, ids, cache, valid):
        return model.apply(variables, ids, cache, valid, method="extend")

    step = prefill(loaded.variables, ids[:, :5], valid[:, :5])
    logits = [step.logits]
    first = 8 if chunk else 5
    for start, stop in [(5, 8)] * chunk + [(i, i + 1) for i in range(first, ids.shape[1])]:
        new = ids[:, start:stop], step.cache, valid[:, start:stop]
        step = extend(loaded.variables, *new)
        logits.append(step.logits)
    logits = np.concatenate(logits, axis=1)
    np.testing.assert_allclose(logits[valid], np.asarray(full)[valid], atol=1e-5, rtol=0)


def same(first, second):
    """Bit for bit."""
    a, b = jax.tree.leaves(first.params), jax.tree.leaves(second.params)
    return jax.tree.structure(first.params) == jax.tree.structure(second.params) and all(
        x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(a, b, strict=True)
    )


def decoder(name, fields, vocabulary, folder, cached=False):
    """A decoder of the reference, live: hidden states, logits, saved and opened again."""
    reference = text_reference.build(name, **fields)
    ids, valid = text_reference.batch(vocabulary)
    expected = text_reference.outputs(reference, ids, valid)
    reference.save_pretrained(folder / "theirs")
    loaded = load.load(folder / "theirs")
    found = ours(loaded, ids, valid)
    agree(found, expected, valid)
    if cached:
        cached_is_full(loaded, ids, valid, found["logits"])
    load.save(loaded, folder / "ours")
    opened = text_reference.opened(name, folder / "ours")
    agree(text_reference.outputs(opened, ids, valid), expected, valid, 1e-5)
