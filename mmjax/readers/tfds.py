"""TensorFlow Datasets by name, read without TensorFlow.

    data.train = dict(mnist=dict(name="tfds", path="mnist", split="train[:90%]", text=""))
    data.train = dict(coco=dict(name="tfds", path="coco_captions", text="captions/text"))

* Reads what was prepared as array_record or parquet, whole or in slices; `wire` decodes it.
* Said at once, with what would be right: a set that is not prepared while there is no network; one
  that needs TensorFlow, because it was prepared as tfrecord, has Audio or Video features, or its
  preparation does; unknown sets and splits.
* Class names are those of the set.
"""

import contextlib
import dataclasses
import difflib
import functools
import importlib
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmjax.data.source import DataError
from mmjax.data.storage import Stamp
from mmjax.readers import array_record, parquet, records
from mmjax.readers.columns import Column, declared
from mmjax.readers.files import Choice, Files
from mmjax.readers.index import indexed

_FORMATS = {"array_record": array_record, "parquet": parquet}  # those with random access
_PREPARE = (
    "python -c \"import tensorflow_datasets as tfds; tfds.builder('{name}', "
    "file_format='array_record').download_and_prepare()\""
)


@dataclasses.dataclass(frozen=True)
class Config:
    path: str  # "mnist", "coco_captions/2014:1.1.0", or the folder of a prepared version
    split: str = "train"  # of the set; TFDS' slices too: "train[:90%]", "train+test"
    data_dir: str = ""  # where sets are; "": $TFDS_DATA_DIR, or ~/tensorflow_datasets
    download: bool = True  # prepare a set that is not there yet
    image: str = "image"  # Image feature; "": there are no images
    text: str = "text"  # Text feature, "captions/text" inside a sequence; "": from class names
    label: str = "label"  # ClassLabel feature; may be missing
    group: str = "group"  # feature; one group's examples are no negatives; may be missing
    id: str = "id"  # feature of names for messages; may be missing: file and number
    # further fields: dict(question=dict(), count=dict(kind="int")), see columns.py
    columns: Mapping[str, Column] = dataclasses.field(default_factory=dict)
    # captions of a class, where text is ""; (): no captions at all
    templates: tuple[str, ...] = ("a photo of a {}.",)
    class_names: tuple[str, ...] = ()  # in the order of their numbers; (): those of the set


def open(config: Config) -> Files:
    """The examples of a split. Raises DataError for what is wrong with the set as a whole."""
    try:
        tfds = importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        missing = "name='tfds' needs: pip install tensorflow-datasets importlib_resources"
        raise DataError(missing) from error
    builder = _builder(tfds, config)
    split = _split(builder, config)
    features = builder.info.features
    columns = {}
    for field, column in declared(config).items():
        feature = _feature(features, column.name)
        if feature is not None or column.needed:
            columns[field] = column
        _check(tfds, builder, field, column.name, feature)
    names = config.class_names
    label = _feature(features, columns["label"].name) if "label" in columns else None
    if not names and isinstance(label, tfds.features.ClassLabel):
        names = tuple(label.names or ())
    found = _records(builder, split)
    title = f"{builder.info.full_name} {config.split}"
    table = indexed(
        title,
        sorted({Path(stamp.path) for stamp in found.stamps}),
        columns,
        functools.partial(records.chunks, found, columns),
        places=False,
        identity=config.split,
    )
    records.check(title, table, columns, names, config.templates)
    choice = Choice(templates=config.templates, class_names=names)
    origin = records.Recorded.of(found, table, columns)
    return Files(title, table, origin, choice, columns=columns, rows="examples")


def _records(builder: Any, split: Any) -> records.Shards:
    """Raises DataError for files that are missing or not whole."""
    form = _FORMATS[builder.info.file_format.value]
    parts = split.file_instructions
    lost = [part.filename for part in parts if not os.path.isfile(part.filename)]
    if lost:
        raise DataError(f"{len(lost)} files of {builder.info.full_name} are gone: {lost[0]}")
    stretches = [(Stamp.of(part.filename), part.skip, part.take) for part in parts]
    for part, (stamp, _, _) in zip(parts, stretches, strict=True):
        found = form.count(stamp)
        if found != part.examples_in_shard:
            raise DataError(
                f"{stamp.path} holds {found} examples and should hold {part.examples_in_shard}; "
                "prepare the set again, as array_record: of more than 100 in a parquet file, TFDS "
                "loses some"
            )
    return records.Shards.of(stretches, form.record)


def _builder(tfds: Any, config: Config) -> Any:
    """Of the prepared set, which is prepared now if it has to be."""
    name = config.path
    if Path(name).is_dir():
        if not (Path(name) / "dataset_info.json").is_file():
            inside = sorted(file.parent for file in Path(name).rglob("dataset_info.json"))
            raise DataError(
                f"{name} is no prepared set: it has no dataset_info.json"
                + (f"; give {inside[-1]}" if inside else "")
            )
        with _told(tfds, name):
            return _with_features(tfds.builder_from_directory(name))
    where = {"data_dir": config.data_dir} if config.data_dir else {}
    with _told(tfds, name):
        builder = tfds.builder(name, **where)
        if not builder.is_prepared():
            _reach(name, builder, config)
            builder = tfds.builder(name, file_format="array_record", **where)
            builder.download_and_prepare()
        return _with_features(builder)


def _with_features(builder: Any) -> Any:
    """Features are made when they are asked for first: where one needs TensorFlow, that fails."""
    if not builder.info.features:
        raise DataError(f"{builder.info.full_name} says nothing of its features; prepare it again")
    return builder


@contextlib.contextmanager
def _told(tfds: Any, name: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except tfds.core.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        near = difflib.get_close_matches(name.partition("/")[0], known, n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise DataError(f"TFDS has no set {name!r}, nor is it prepared here{hint}") from error
    except ImportError as error:
        lacking = re.findall(r"No module named '([\w.]+)'", str(error)) or [str(error)]
        raise DataError(
            f"{name} needs {lacking[0]}, which is not installed: to read Audio or Video features, "
            "or to be prepared. The latter can be done where it is installed, and the folder be "
            f"copied: {_PREPARE.format(name=name)}"
        ) from error
    except Exception as error:  # a preparation may fail in any way
        first = str(error).strip().split("\n")[0]
        raise DataError(f"TFDS can neither read nor prepare {name}: {first}") from error


def _reach(name: str, builder: Any, config: Config) -> None:
    """Raises DataError at once, where TFDS would try for minutes."""
    prepared = f"{name} is not prepared in {Path(str(builder.data_dir)).parent}"
    if not config.download:
        raise DataError(f"{prepared}, and download=False: {_PREPARE.format(name=name)}")
    hosts = {urllib.parse.urlsplit(url).netloc for url in builder.url_infos}
    hosts = sorted(hosts) or ["storage.googleapis.com"]
    reasons = []
    for host in hosts[:3]:
        try:
            urllib.request.urlopen(f"https://{host}", timeout=5).close()
            return
        except urllib.error.HTTPError:  # it answers
            return
        except OSError as error:
            reasons.append(f"{host}: {getattr(error, 'reason', error)}")
    raise DataError(
        f"{prepared}, and it cannot be downloaded ({'; '.join(reasons)}). Prepare it where "
        f"there is a network and copy the folder: {_PREPARE.format(name=name)}"
    )


def _split(builder: Any, config: Config) -> Any:
    form = getattr(builder.info.file_format, "value", None)
    if form not in _FORMATS:
        raise DataError(
            f"{builder.info.full_name} is prepared as {form} in {builder.data_dir}, which needs "
            "TensorFlow; prepare it as array_record, in another data_dir: "
            + _PREPARE.format(name=builder.info.name)
        )
    try:
        return builder.info.splits[config.split]
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{builder.info.full_name} has no split {config.split!r}; it has "
            f"{', '.join(builder.info.splits)}, and slices such as 'train[:90%]'"
        ) from error


def _feature(features: Any, field: str) -> Any:
    """The feature at "captions/text", also inside sequences; None where there is none."""
    for part in field.split("/"):
        features = getattr(features, "feature", features)  # of a sequence
        try:
            features = features[part]
        except (KeyError, TypeError):
            return None
    return features


def _check(tfds: Any, builder: Any, field: str, name: str, feature: Any) -> None:
    """Raises DataError for a feature that is of the wrong kind."""
    if field != "image" or feature is None or isinstance(feature, tfds.features.Image):
        return
    features = builder.info.features
    others = [
        key for key, other in features.items() if isinstance(other, tfds.features.Image)
    ]
    raise DataError(
        f"{builder.info.full_name}: image={name!r} is {type(feature).__name__}, no Image; the set "
        f"has {', '.join(others) or 'none'}"
    )
