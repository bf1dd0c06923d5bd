"""Five recordings learned by heart by a small Whisper; what is counted is wrong words.

    PYTHONPATH=tests python -m mmjax.main --config=tests/tenants/speech/config.py \\
        --workdir=runs/speech
"""

from mmjax.config import relative

STACK = dict(width=32, layers=1, heads=2, hidden=64)


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(read=dict(name="librivox")),
        processor=dict(name="tenants.speech.processor"),
        batch_size=4,
    )
    config.model = dict(name="whisper", encoder=STACK, decoder=STACK)
    config.task = dict(name="tenants.speech.task")
    errors = dict(name="word_errors", predict="transcribe")
    said = dict(source=dict(name="librivox"), evaluator=errors, batch_size=4)
    config.validation = dict(said=said)
    config.test = dict(said=said)
    return config
