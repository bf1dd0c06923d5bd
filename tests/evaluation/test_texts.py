"""Generated texts: CIDEr-D against the published code, BLEU, exact matches, answers, yes and no."""

import json
from pathlib import Path

import numpy as np
import pytest
from evaluation.contexts import context
from evaluation.test_pictures import colours, rgb
from evaluation.test_word_errors import generate, show, stream

from mmjax.config import ConfigError
from mmjax.data.source import InMemory
from mmjax.evaluation import base
from mmjax.evaluation.answers import Answers, comparable, soft_accuracy
from mmjax.evaluation.captions import Captions, scored
from mmjax.evaluation.drawing import answer_sheet, page
from mmjax.evaluation.measures.cider import cider_d
from mmjax.evaluation.perplexity import Perplexity
from mmjax.evaluation.yes_no import YesNo, is_yes

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "cider_d.json").read_text())


def measured(evaluator, rows, said):
    ours = context(InMemory(rows), show=show, decode=lambda index: rows[index])
    return base.run(evaluator, generate, None, stream(said), ours)


def test_cider_d_is_the_published_codes():
    scores = cider_d(
        [row["said"].split() for row in GOLDEN],
        [[text.split() for text in row["references"]] for row in GOLDEN],
    )
    wanted = [row["score"] for row in GOLDEN]
    assert max(wanted) > 5 and min(wanted) < 0.1
    np.testing.assert_allclose(scores, wanted, atol=1e-9)


def test_captions():
    rows = [{"text": ["A cat.", "The small cat"]}, {"text": ["two dogs run", "dogs!"]}]
    found = measured(Captions(), rows, ["a cat", "two dogs ran"])
    assert found.metrics["exact_match"] == 0.5
    assert found.queries["exact_match"].tolist() == [1, 0]
    assert found.queries["cider_d"][0] > found.queries["cider_d"][1] > 0
    assert "a cat | the small cat\na cat" in found.media["captions"]


def test_the_first_name_of_a_caption_may_be_what_counts():
    rows = [{"text": "tea cup, hot"}, {"text": "Tea-cup"}, {"text": "cup, tea"}]
    said = ["Tea cup, drink, hot", "tea, cup", "cup"]
    found = measured(Captions(name_before=","), rows, said)
    assert found.queries["exact_match"].tolist() == [1, 0, 1]
    assert found.metrics["exact_match"] == pytest.approx(2 / 3)
    assert measured(Captions(), rows, said).metrics["exact_match"] == pytest.approx(1 / 3)


def test_bleu_of_a_worked_example():
    # 6 of 7 words, 4 of 6 pairs, 2 of 5 triples, 1 of 4 fours; 7 words for 7
    same = scored(["the cat is on the mat today"], [["the cat sat on the mat today"]])
    precisions = [6 / 7, 4 / 6, 2 / 5, 1 / 4]
    wanted = 100 * np.exp(np.mean(np.log(precisions)))
    np.testing.assert_allclose(same.metrics["bleu4"], wanted, rtol=1e-6)


@pytest.mark.parametrize("text, wanted", [
    ("The Two dogs.", "2 dogs"), ("none", "0"), ("1,000", "1000"), ("red/blue", "red blue"),
    ("at 2.5 km", "at 2.5 km"), ("A  yellow, round thing!", "yellow round thing"),
])  # fmt: skip
def test_answers_are_made_comparable(text, wanted):
    assert comparable(text) == wanted


def test_soft_accuracy():
    answers = ["red"] * 3 + ["blue"] * 2 + ["green"] * 5
    # three people: left out one of them, two others agree
    assert soft_accuracy("red", answers) == pytest.approx((3 * 2 / 3 + 7 * 1) / 10)
    assert soft_accuracy("blue", answers) == pytest.approx((2 * 1 / 3 + 8 * 2 / 3) / 10)
    assert soft_accuracy("green", answers) == 1
    assert soft_accuracy("pink", answers) == 0
    assert soft_accuracy("red", ["red"]) == 1


def test_questions_are_answered():
    rows = [{"answer": "yes"}, {"answer": "two"}, {"answer": "a circle"}]
    found = measured(Answers(), rows, ["Yes.", "2", "square"])
    assert found.metrics == {"exact_match": pytest.approx(2 / 3)}
    assert "circle\nsquare" in found.media["answers"]
    many = [{"answer": ["red"] * 6 + ["pink"] * 4}, {"answer": ["a cat"] * 10}]
    found = measured(Answers(), many, ["pink", "cat"])
    assert found.metrics == {"exact_match": 0.5, "accuracy": 1.0}


def test_kinds_of_questions_are_measured_apart():
    rows = [{"answer": "yes", "kind": "a"}, {"answer": "two", "kind": "b"},
            {"answer": "no", "kind": "a"}]  # fmt: skip
    source = InMemory(rows, columns={"kind": np.array([row["kind"] for row in rows])})
    ours = context(source, show=show, decode=lambda index: rows[index])
    found = base.run(Answers(by="kind"), generate, None, stream(["yes", "2", "yes"]), ours)
    assert found.metrics == pytest.approx(
        {"exact_match": 2 / 3, "accuracy": 2 / 3, "a/accuracy": 0.5, "b/accuracy": 1.0}
    )
    with pytest.raises(ConfigError, match="by='sort' is no column of the data"):
        Answers(by="sort").check(context(InMemory(rows)))


def test_yes_and_no():
    rows = [{"answer": answer} for answer in ("yes", "yes", "no", "no", "yes")]
    said = ["Yes, a dog.", "No.", "yes", "There is not a dog", "Yes. No dog is alone."]
    found = measured(YesNo(), rows, said)
    assert found.metrics == {
        "accuracy": 0.6, "precision": pytest.approx(2 / 3), "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3), "yes": 0.6,
    }  # fmt: skip
    assert found.baselines == {"majority": {"accuracy": 0.6}}
    assert not is_yes("no") and is_yes("a nose")
    with pytest.raises(ConfigError, match="'maybe' in a row: here every answer is yes or no"):
        measured(YesNo(), [{"answer": "maybe"}], ["yes"])


def test_perplexity_is_of_all_tokens():
    def score(variables, batch, keys):
        return {"loss": batch["loss"], "tokens": batch["tokens"]}

    batch = dict(
        loss=np.array([2.0, 9.0], np.float32), tokens=np.array([1, 10]), index=np.arange(2),
        weight=np.ones(2, np.float32),
    )  # fmt: skip
    ours = context(InMemory([{}, {}]))
    found = base.run(Perplexity(), score, None, [batch], ours)
    assert found.metrics == {"token_loss": 1.0, "perplexity": pytest.approx(np.e)}
    with pytest.raises(ConfigError, match="gave no 'loss', only text"):
        base.run(Perplexity(), generate, None, stream(["a"]), context(InMemory([{}])))


def pictured(rows, pictures=1):
    """Rows with one picture, or several, of one colour each."""
    made = []
    for number, row in enumerate(rows):
        image = np.full((6, 8, 3), 20 * number, np.uint8)
        made.append({**row, "image": image if pictures == 1 else (image,) * pictures})
    return made


@pytest.mark.parametrize("pictures", [1, 3])
def test_answers_about_pictures_are_a_sheet(pictures):
    asked = [("is it red?", "yes"), ("which shape?", "circle"), ("how many?", "2")]
    rows = pictured([dict(text=text, answer=answer) for text, answer in asked], pictures)
    sheet = measured(Answers(), rows, ["yes", "square", "two"]).media["answers"]
    assert sheet.info[page.DESCRIPTION] == (
        "66.7% of 3 right; here 1 wrong and 2 right ones. 'which shape?': 'square' for 'circle', "
        "wrong; 'how many?': '2' for '2', right; 'is it red?': 'yes' for 'yes', right"
    )
    assert len(sheet.info[page.IMAGES].split(";")) == 3 * pictures
    assert {rgb(page.GREEN_TINT), rgb(page.RED_TINT)} <= colours(sheet)
    few = measured(Answers(keep=1), rows, ["yes", "square", "two"]).media["answers"]
    assert "'square' for 'circle', wrong" in few.info[page.DESCRIPTION]
    assert measured(Answers(keep=0), rows, ["yes", "square", "two"]).media == {}


def test_captions_and_yes_or_no_of_pictures_are_sheets():
    rows = pictured([{"text": ["A cat.", "The small cat"]}, {"text": ["two dogs run", "dogs!"]}])
    sheet = measured(Captions(), rows, ["a cat", "two dogs ran"]).media["captions"]
    said = sheet.info[page.DESCRIPTION]
    assert "'two dogs ran' for 'two dogs run | dogs', wrong; 'a cat' for 'a cat | the sm" in said
    rows = pictured([dict(text="a dog?", answer="yes"), dict(text="a cat?", answer="no")])
    sheet = measured(YesNo(), rows, ["Yes, one.", "Yes."]).media["answers"]
    assert "'a cat?': 'Yes.' for 'no', wrong; 'a dog?'" in sheet.info[page.DESCRIPTION]


def test_where_the_model_looked_is_drawn_for_each_word():
    """Of a task that says it, in the words of the processor; those of several tokens averaged."""
    said = ["a cat", "it"]
    rows = pictured([dict(text="what?", answer="a cat"), dict(text="who?", answer="it")])

    def ask(name, numbers, fields):
        if name != "attention":
            return None
        maps = np.zeros((2, 40, 2, 2, 2), np.float32)
        for row, number in enumerate(numbers.tolist()):
            ids = fields["said"][row][fields["said_mask"][row]]
            assert bytes(ids.tolist()).decode() == said[number]
            maps[row, 0, 0, 0, 1] = 0.5  # of "a", or "i"
            maps[row, 2:, 0, 1, 0] = 0.25  # of "cat"
        there = np.array([[True, False]] * 2)
        images = np.stack([rows[number]["image"] for number in numbers])
        return dict(fields, attention=maps, image_mask=there, index=numbers, image=images)

    def shown(arrays, row):
        words = show(arrays, row) if "text" in arrays else {}
        return words | ({"image": arrays["image"][row]} if "image" in arrays else {})

    ours = context(InMemory(rows), show=shown, decode=lambda index: rows[index])
    evaluator = Answers(attention=2)
    found = base.run(evaluator, generate, None, stream(said), ours, ask=ask).media
    assert set(found) == {"answers", "attention"}
    words = found["attention"].info[page.DESCRIPTION]
    assert "what? a: line 1, column 2 of 2, cat: line 2, column 1 of 2" in words
    assert "who? it: line 1, column 2 of 2" in words
    for ask in (lambda *arguments: None, lambda name, numbers, fields: dict(fields)):
        found = base.run(evaluator, generate, None, stream(said), ours, ask=ask).media
        assert set(found) == {"answers"}  # no such function, or no pictures


@pytest.mark.parametrize("right, count, wanted", [
    (8, 8, 4), (0, 8, 0), (2, 8, 2), (18, 8, 6), (20, 8, 8), (10, 3, 1), (10, 0, 0),
])  # fmt: skip
def test_half_of_a_sheet_is_wrong_as_far_as_there_are_so_many(right, count, wanted):
    answers = np.arange(20) < right
    rows = answer_sheet.chosen(answers, count)
    assert len(set(rows.tolist())) == len(rows) == count
    assert answers[rows].sum() == wanted
    assert answers[rows].tolist() == sorted(answers[rows].tolist()), "wrong ones first"
