"""The contract of decoders (layers/decoding.py), each property for every family."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.linen import unbox

from mmjax import tree
from mmjax.layers import decoder, rotary, stack, transformer
from mmjax.layers.attention import WEIGHTS
from mmjax.models import blip, gpt2, llama, whisper, whisper_encoder
from mmjax.training import optimizer, sharding

BODY = transformer.Config(width=16, layers=2, heads=2, hidden=32, initialisation="gpt2")
GPT2 = gpt2.Config(23, 16, BODY)
LLAMA = llama.Config(
    23, 16,
    decoder.Config(16, 3, 4, 2, 6, 24, windows=(3, 0), attention_cap=5.0,
                   rotary=rotary.Config(100.0)),
    tied=True, embedding_scale=4.0, logits_cap=9.0,
)  # fmt: skip
SPEECH = dataclasses.replace(BODY, key_bias=False, initialisation="bert")
READ = dataclasses.replace(BODY, norm="post", initialisation="bert")
MODELS = {
    "gpt2": gpt2.Model(GPT2),
    "llama": llama.Model(LLAMA),
    "whisper": gpt2.Model(dataclasses.replace(GPT2, transformer=SPEECH)),  # with a context
    "blip": blip.Text(dataclasses.replace(GPT2, transformer=READ), shared=True),  # likewise
}
WITH_CONTEXT = ("whisper", "blip")
B, L, C = 2, 7, 5


def ids(key=1, length=L):
    return jax.random.randint(jax.random.key(key), (B, length), 1, 23)


@functools.cache
def start(name):
    """Parameters with some noise on everything, and what the model is given besides: a context
    whose last positions are padding."""
    kwargs = {}
    if name in WITH_CONTEXT:
        context = jax.random.normal(jax.random.key(5), (B, C, 16))
        kwargs = dict(context=context, context_mask=jnp.array([[1, 1, 1, 0, 0], [1] * 5]))
    model = MODELS[name]
    params = jax.jit(lambda key: unbox(model.init(key, ids(), **kwargs)))(jax.random.key(0))
    leaves, form = jax.tree.flatten(params)
    noisy = [
        leaf + 0.1 * jax.random.normal(jax.random.key(i), leaf.shape)
        for i, leaf in enumerate(leaves)
    ]
    return model, jax.tree.unflatten(form, noisy), kwargs


# Whisper's decoder is GPT-2 with a context; BLIP's has its norms behind the sums
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in WITH_CONTEXT]


@pytest.fixture(params=["llama", *SLOW])
def started(request):
    return start(request.param)


def close(a, b, atol=2e-5):
    np.testing.assert_allclose(a, b, atol=atol, rtol=0)


PREFIX = jnp.array([[0, 1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0]])
VALID = jnp.array([[0, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]])


def test_what_a_token_depends_on(started):
    """By gradients that are zero, not small: later tokens, padding and a context's padding."""
    model, variables, kwargs = started
    context = kwargs.get("context", jnp.zeros((B, C, 16)))

    @jax.jit
    def strength(prefix):
        def says(x, context):
            extra = {**kwargs, "context": context} if kwargs else {}
            tokens = model.apply(variables, x, VALID, prefix=prefix, logits_at="none", **extra)
            return tokens.tokens.sum(-1)  # [B, L]

        x = model.apply(variables, ids(), method="embed")
        to_x, to_context = jax.jacobian(says, (0, 1))(x, context)
        own = jnp.arange(B)
        return jnp.abs(to_x[own, :, own]).sum(-1), jnp.abs(to_context[own, :, own]).sum(-1)

    for prefix in (jnp.zeros_like(PREFIX), PREFIX):
        to_x, to_context = (np.asarray(x) for x in strength(prefix))
        for row in range(B):
            valid, both = np.asarray(VALID[row], bool), np.asarray(prefix[row], bool)
            allowed = np.tril(np.ones((L, L), bool)) | np.outer(both, both)
            seen = to_x[row][valid][:, valid] > 0
            assert not to_x[row][valid][:, ~valid].any()
            assert not (seen & ~allowed[valid][:, valid]).any()
            first = np.flatnonzero(valid)[0]
            assert seen.diagonal().all()
            assert (to_x[row, first, first + 1] > 0) == both.any()  # a prefix is seen both ways
        if kwargs:
            assert not to_context[0, 1:, 3:].any() and to_context[0, 1:, :3].all()
            assert to_context[1, :5].all()


def test_padding_changes_nothing(started):
    """Seven real tokens alone, behind two of padding, before two, and as a mask of 0 and 1."""
    model, variables, kwargs = started

    @jax.jit
    def run(ids, mask):
        return model.apply(variables, ids, mask, **kwargs).logits

    alone = jax.jit(lambda: model.apply(variables, ids(), **kwargs).logits)()
    for before in (0, 2):
        padding = ((0, 0), (before, 2 - before))
        wide = jnp.pad(ids(), padding, constant_values=9)
        mask = jnp.pad(jnp.ones((B, L), int), padding)
        close(run(wide, mask)[:, before : before + L], alone)
        close(run(wide, mask.astype(bool))[:, before : before + L], alone)


def test_read_bit_by_bit_is_the_whole(started):
    """From embeddings, with a prefix in the prompt, padding on both sides, slots to spare."""
    model, variables, kwargs = started

    @jax.jit
    def whole():
        return model.apply(variables, ids(), VALID, prefix=PREFIX, **kwargs)

    @jax.jit
    def in_parts():
        apply = functools.partial(model.apply, variables)
        x = apply(ids(), method="embed")
        step = apply(
            x[:, :4], VALID[:, :4], slots=L + 2, prefix=PREFIX[:, :4], method="prefill", **kwargs
        )
        steps = [step]
        for part in (slice(4, 6), slice(6, 7)):
            # token ids again, after embeddings
            step = apply(ids()[:, part], step.cache, VALID[:, part], method="extend")
            steps.append(step)
        return [jnp.concatenate([getattr(s, n) for s in steps], 1) for n in ("tokens", "logits")]

    real = np.asarray(VALID, bool)
    for got, want in zip(in_parts(), whole(), strict=True):
        close(np.asarray(got)[real], np.asarray(want)[real])


def test_packed_is_unpacked(started):
    """Two texts and padding in one row, a prefix in each, say what they say alone."""
    model, variables, kwargs = started
    kwargs = {name: value[:1] for name, value in kwargs.items()}
    row, prefix = ids()[:1], jnp.array([[1, 1, 0, 1, 1, 0, 0]])
    segment = jnp.array([[0, 0, 0, 1, 1, 1, -1]])

    @jax.jit
    def run():
        apply = functools.partial(model.apply, variables)
        packed = apply(row, segment=segment, prefix=prefix, **kwargs).logits
        apart = [apply(row[:, s : s + 3], prefix=prefix[:, s : s + 3], **kwargs) for s in (0, 3)]
        return packed[:, :6], jnp.concatenate([one.logits for one in apart], 1)

    close(*run())


def test_logits_only_where_asked(started):
    model, variables, kwargs = started
    places = jnp.array([[2, 0], [4, 4]])

    @jax.jit
    def run():
        def at(logits_at):
            return model.apply(variables, ids(), VALID, logits_at=logits_at, **kwargs).logits

        return at("all"), at("last"), at(places), at("none")

    every, last, asked, none = run()
    assert none is None and last.shape == (B, 1, 23)
    close(last[:, 0], every[jnp.arange(B), jnp.array([6, 4])], 1e-6)
    close(asked, jnp.take_along_axis(every, places[..., None], 1), 1e-6)
    # and no more are formed: the widest array of the program has no axis L beside V
    text = jax.jit(
        lambda: model.apply(variables, ids(), VALID, logits_at="last", **kwargs).logits
    ).lower().as_text()  # fmt: skip
    assert f"{B}x1x23xf32" in text and f"{B}x{L}x23xf32" not in text


def test_rows_are_taken_and_tokens_forgotten(started):
    model, variables, kwargs = started

    @jax.jit
    def run():
        apply = functools.partial(model.apply, variables)
        extend = functools.partial(apply, method="extend")
        first = apply(ids()[:, :4], slots=9, method="prefill", **kwargs).cache
        more = ids(2, 2)
        plain = extend(more, first)
        rows = jnp.array([1, 1, 0])
        taken = extend(more[rows], first.take(rows))
        again = extend(more, plain.cache.rollback(4))
        # row 0 keeps one token of two, row 1 both: what row 0 then reads stands behind the one
        uneven = extend(ids(3, 1), plain.cache.rollback(jnp.array([5, 6])))
        shorter = extend(ids(3, 1), extend(more[:, :1], first).cache)
        longer = extend(ids(3, 1), plain.cache)
        return plain.logits, taken.logits, again.logits, uneven.logits, shorter, longer

    plain, taken, again, uneven, shorter, longer = run()
    close(taken, plain[jnp.array([1, 1, 0])], 1e-6)
    close(again, plain, 1e-6)
    close(uneven[0], shorter.logits[0])
    close(uneven[1], longer.logits[1])


def test_a_narrow_cache_is_close():
    model, variables, kwargs = start("llama")

    @jax.jit
    def run(variables):
        def step(dtype):
            apply = functools.partial(model.apply, variables)
            first = apply(ids(), slots=8, cache_dtype=dtype, method="prefill", **kwargs)
            return apply(ids()[:, :1], first.cache, method="extend")

        return step(None), step("bfloat16")

    exact, narrow = run(variables)
    assert narrow.cache.past.key.dtype == jnp.bfloat16 and narrow.logits.dtype == jnp.float32
    error = np.linalg.norm(narrow.logits - exact.logits) / np.linalg.norm(exact.logits)
    assert 0 < error < 2e-2


def test_hidden_states_and_attention_weights(started):
    """The embeddings come first; weights are averages, and zero where the mask is."""
    model, variables, kwargs = started

    @jax.jit
    def run():
        mutable = ["intermediates", WEIGHTS]
        out, seen = model.apply(variables, ids(), VALID, mutable=mutable, **kwargs)
        plain, less = model.apply(variables, ids(), VALID, mutable=["intermediates"], **kwargs)
        assert WEIGHTS not in less
        return out, plain, seen

    out, plain, seen = run()
    close(out.logits, plain.logits, 1e-6)
    stack_name = "decoder" if isinstance(model, llama.Model) else "transformer"
    (hidden,) = seen["intermediates"][stack_name]["hidden_states"]
    layers = 3 if stack_name == "decoder" else 2
    assert hidden.shape == (layers + 1, B, L, 16)
    weights = jax.tree.leaves(seen[WEIGHTS])
    assert len(weights) == 1 + bool(kwargs)
    for leaf in weights:
        assert leaf.shape[:2] == (layers, B) and leaf.shape[3] == L
        close(leaf.sum(-1), jnp.ones(leaf.shape[:-1]))
        if leaf.shape[-1] == L:
            assert not np.asarray(leaf)[:, :, :, np.triu(np.ones((L, L), bool), 1)][:, 1].any()
        else:
            assert not leaf[:, 0, :, :, 3:].any()


def test_layers_apart_are_the_stack(started):
    model, variables, kwargs = started
    apart = {"params": stack.layers_apart(variables["params"])}
    run = jax.jit(lambda v: model.apply(v, ids(), VALID, mutable=["intermediates"], **kwargs))
    (one, seen), (other, also) = run(variables), run(apart)
    real = np.asarray(VALID, bool)
    close(np.asarray(one.logits)[real], np.asarray(other.logits)[real])
    assert jax.tree.map(jnp.shape, seen) == jax.tree.map(jnp.shape, also)


def test_a_context_as_keys_and_values():
    model, variables, kwargs = start("whisper")

    @jax.jit
    def run():
        kept = model.apply(variables, kwargs["context"], method="cross_kv")
        return [
            model.apply(variables, ids(), context=context, context_mask=kwargs["context_mask"])
            for context in (kwargs["context"], kept)
        ]

    one, other = run()
    close(one.logits, other.logits, 1e-6)


def test_a_context_is_read_head_by_head():
    """Where layers are apart on a CPU: the same, of rows that are taken too, and of weights."""
    model, variables, kwargs = start("whisper")
    apart = {"params": stack.layers_apart(variables["params"])}
    first, last = ids()[:, :-1], ids()[:, -1:]

    @jax.jit
    def run(variables):
        prefill = functools.partial(model.apply, variables, method="prefill")
        step = prefill(first, slots=ids().shape[1], **kwargs)
        kept = step.cache.take(jnp.array([1, 0, 1]))
        tokens = jnp.concatenate([last, last])[jnp.array([1, 0, 1])]
        return step.cache.context, model.apply(
            variables, tokens, kept, method="extend", mutable=["attention_weights"]
        )

    whole, (one, seen) = run(variables)
    by_head, (other, also) = run(apart)
    assert len(by_head.past) == len(whole.past.key)
    close(whole.past.value[1].swapaxes(1, 2), by_head.past[1].value)
    close(one.logits, other.logits)
    of_layers = [found["cross"]["weights"][0] for found in _blocks(also["attention_weights"])]
    close(_blocks(seen["attention_weights"])[0]["cross"]["weights"][0], jnp.stack(of_layers))


def _blocks(tree):
    """What stands below the blocks of a decoder's stack."""
    below = tree["transformer"]
    return [below[name] for name in sorted(below)]


def test_scale_by_layer_divides_the_queries():
    model, variables, _ = start("gpt2")
    config = dataclasses.replace(GPT2, transformer=dataclasses.replace(BODY, scale_by_layer=True))

    def divided(path, leaf):
        if "/query/" not in path:
            return leaf
        return leaf / jnp.arange(1, 3).reshape(-1, *[1] * (leaf.ndim - 1))

    by_hand = {"params": tree.map_with_path(divided, variables["params"])}
    run = lambda model, v: jax.jit(model.apply)(v, ids()).logits  # noqa: E731
    close(run(gpt2.Model(config), variables), run(model, by_hand), 1e-6)
    assert np.abs(run(model, variables) - run(model, by_hand)).max() > 1e-3


def test_a_tied_head_learns_in_bfloat16():
    """XLA's CPU backend cannot multiply bfloat16 operands in the form that autodiff would give."""
    model, variables, kwargs = start("whisper")
    body = dataclasses.replace(SPEECH, dtype="bfloat16")
    low = gpt2.Model(dataclasses.replace(GPT2, transformer=body))

    def loss(model, variables):
        logits = model.apply(variables, ids(), **kwargs).logits
        return optax.softmax_cross_entropy_with_integer_labels(logits, ids()).mean()

    exact = jax.jit(jax.grad(lambda v: loss(model, v)))(variables)["params"]["tokens"]
    found = jax.jit(jax.grad(lambda v: loss(low, v)))(variables)["params"]["tokens"]
    assert np.linalg.norm(found - exact) < 2e-2 * np.linalg.norm(exact)


@pytest.mark.slow
def test_whispers_constant_positions_stay():
    """No gradient and no weight decay reaches the sinusoids."""
    model = whisper.Model(whisper.Config(5, 12, 16, 6, SPEECH, SPEECH))
    sound = jax.random.normal(jax.random.key(3), (2, 12, 5))
    words = ids(length=6) % 16
    boxed = jax.eval_shape(model.init, jax.random.key(0), sound, words)["params"]
    axes = sharding.logical_axes(boxed)
    sharding.table(sharding.Config(), axes)  # every axis has a rule
    build = optimizer.build(
        optimizer.Config((optimizer.Group(".*", weight_decay=0.5, warmup=0),)), axes, steps=9
    )
    params = unbox(jax.jit(model.init)(jax.random.key(0), sound, words))["params"]

    @jax.jit
    def step(params, state):
        def loss(params):
            return (model.apply({"params": params}, sound, words).logits ** 2).mean()

        updates, state = build.transformation.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates)

    after = step(params, build.transformation.init(params))
    before = params["encoder"]["positions"]
    np.testing.assert_array_equal(after["encoder"]["positions"], before)
    close(before, whisper_encoder.sinusoids(6, 16), 1e-6)
    assert (after["decoder"]["positions"] != params["decoder"]["positions"]).any()
