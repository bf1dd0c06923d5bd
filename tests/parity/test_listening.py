"""Whisper's real weights, heard live: the known text, whatever the chunks."""

import jax.numpy as jnp
import numpy as np
import pytest

import mmjax
from mmjax.datasets import librivox
from mmjax.datasets.prepared import weights
from mmjax.run.listening import recogniser
from mmjax.streaming.blocks import Chunk
from mmjax.streaming.events import Confirmed, Utterance
from mmjax.streaming.listener import Listener
from mmjax.transforms.audio import DecodeAudio

pytestmark = pytest.mark.parity

KNOWN = (
    "And Mr. John Dashwood had then leisure to consider how much there might be prudently in his "
    "power to do for them."
)


def test_a_clip_is_heard_live():
    example = next(one for one in librivox.open(librivox.Config()) if "0870" in one["id"])
    samples = DecodeAudio()(example)["audio"]
    hear = recogniser(mmjax.load(weights.folder("whisper-tiny.en"), dtype=jnp.float32))
    found = []
    for size in (len(samples), 7_777):
        listener = Listener(hear)
        parts = np.split(samples, range(size, len(samples), size))
        events = [event for part in parts for event in listener.push(Chunk(part))]
        found.append([*events, *listener.close()])
    assert found[0] == found[1]
    assert [event.text for event in found[0] if isinstance(event, Utterance)] == [KNOWN]
    kinds = [type(event) for event in found[0]]
    assert Confirmed in kinds[: kinds.index(Utterance) - 1], "words come while it is spoken"
    words = [word for event in found[0] if isinstance(event, Confirmed) for word in event.words]
    assert 0 <= words[0].start < words[0].end < words[-1].end < len(samples) / 16_000
