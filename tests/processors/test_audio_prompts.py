"""Prompts with sounds: ids and frames of the reference, conversations, what is refused."""

import functools
import json
from pathlib import Path

import audio_reference
import numpy as np
import pytest

from mmjax.data.source import CorruptExample, DataError
from mmjax.layers.projectors import linear
from mmjax.models import gpt2, token_tower, vlm, whisper_encoder
from mmjax.processors.checkpoints.chat_template import ChatTemplate
from mmjax.processors.prompting import audio_prompts

GOLDEN = Path(__file__).parents[1] / "golden" / "audio_prompts" / "qwen2_audio"
EARS = whisper_encoder.Config(audio_reference.BINS, 100, pool=2)
CONFIG = vlm.Config(
    None, language=gpt2.Config(400), audio=token_tower.Config(EARS, projector=linear.Config()),
    audio_id=audio_reference.AUDIO,
)  # fmt: skip


@functools.cache
def processor():
    return audio_prompts.load(GOLDEN, CONFIG)


@functools.cache
def expected():
    with np.load(GOLDEN / "expected.npz") as held:
        return dict(held)


def test_ids_and_frames_of_the_reference():
    """Clips of each text in a list, and one behind the other; what is left out is silence."""
    said = expected()
    clips = audio_reference.clips()
    for given in ([clips[:1], [], clips[1:]], clips):
        batch = processor()(given, audio_reference.TEXTS)
        np.testing.assert_array_equal(batch["inputs"], said["ids"])
        np.testing.assert_array_equal(batch["mask"], said["mask"])
        heard = batch["audio_mask"]
        assert heard.sum(2).tolist() == [[31, 0], [0, 0], [100, 6]]
        there = heard.any(2)
        np.testing.assert_array_equal(heard[there], said["sound"])
        frames = batch["sounds"][there]
        for mine, theirs, sound in zip(frames, said["features"], said["sound"], strict=True):
            reach = min(100, int(sound.sum()) + 4)  # all that the encoder's convolutions look at
            np.testing.assert_allclose(mine[:reach], theirs[:reach], atol=1e-5)


def test_a_short_batch_is_short():
    batch = processor()([np.ones(1600, np.float32)], "a <|AUDIO|>")
    assert batch["sounds"].shape == (1, 1, 100, 8)
    clips = processor().clips
    assert clips.length(1600) == 100 and clips.frames(1600) == 10 and clips.tokens(1600) == 2


def test_conversations_are_written_as_by_the_reference():
    """By the template of the folder, and by the one that stands in where there is none."""
    clip = audio_reference.clips()[0]
    chat = audio_reference.conversation(clip)
    chats = json.loads(str(expected()["chats"]))
    for template in (processor().template, ChatTemplate(audio_prompts.TEMPLATE)):
        for turns, text in chats.items():
            count = int(turns)
            assert template(chat[:count], answer=count % 2 == 1) == text
    batch = processor().chat([chat[:3], chat[:1]])
    assert batch["audio_mask"].any(2).tolist() == [[True, True], [True, False]]
    assert ((batch["inputs"] == audio_reference.AUDIO).sum(1) == [16, 8]).all()
    assert processor().end_ids == (2,)


def test_answers_are_learned():
    batch = processor()([np.ones(1600, np.float32)], "<|AUDIO|> is", ["a dog"])
    learned = batch["inputs"][0][~batch["prefix"][0]]
    assert processor().decode(learned.tolist()) == "a dog" and learned[-1] == 2


CLIP = np.ones(1600, np.float32)


@pytest.mark.parametrize(
    "clips, texts, error, message",
    [
        ([CLIP] * 3, ["<|AUDIO|> a", "<|AUDIO|> b"], DataError, "and 3 clips"),
        (None, ["<|AUDIO|> a"], DataError, "and 0 clips"),
        ([[CLIP], [CLIP]], ["<|AUDIO|><|AUDIO|>", "a"], DataError, "text 0 has 2 .* and 1 clips"),
        (None, [], DataError, "there is no text"),
        ([np.ones(16_001, np.float32)], "<|AUDIO|>", CorruptExample, "hears 1 at a time"),
        ([np.ones(200, np.float32)], "<|AUDIO|>", CorruptExample, "too short for one token"),
        ([np.full(1600, np.nan, np.float32)], "<|AUDIO|>", CorruptExample, "1600 samples are NaN"),
    ],
)
def test_what_cannot_be_heard_is_refused(clips, texts, error, message):
    with pytest.raises(error, match=message):
        processor()(clips, texts)


def test_a_part_of_another_kind_is_refused():
    picture = [{"role": "user", "content": [{"type": "image", "image": "cat.png"}]}]
    with pytest.raises(DataError, match="of type 'image': the model reads text and clips"):
        processor().chat(picture)
    with pytest.raises(DataError, match="is an audio, and holds none: give it as 'audio'"):
        processor().chat([{"role": "user", "content": [{"type": "audio"}]}])


def test_files_come_back_as_they_were(tmp_path):
    processor().save(tmp_path)
    for file in ("tokenizer.json", "processor_config.json", "chat_template.jinja"):
        assert (tmp_path / file).read_bytes() == (GOLDEN / file).read_bytes()


def test_raw_fields_are_prepared_as_the_models_arguments():
    fields = dict(audio=[[CLIP], [CLIP, CLIP]], text=["<|AUDIO|>a", "<|AUDIO|> or <|AUDIO|>"])
    assert processor().takes == ("audio", "text")
    found = processor().inputs(fields)
    assert set(found) == {"inputs", "mask", "sounds", "audio_mask"}
    assert found["audio_mask"].any(2).tolist() == [[True, False], [True, True]]
