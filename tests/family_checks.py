"""What the tests of families share: ours beside what the reference said, cached = full, saved =
loaded. No torch."""

import jax
import jax.numpy as jnp
import numpy as np

from mmjax import tree

KEPT = ["intermediates"]


def once(function, *arguments):
    """What it returns, compiled with haste: for large programs that run a single time."""
    hasty = {"xla_backend_optimization_level": 0}
    return jax.jit(function).lower(*arguments).compile(compiler_options=hasty)(*arguments)


def ours(loaded, *arguments):
    """What a checkpoint returns, by name, with the "hidden" states behind each block
    [layers, B, L, D], and "encoder_hidden" where an encoder stands beside a decoder."""
    run = jax.jit(lambda *a: loaded.model.apply(*a, mutable=["intermediates"]))
    arguments = [jnp.asarray(one) for one in arguments if one is not None]
    out, kept = run(loaded.variables, *arguments)
    found = out._asdict()
    for stack, inside in kept["intermediates"].items():
        (states,) = jax.tree.leaves(inside)
        # without the embeddings, which the reference gives first
        found["encoder_hidden" if stack == "encoder" else "hidden"] = states[1:]
    return found


def ours_of_images(loaded, *arguments):
    """What a BLIP returns, by the names of `family_reference.seen`."""
    answered = loaded.config.texts == "both"
    arguments = [jnp.asarray(one) for one in arguments[: 5 if answered else 3]]
    run = jax.jit(lambda *a: loaded.model.apply(*a, mutable=["intermediates"]))
    out, kept = run(loaded.variables, *arguments)
    found = out._asdict()
    inside = kept["intermediates"]
    found["image_hidden"] = inside["image"]["transformer"]["hidden_states"][0][1:]
    if loaded.config.texts != "decoder":
        # alone where texts are compared, and beside the image
        *alone, fused = inside["text"]["transformer"]["hidden_states"]
        found["fused_hidden"] = fused[1:]
        if alone:
            found["text_hidden"] = alone[0][1:]
    if loaded.config.texts != "encoder":
        found["written_hidden"] = inside["decoder"]["transformer"]["hidden_states"][0][1:]
    if out.image_embedding is not None:
        found["similarity"] = out.image_embedding @ out.text_embedding.T
    return found


def apart(loaded, expected):
    """What `family_reference.seen` returned: of images and texts, and of what is written."""
    by_decoder = ("logits", "written_hidden")
    written = {name: expected[name] for name in by_decoder if name in expected}
    texts = {name: value for name, value in expected.items() if name not in by_decoder}
    if loaded.config.texts == "both":
        texts.pop("text_hidden")  # it reads no question without its image
    return texts, written


def agree(found, expected, valid, tolerance=1e-4):
    """Real places agree; what is said of padding does not matter.

    Args:
      expected: by name; the last of the hidden states may be missing, which the reference often
        gives behind a norm only.
      valid: [B, L], None: all is real. Arrays with other axes in this place are compared whole.
    """
    for name, theirs in expected.items():
        mine = np.asarray(found[name])
        if name.endswith("hidden"):
            assert len(mine) - len(theirs) in (0, 1), name
            mine = mine[: len(theirs)]
            mine, theirs = np.moveaxis(mine, 0, 2), np.moveaxis(theirs, 0, 2)
        assert mine.shape == theirs.shape, name
        if valid is not None and mine.shape[:2] == valid.shape:
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


def same(params, others):
    """Bit for bit, in the same types and order."""
    assert jax.tree.structure(params) == jax.tree.structure(others)
    others = tree.flatten(others)
    for path, value in tree.flatten(params).items():
        assert value.dtype == others[path].dtype, path
        np.testing.assert_array_equal(value, others[path], err_msg=path)


def ours_of_sounds(loaded, sounds, texts=None):
    """What an AST or a CLAP says of clips and texts, by the names of `sound_reference.said`: the
    processor's arrays through the model's call."""
    batch = {} if sounds is None else loaded.processor(sounds)
    if texts is not None:
        batch |= dict(zip(("ids", "mask"), texts, strict=True))
    run = jax.jit(lambda batch: loaded.model.apply(loaded.variables, **batch, mutable=KEPT))
    out, kept = run({name: jnp.asarray(value) for name, value in batch.items()})
    inside = tree.flatten(kept.get("intermediates", {}))
    found = {}
    for path, (state,) in inside.items():
        if path == "audio/transformer/hidden_states":
            found["hidden"] = state[1:]
        elif path.startswith("audio/"):
            found[path.removesuffix("/hidden_states").rpartition("/")[2]] = state
    if hasattr(out, "_asdict"):
        return {**found, **out._asdict()}
    found["text"], found["audio"] = out
    for rows, columns in (("audio", "text"), ("text", "audio")):
        scale, _ = loaded.model.apply(loaded.variables, rows, method="scale_and_bias")
        found[f"logits_per_{rows}"] = scale * (found[rows] @ found[columns].T)
    return found
