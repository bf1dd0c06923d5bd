"""Models of videos live against `transformers`, on tiny random checkpoints of odd shapes: hidden
states of every layer, tokens, heads, losses, to 1e-4; saved and opened by the reference. Frames as
processors prepare them, to 1e-5."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import video_reference
from family_reference import opened

from mmjax.conversion import load
from mmjax.objectives import masked_video

pytestmark = pytest.mark.parity

ODD = dict(image_size=31, patch_size=6, num_frames=5)  # pixels and a frame are left over
EVEN = dict(image_size=12, patch_size=4, num_frames=4)
BODY = dict(hidden_size=30, num_hidden_layers=3, num_attention_heads=5, intermediate_size=44)
ONE = dict(hidden_size=18, num_hidden_layers=1, num_attention_heads=1, intermediate_size=7)
LABELS = video_reference.LABELS


def cubes(sizes, frames):
    """ViViT's name for the size of a tubelet."""
    sizes = dict(sizes)
    edge = sizes.pop("patch_size")
    return dict(sizes, tubelet_size=[frames, edge, edge])


VIVIT = {
    "odd": ("VivitModel", dict(BODY, **cubes(ODD, 2), pooler_output_size=11)),
    "one_head_grey": (
        "VivitModel",
        dict(ONE, **cubes(EVEN, 4), num_channels=1, hidden_act="relu", layer_norm_eps=1e-3),
    ),
    "classes": ("VivitForVideoClassification", dict(BODY, **cubes(EVEN, 1), **LABELS)),
    "classes_without_biases": (
        "VivitForVideoClassification",
        dict(BODY, **cubes(ODD, 3), num_labels=5, qkv_bias=False),
    ),
}


def run(loaded, *arguments, **kwargs):
    """The output as a dict, with "hidden" states of the only tower that they were asked of."""
    apply = jax.jit(lambda *a: loaded.model.apply(*a, **kwargs, mutable=["intermediates"]))
    arguments = [None if one is None else jnp.asarray(one) for one in arguments]
    out, kept = apply(loaded.variables, *arguments)
    return out._asdict(), kept["intermediates"]


def hidden_states(kept):
    (states,) = kept["transformer"]["hidden_states"]
    return states


def close(found, expected, names=None):
    for name in names or expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4, rtol=0, err_msg=name)


def saved_again(loaded, name, tmp_path, ask, expected):
    """What the reference says of what was saved here."""
    load.save(loaded, tmp_path / "ours")
    again = ask(opened(name, tmp_path / "ours"))
    assert again.keys() == expected.keys()
    for output, theirs in expected.items():
        np.testing.assert_allclose(again[output], theirs, atol=1e-5, rtol=0, err_msg=output)


def theirs(name, fields, tmp_path):
    model = video_reference.build(name, **fields)
    model.save_pretrained(tmp_path / "theirs")
    return model, load.load(tmp_path / "theirs")


@pytest.mark.parametrize("case", VIVIT)
def test_vivit(case, tmp_path):
    name, fields = VIVIT[case]
    reference, loaded = theirs(name, fields, tmp_path)
    video = video_reference.clips(fields["num_frames"], fields["image_size"],
                                  fields.get("num_channels", 3))  # fmt: skip
    expected = video_reference.said(reference, video)
    found, kept = run(loaded, video)
    found["hidden"] = hidden_states(kept["video"])
    close(found, expected)
    saved_again(loaded, name, tmp_path, lambda m: video_reference.said(m, video), expected)


def test_vivit_of_shorter_clips(tmp_path):
    """A clip of fewer frames than the model has: the reference gets a mask of tokens."""
    name, fields = VIVIT["odd"]
    reference, loaded = theirs(name, fields, tmp_path)
    video = video_reference.clips(5, 31)
    frames = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], bool)
    valid = np.concatenate([np.ones((2, 1), bool), frames[:, :4:2].repeat(25, 1)], 1)
    expected = video_reference.said(reference, video, valid=valid)
    found, kept = run(loaded, video, frames)
    found["hidden"] = hidden_states(kept["video"])
    for one in (found, expected):
        one["tokens"] = np.where(valid[..., None], one["tokens"], 0)
        one["hidden"] = np.where(valid[None, ..., None], one["hidden"], 0)
    close(found, expected)


VIDEOMAE = {
    "tower": ("VideoMAEModel", dict(BODY, **ODD, tubelet_size=2)),
    "tower_first": (
        "VideoMAEModel", dict(ONE, **EVEN, use_mean_pooling=False, hidden_act="gelu_new")
    ),
    "classes": ("VideoMAEForVideoClassification", dict(BODY, **ODD, tubelet_size=3, **LABELS)),
    "classes_first": (
        "VideoMAEForVideoClassification",
        dict(ONE, **EVEN, num_labels=4, use_mean_pooling=False, qv_bias=False),
    ),
}


@pytest.mark.parametrize("case", VIDEOMAE)
def test_videomae(case, tmp_path):
    name, fields = VIDEOMAE[case]
    reference, loaded = theirs(name, fields, tmp_path)
    video = video_reference.clips(fields["num_frames"], fields["image_size"])
    expected = video_reference.said(reference, video)
    found, kept = run(loaded, video)
    found["hidden"] = hidden_states(kept["video"])
    close(found, expected)
    saved_again(loaded, name, tmp_path, lambda m: video_reference.said(m, video), expected)


PRETRAINING = {
    "normalised": dict(BODY, **EVEN, **video_reference.DECODER, use_mean_pooling=False),
    "plain": dict(
        ONE, **EVEN, **video_reference.DECODER, norm_pix_loss=False, layer_norm_eps=1e-3,
        tubelet_size=4,
    ),
    "grey": dict(BODY, **EVEN, **video_reference.DECODER, num_channels=1, tubelet_size=1),
}  # fmt: skip


@pytest.mark.parametrize("case", PRETRAINING)
def test_videomae_pretraining(case, tmp_path):
    name, fields = "VideoMAEForPreTraining", PRETRAINING[case]
    reference, loaded = theirs(name, fields, tmp_path)
    video = video_reference.clips(4, 12, fields.get("num_channels", 3))
    seen = video_reference.visible(4 // fields.get("tubelet_size", 2), 9, 3)
    expected = video_reference.said(reference, video, seen)
    found, kept = run(loaded, video, seen)
    found["hidden"] = hidden_states(kept["video"])
    found["logits"] = found["pixels"]
    asked = (jnp.asarray(video), found["hidden_places"])
    target = loaded.model.apply(loaded.variables, *asked, method="targets")
    found["loss"] = masked_video.squared_error(found["pixels"], target).mean()
    assert "hidden" in expected
    close(found, expected)
    saved_again(loaded, name, tmp_path, lambda m: video_reference.said(m, video, seen), expected)


TIMESFORMER = {
    f"{kind}{which}": (name, dict(sizes, attention_type=kind))
    for kind in ("divided_space_time", "joint_space_time", "space_only")
    for which, name, sizes in (
        ("", "TimesformerModel", dict(BODY, **ODD)),
        ("_classes", "TimesformerForVideoClassification", dict(BODY, **EVEN, **LABELS)),
        ("_one_head", "TimesformerForVideoClassification",
         dict(ONE, **EVEN, qkv_bias=False, hidden_act="relu", num_labels=7)),
    )
}  # fmt: skip


@pytest.mark.parametrize("case", TIMESFORMER)
def test_timesformer(case, tmp_path):
    name, fields = TIMESFORMER[case]
    reference, loaded = theirs(name, fields, tmp_path)
    frames = fields["num_frames"]
    video = video_reference.clips(frames, fields["image_size"])
    expected = video_reference.said(reference, video)
    found, kept = run(loaded, video)
    found["hidden"] = hidden_states(kept["video"])
    ordered = dict(expected)
    for output in ("tokens", "hidden"):
        if output not in expected:
            continue
        if fields["attention_type"] != "space_only":
            ordered[output] = video_reference.in_order_of_time(expected[output], frames)
        elif output == "tokens":
            ordered[output] = expected[output].reshape(found[output].shape)
    if "logits" in expected and fields["attention_type"] == "space_only":
        ordered["logits"] = expected["logits"].reshape(2, frames, -1).mean(1)
    close(found, ordered)
    saved_again(loaded, name, tmp_path, lambda m: video_reference.said(m, video), expected)


XCLIP = {
    "odd": video_reference.xclip(),
    "wide": video_reference.xclip(
        dict(BODY, hidden_act="gelu", layer_norm_eps=1e-3), 5, 12, 6, prompt_alpha=0.5
    ),
}


@pytest.mark.parametrize("case", XCLIP)
def test_xclip(case, tmp_path):
    fields = XCLIP[case]
    reference, loaded = theirs("XCLIPModel", fields, tmp_path)
    size = fields["vision_config"]
    video = video_reference.clips(size["num_frames"], size["image_size"])
    ids, mask = video_reference.captions()
    expected = video_reference.compared(reference, video, ids, mask)
    arrays = [jnp.asarray(one) for one in (video, ids, mask)]
    found, kept = run(loaded, video, ids, mask)
    found["image_hidden"] = hidden_states(kept["video"]["image"])
    found["text_hidden"] = hidden_states(kept["text"])
    for one in (found, expected):  # what is said of padding does not matter
        one["text_hidden"] = np.where(mask[None, :, :, None], one["text_hidden"], 0)
    found["alone"] = loaded.model.apply(
        loaded.variables, *arrays[1:], normalize=False, method="encode_text"
    )
    close(found, expected)
    logits = loaded.model.apply(loaded.variables, *arrays, method="compare")
    np.testing.assert_allclose(logits, expected["logits"], atol=1e-4)
    load.save(loaded, tmp_path / "ours")
    again = video_reference.compared(opened("XCLIPModel", tmp_path / "ours"), video, ids, mask)
    np.testing.assert_allclose(again["logits"], expected["logits"], atol=1e-5)


def frames_of_noise(height, width, count=3):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return np.kron(small, np.ones((1, 3, 2, 1), np.uint8))


PIXELS = {
    "VivitImageProcessor": (
        {},
        dict(size={"shortest_edge": 33}, crop_size={"height": 20, "width": 22}, offset=False),
        dict(size={"height": 20, "width": 31}, do_center_crop=False, do_normalize=False),
    ),
    "VideoMAEImageProcessorPil": (
        dict(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}),
        dict(size={"shortest_edge": 33}, crop_size={"height": 20, "width": 40}, resample=3,
             image_mean=[0.45] * 3, image_std=[0.225] * 3),
    ),
    "CLIPImageProcessorPil": (dict(size={"shortest_edge": 33}, crop_size=30),),
}  # fmt: skip


@pytest.mark.parametrize("kind", PIXELS)
def test_frames_are_prepared_as_there(kind, tmp_path):
    import transformers

    from mmjax.processors.checkpoints import clips as checkpoint_clips

    for options in PIXELS[kind]:
        theirs = getattr(transformers, kind)(**options)
        theirs.save_pretrained(tmp_path)
        ours = checkpoint_clips.load(tmp_path, 3)
        for shape in ((12, 30), (25, 11)):
            clip = frames_of_noise(*shape)
            given = list(clip) if kind.startswith("CLIP") else [list(clip)]
            want = np.asarray(theirs(given, return_tensors="np")["pixel_values"])
            want = np.moveaxis(want.reshape(1, 3, *want.shape[-3:]), 2, -1)
            out = ours(videos=clip)["video"]
            assert out.shape == want.shape
            np.testing.assert_allclose(out, want, atol=1e-5)
            np.testing.assert_allclose(ours(videos=[clip, clip])["video"][1:], want, atol=1e-5)
