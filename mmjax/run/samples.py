"""Samples of a trained generator, from sentences.

    maker = Sampler(mmjax.restore("runs/t2v_digits"))
    clips = maker(["a seven moves left quickly and goes on"], seeds=[0, 1])

* A sample depends on its own sentence and seed alone. Its last bits may depend on its place in a
  batch: batches are always of the same size, the last one filled up.
* What cannot be made is refused before anything is compiled: a sentence that is too long, more
  frames than the model has, a size that its levels do not divide.

Letters: N samples, T frames, H and W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mmjax.config import ConfigError
from mmjax.run.restore import Restored
from mmjax.typing import Natural, Positive, UInt8


@dataclasses.dataclass(frozen=True)
class Setting:
    """How samples are made; None and 0: as the run's config says."""

    guidance: float | None = None  # scale; 1: without
    steps: int | None = None  # of the sampler
    rescale: float | None = None  # share of what is guided that is brought to its usual deviation
    frames: Natural = 0  # of a clip
    size: Natural = 0  # pixels of an edge
    first: str = ""  # path of a picture that clips begin with, of a model that was trained so
    batch_size: Positive = 16  # samples that are computed together


class Request(NamedTuple):
    """One sample that is asked for."""

    prompt: str
    seed: int


class Sampler:
    """Makes samples of one run."""

    def __init__(self, restored: Restored, setting: Setting | None = None) -> None:
        """
        Raises:
          ConfigError: a run that makes no samples; frames or a size that the model does not have;
            a first picture for a model that takes none. OSError, CorruptExample: one that cannot be
            read.
        """
        setting = setting or Setting()
        task = restored.run.task
        if "generate" not in task.predict or not hasattr(restored.processor, "asked"):
            raise ConfigError(
                f"{restored.run.workdir}: its task makes no pictures or clips from sentences; give "
                "the run of a config such as configs/text_to_video/t2v_digits.py"
            )
        shape = _shape(task.config.shape, setting)
        config = dataclasses.replace(task.config, shape=shape)
        if setting.first and not config.first:
            raise ConfigError(
                f"first={setting.first}: the run never learned from clips whose first frame is "
                "known; train with task.first and model.denoiser.given=True, such as "
                "configs/text_to_video/t2v_digits.py:begun"
            )
        task = type(task)(config, restored.model)
        self.field = task.config.field
        self.shape = shape
        self.setting = setting
        self.processor = restored.processor
        self.first: np.ndarray | None = None  # the values that clips begin with, [H, W, C]
        if setting.first:
            if len(shape) == 3:
                raise ConfigError(f"first={setting.first}: the run makes pictures, not clips")
            self.first = self.processor.first(Path(setting.first), shape[1])
        self._variables = restored.variables
        self._mesh = restored.run.mesh
        self._put = restored.run.put
        task.check()
        asked = {
            name: getattr(setting, name)
            for name in ("guidance", "steps", "rescale")
            if getattr(setting, name) is not None
        }

        def generate(variables: Any, batch: Any) -> Any:
            keys = jax.vmap(jax.random.key)(batch["seed"])
            return task.predict["generate"](variables, batch, keys, **asked)[self.field]

        self._generate = jax.jit(generate)

    def __call__(
        self, prompts: Sequence[str], seeds: Sequence[int] = (0,)
    ) -> UInt8[np.ndarray, "N ..."]:
        """Samples of each prompt with each seed, those of a prompt one behind the other: uint8
        [N, T, H, W, 3], or [N, H, W, 3] of pictures.

        Raises:
          CorruptExample: a prompt that is too long, or holds no word that is known.
        """
        requests = [Request(prompt, seed) for prompt in prompts for seed in seeds]
        return np.concatenate(list(self.several(requests)))

    def several(
        self,
        requests: Sequence[Request],
        advance: Callable[[int], None] = lambda count: None,
    ) -> Iterator[UInt8[np.ndarray, "N ..."]]:
        """The same, batch by batch."""
        for number in range(self.batches(requests)):
            made = self.batch(requests, number)
            advance(len(made))
            yield made

    def batches(self, requests: Sequence[Request]) -> int:
        """How many batches these are."""
        return -(-len(requests) // self.setting.batch_size)

    def check(self, requests: Sequence[Request]) -> None:
        """Raises CorruptExample for a prompt that cannot be used; ConfigError where nothing is
        asked for."""
        if not requests:
            raise ConfigError("there is no prompt, or no seed")
        self.processor.asked(list(dict.fromkeys(one.prompt for one in requests)))

    def batch(self, requests: Sequence[Request], number: int) -> UInt8[np.ndarray, "N ..."]:
        """One of the batches."""
        self.check(requests)
        size = self.setting.batch_size
        mine = list(requests[number * size : (number + 1) * size])
        devices = self._mesh.shape["data"] * self._mesh.shape.get("fsdp", 1)
        size += -size % devices  # each device gets as many rows
        filled = mine + mine[-1:] * (size - len(mine))
        batch = {
            **self.processor.asked([one.prompt for one in filled]),
            "seed": np.array([one.seed for one in filled], np.uint32),
            "weight": np.ones(size, np.float32),
        }
        if self.first is not None:
            batch["first"] = np.repeat(self.first[None], size, axis=0)
        with jax.set_mesh(self._mesh):
            made = self._generate(self._variables, self._put(batch))
        return self.processor.pixels(np.asarray(made)[: len(mine)])


def _shape(trained: tuple[int, ...], setting: Setting) -> tuple[int, ...]:
    """Of a sample, (T, H, W, C) or (H, W, C).

    Raises:
      ConfigError: frames of a picture.
    """
    *frames, height, width, channels = trained
    if setting.frames:
        if not frames:
            raise ConfigError(f"frames={setting.frames}: the run makes pictures, not clips")
        frames = [setting.frames]
    if setting.size:
        height = width = setting.size
    return (*frames, height, width, channels)
