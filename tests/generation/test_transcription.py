"""Times among tokens, segments, words, long recordings: by hand, and of a tiny random Whisper."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers

from mmjax.config import ConfigError
from mmjax.generation import history
from mmjax.generation.transcription import alignment, formats, long_form, segments, timing
from mmjax.generation.transcription.alignment import Aligned
from mmjax.generation.transcription.listener import Draft, Listener, silent
from mmjax.generation.transcription.options import Options
from mmjax.generation.transcription.rules import Timestamps
from mmjax.generation.transcription.transcript import Segment, Transcript, Word
from mmjax.generation.transcription.words import Spelled, Spelling
from mmjax.models import whisper
from mmjax.processors.checkpoints import speech
from mmjax.tokenizers.bpe import Tokenizer
from mmjax.transforms.mel import LogMel

# ids of a small vocabulary: words below 8, then the end, <|notimestamps|> and 12 times
END = 8
SILENT = 9
FIRST = 10
RULE = Timestamps(FIRST, END, SILENT, 3)


def allowed(said, scores=None):
    """The ids that may follow what was said behind a prompt of two tokens."""
    read = history.start(jnp.array([[1, 2]]), None, 1, 6)
    for token in said:
        read = read.add(jnp.array([token]), jnp.array([True]))
    logits = jnp.zeros((1, 22)) if scores is None else jnp.asarray(scores)[None]
    # a likely word and a likely end: times together are no likelier
    logits = logits.at[0, jnp.array([3, END])].add(9.0)
    return set(np.flatnonzero(np.isfinite(RULE(logits, read)[0])).tolist())


def test_a_text_begins_with_a_time_that_is_not_late():
    assert allowed([]) == {10, 11, 12, 13}


def test_times_stand_in_pairs_and_never_go_back():
    words = set(range(END))
    assert allowed([11]) == words | {END}  # behind the first time come words
    assert allowed([11, 3]) == words | {END} | set(range(12, 22))
    # behind a time that ends words: its twin or a later one, or the end
    assert allowed([11, 3, 15]) == {END} | set(range(15, 22))
    assert allowed([11, 3, 15, 15]) == words | {END}
    assert allowed([11, 3, 15, 15, 4]) == words | {END} | set(range(16, 22))


def test_a_time_is_said_when_times_together_are_likelier_than_a_word():
    scores = np.zeros(22, np.float32)
    scores[[3, END]] = -8.0  # less likely than ten times of one in twenty-two each
    assert allowed([11, 3], scores) == set(range(12, 22))


def test_segments_of_a_window():
    # words between two times; behind the last pair the next window starts
    found = segments.split([10, 1, 2, 15, 15, 3, 20, 20, 4], FIRST, 3000)
    assert [(span.start, span.end) for span in found.spans] == [(0.0, 0.1), (0.1, 0.2)]
    assert [span.tokens for span in found.spans] == [(10, 1, 2, 15), (15, 3, 20)]
    assert found.frames == 20 and not found.complete
    # a single time at the end: nothing follows
    found = segments.split([10, 1, 15, 15, 2, 18], FIRST, 3000)
    assert found.complete and found.frames == 3000
    assert found.spans[1].end == pytest.approx(0.16)
    # one segment: up to its time, or to the end of the window
    assert segments.split([10, 1, 2, 15], FIRST, 500) == (((0.0, 0.1, (10, 1, 2, 15)),), 500, True)
    assert segments.split([10, 1, 2], FIRST, 500).spans[0].end == 5.0
    assert segments.split([1, 2], FIRST, 500).spans[0][:2] == (0.0, 5.0)
    assert segments.split([], FIRST, 500).spans == ((0.0, 5.0, ()),)
    assert segments.split([1, 2], None, 500).frames == 500


def test_the_cheapest_path_by_brute_force():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 5), (4, 2), (3, 6)):
        cost = rng.normal(size=shape).astype(np.float32)
        rows, columns = alignment.path(cost)
        assert (rows[0], columns[0]) == (0, 0)
        assert (rows[-1] + 1, columns[-1] + 1) == shape
        steps = set(zip(np.diff(rows).tolist(), np.diff(columns).tolist(), strict=True))
        assert steps <= {(0, 1), (1, 0), (1, 1)}
        assert cost[rows, columns].sum() == pytest.approx(cheapest(cost), abs=1e-5)


def cheapest(cost):
    total = np.full(np.add(cost.shape, 1), np.inf)
    total[0, 0] = 0
    for i, j in np.ndindex(*cost.shape):
        before = min(total[i, j], total[i, j + 1], total[i + 1, j])
        total[i + 1, j + 1] = cost[i, j] + before
    return total[-1, -1]


def test_medians_of_neighbours():
    assert alignment.median(np.array([5.0, 1, 9, 2, 7]), 3).tolist() == [1, 5, 2, 7, 2]
    assert alignment.median(np.array([3.0]), 7).tolist() == [3.0]


def test_tokens_are_timed_by_what_they_look_at():
    """Three tokens and the end look at frames 0-9, 10-19, 20-29 and 30-39."""
    weights = np.full((2, 6, 40), 0.01)
    for row in range(4):
        weights[:, row + 1, 10 * row : 10 * row + 10] = 1.0
    found = alignment.align(weights, np.arange(6) / 10, prompt=2)
    assert found.times.tolist() == [0.0, 0.2, 0.4, 0.6]
    assert found.probabilities.tolist() == [0.1, 0.2, 0.3]


def words_of(*texts, lengths):
    edges = np.cumsum([0.0, *lengths])
    ones = [Spelled(text, (1,)) for text in texts]
    aligned = Aligned(edges, np.full(len(texts), 0.5), np.zeros((len(texts) + 1, 4)))
    return timing.timing(ones, aligned)


def test_marks_join_their_words():
    found = words_of(" He", ' "', "said", ".", lengths=(0.2, 0.1, 0.3, 0.2))
    assert [word.text for word in found.words] == [" He", "", ' "said.', ""]
    assert [word.tokens for word in found.words] == [1, 0, 3, 0]
    assert (found.words[2].start, found.words[2].end) == pytest.approx((0.3, 0.6))


def test_a_word_behind_a_sentence_is_not_drawn_out():
    found = words_of(" So", ".", " Then", " we", lengths=(0.2, 0.2, 3.0, 0.2))
    then = found.words[2]
    assert then.end == pytest.approx(3.4) and then.start == pytest.approx(3.0)


def test_words_of_segments():
    found = words_of(" a", " b", " c", lengths=(2.0, 0.3, 0.3))
    one, two = timing.placed(found, [(2, 11.8, 12.3), (1, 12.3, 12.6)], 10.0, 0.0)
    # the first word after a pause is no longer than twice the median
    assert one.words[0].start == pytest.approx(11.4) and one.start == pytest.approx(11.4)
    assert [word.text for word in two.words] == [" c"]
    assert (two.start, two.end) == (12.3, 12.6)


@pytest.fixture(scope="module")
def tokenizer():
    """Bytes and three words, specials in Whisper's order, without names of times."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(alphabet)}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    names = ["endoftext", "startoftranscript", "translate", "transcribe", "startoflm",
             "startofprev", "nospeech", "notimestamps"]  # fmt: skip
    backend.add_special_tokens([f"<|{name}|>" for name in names])
    return Tokenizer(backend)


def test_words_are_gathered_from_tokens(tokenizer):
    spelling = Spelling(tokenizer, 256)
    ids = spelling.encode("naïve, isn't")
    assert spelling.text(ids) == " naïve, isn't"
    words = spelling.words(ids, "en")
    assert [word.text for word in words] == [" naïve", ",", " isn", "'t"]
    assert "".join(word.text for word in words) == " naïve, isn't"
    assert sum((word.tokens for word in words), ()) == ids
    letters = spelling.words(spelling.encode("日本"), "ja")
    assert [word.text for word in letters] == [" ", "日", "本"]
    half = spelling.words(ids[:4], "en")  # ends within a letter
    assert half[-1].tokens == ids[:4]


@pytest.fixture(scope="module")
def listener(tokenizer):
    """A random Whisper of one second and 264 + 51 tokens."""
    stack = dataclasses.replace(whisper.STACK, width=16, layers=2, heads=2, hidden=16)
    config = whisper.Config(8, 100, 315, 40, stack, stack)
    model = whisper.Model(config)
    params = jax.jit(model.init)(jax.random.key(0), *whisper.inputs(config))
    decoding = speech.Decoding(257, 256, no_timestamps=263, longest=40, suppressed=(257,))
    processor = speech.Whisper(LogMel(8, seconds=1.0), decoding, tokenizer)
    return Listener(model, params, processor)


ONCE = Options(temperatures=(0.0,), no_speech=None)
RNG = np.random.default_rng(0)
SOUND = (0.1 * RNG.normal(size=40_000)).astype(np.float32)  # 2.5 seconds


def test_a_window_on_its_own(listener):
    heard = listener.hear(SOUND[:8_000], dataclasses.replace(ONCE, words=True))
    assert heard.language == "en" and not heard.silent
    assert len(heard.tokens) <= 40 and heard.tokens[0] >= 264
    assert "".join(word.text for word in heard.words) == listener.spelling.text(heard.tokens)
    assert heard.draft.log_prob < 0 and 0 < heard.draft.no_speech < 1


def test_a_batch_changes_no_text(listener):
    """Recordings of several windows, side by side and one after the other."""
    sounds = [SOUND[:24_000], SOUND[:5_000]]
    options = dataclasses.replace(ONCE, words=True)
    together = dict(long_form.transcribe(listener, sounds, options, 2))
    for number, sound in enumerate(sounds):
        ((_, alone),) = long_form.transcribe(listener, [sound], options, 1)
        assert alone.segments and alone.seconds == len(sound) / 16_000
        for one, other in zip(alone.segments, together[number].segments, strict=True):
            assert one.tokens == other.tokens
            for word, beside in zip(one.words, other.words, strict=True):
                # a row's last bits depend on where it lies in a batch
                assert word.probability == pytest.approx(beside.probability, rel=1e-4)
                assert dataclasses.replace(word, probability=beside.probability) == beside
            assert 0 <= one.start <= one.end <= alone.seconds + 1


def test_all_seconds_are_told(listener):
    told = []
    list(long_form.transcribe(listener, [SOUND[:24_000], SOUND[:5_000]], ONCE, 2, told.append))
    assert sum(told) == pytest.approx(1.5 + 0.31, abs=0.02)


def test_samples_depend_on_their_seed_alone(listener):
    drawn = dataclasses.replace(ONCE, temperatures=(0.5,), log_prob=None, compression=None)
    sound = SOUND[:15_000]
    first = dict(long_form.transcribe(listener, [sound, sound], drawn, 2))
    assert first[0].segments != first[1].segments  # of one sound, but another recording
    again = dict(long_form.transcribe(listener, [sound, sound], drawn, 1))
    tokens = [[one.tokens for one in found[1].segments] for found in (first, again)]
    assert tokens[0] == tokens[1]
    other = dict(long_form.transcribe(listener, [sound], dataclasses.replace(drawn, seed=1), 1))
    assert other[0].segments != first[0].segments


def test_a_bad_text_is_tried_at_higher_temperatures(listener):
    tried = dataclasses.replace(ONCE, temperatures=(0.0, 0.5), log_prob=0.0)
    heard = listener.hear(SOUND[:8_000], tried)
    assert heard.draft.temperature == 0.5
    easy = dataclasses.replace(tried, log_prob=-99.0)
    assert listener.hear(SOUND[:8_000], easy).draft.temperature == 0.0


def test_silence_says_nothing(listener):
    quiet = listener.hear(np.zeros(8_000, np.float32), ONCE)
    assert quiet.silent and quiet.text == "" and quiet.tokens == ()
    assert listener.hear(SOUND[:800], ONCE).silent  # 0.05 seconds hold no word
    ((_, found),) = long_form.transcribe(listener, [np.zeros(40_000, np.float32)], ONCE, 1)
    assert found.segments == () and found.seconds == 2.5
    draft = Draft((1,), "a", -0.5, 1.0, 0.9, 0.0)
    assert silent(draft, Options())
    draft = draft._replace(no_speech=0.7)
    assert not silent(draft, Options())  # the text is likely
    assert silent(draft._replace(log_prob=-1.5), Options())
    assert not silent(draft._replace(log_prob=-1.5, no_speech=0.5), Options())


def test_pieces_end_at_quiet_places(listener):
    loud = np.ones((250, 8), np.float32)
    loud[80:110] = -1.0
    edges = long_form.quiet_edges(loud, 100)
    assert edges[0] == 0 and edges[-1] == 250
    assert all(0 < b - a <= 100 for a, b in zip(edges[:-1], edges[1:], strict=True))
    assert 80 <= edges[1] <= 100
    options = dataclasses.replace(ONCE, pieces=True)
    assert not options.condition
    sound = long_form.Sound(listener, 0, SOUND, options)
    assert len(sound.pieces) == 3 or len(sound.pieces) == 4
    assert [piece.window().start for piece in sound.pieces][0] == 0
    assert sound.pieces[-1].end == 250


def test_the_text_before_is_a_prompt(listener):
    assert listener.prompt(ONCE, "en") == (257,)
    assert listener.prompt(ONCE, "en", (1, 2)) == (261, 1, 2, 257)
    long = listener.prompt(ONCE, "en", range(100))
    assert long[1:-1] == tuple(range(81, 100))  # half of the context less one
    plain = dataclasses.replace(ONCE, timestamps=False)
    assert listener.prompt(plain, "en") == (257, 263)


def test_what_is_refused(tokenizer):
    with pytest.raises(ConfigError, match="temperatures is empty"):
        Options(temperatures=())
    with pytest.raises(ConfigError, match="writes nothing down: give a Whisper"):
        Listener(whisper.Model(whisper.Config()), {"params": {}}, speech.Waveform())


SAID = Transcript("en", 1.0, 70.0, (
    Segment(0.0, 2.5, " Hello & <you> -->", (1,), 0.0, -0.1, 1.0, 0.0),
    Segment(3600.0, 3661.5, "\tAgain.", (2,), 0.0, -0.1, 1.0, 0.0,
            (Word(" Aga", 3600.0, 3600.4, 0.9), Word("in.", 3605.0, 3661.5, 0.8))),
))  # fmt: skip


def test_formats():
    assert formats.txt(SAID) == "Hello & <you> -->\nAgain.\n"
    assert formats.srt(SAID).splitlines()[:3] == [
        "1", "00:00:00,000 --> 00:00:02,500", "Hello & <you> ->",
    ]  # fmt: skip
    # a pause between two words ends a subtitle
    assert "2\n01:00:00,000 --> 01:00:00,400\nAga\n\n3\n01:00:05,000 -->" in formats.srt(SAID)
    assert formats.vtt(SAID).startswith(
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nHello &amp; &lt;you&gt; --&gt;\n\n"
    )
    assert formats.tsv(SAID).splitlines()[1:] == [
        "0\t2500\tHello & <you> -->", "3600000\t3661500\tAgain.",
    ]  # fmt: skip
    found = json.loads(formats.to_json(SAID))
    assert found["language"] == "en" and "words" not in found["segments"][0]
    assert found["segments"][1]["words"][1]["end"] == 3661.5
