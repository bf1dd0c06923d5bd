"""A picture and a question in, an answer out.

    PYTHONPATH=tests python -m mmjax.main --config=tests/tenants/vlm/config.py \\
        --workdir=runs/vlm
"""

from mmjax.config import relative


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(vqa=dict(name="easy_vqa", split="train")),
        processor=dict(name="tenants.vlm.processor"),
        batch_size=16,
    )
    config.model = dict(name="tenants.vlm.model")
    config.task = dict(name="tenants.vlm.task")
    words = dict(name="word_errors", predict="answer", reference="answer", rows=16)
    answers = dict(source=dict(name="easy_vqa", split="test"), evaluator=words, batch_size=16)
    config.validation = dict(answers=answers)
    config.test = dict(answers=answers)
    return config
