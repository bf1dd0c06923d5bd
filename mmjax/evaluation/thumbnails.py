"""The thumbnail neighbour: retrieval by looking at tiny pictures, a baseline that understands
nothing.

* Candidate texts are ordered by how near the query picture's thumbnail is to the thumbnails of each
  candidate's *training* pictures.
* It exists where a concept was seen in training, in another drawing or photograph.

Q queries, R reference pictures, K candidates.
"""

import contextlib
import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from mmjax.config import ConfigError
from mmjax.data.source import CorruptExample, DataError, Source
from mmjax.evaluation.base import Context

NAME = "thumbnail_neighbour"  # first segment of its metrics' names


@dataclasses.dataclass(frozen=True)
class Config:
    size: int = 16  # pixels along each edge of a thumbnail
    at: tuple[int, ...] = (1, 5, 10)  # the k of recall at k


def check(config: Config, context: Context) -> None:
    """Raises ConfigError where a group of what is evaluated has no training picture."""
    groups = context.source.column("group")
    if groups is None:
        raise ConfigError("thumbnails are looked up by the column 'group', which the data has not")
    seen = [source.column("group") for source in context.training()]
    seen = [column for column in seen if column is not None]
    if not seen or not np.isin(groups, np.concatenate(seen)).all():
        raise ConfigError(
            "the thumbnails baseline compares with training drawings of the candidates, and there "
            "is none of some of them: leave `baseline` out"
        )


def measure(config: Config, context: Context) -> dict[str, float]:
    """{"image_to_text/r1": ...} of ranking the evaluated pictures' own texts, one per group."""
    check(config, context)
    source = context.source
    rows, images = pictures(context, source, range(len(source)))
    groups = source.column("group")[rows]
    candidates = np.unique(groups)
    references: list[np.ndarray] = []
    reference_groups: list[np.ndarray] = []
    for training in context.training():
        column = training.column("group")
        if column is None:
            continue
        mine = np.flatnonzero(np.isin(column, candidates)).tolist()
        rows, found = pictures(context, training, mine)
        if len(rows):
            references.append(found)
            reference_groups.append(column[rows])
    ranks = thumbnail_ranks(
        images,
        groups,
        np.concatenate(references),
        np.concatenate(reference_groups),
        candidates,
        config.size,
    )
    metrics = {f"image_to_text/r{k}": float(np.mean(ranks < k)) for k in config.at}
    return metrics | {"image_to_text/median_rank": float(np.median(ranks + 1))}


def pictures(
    context: Context, source: Source, rows: Iterable[int]
) -> tuple[np.ndarray, np.ndarray]:
    """(rows that can be read, uint8 [N, H, W, 3])."""
    found: dict[int, np.ndarray] = {}
    for row in rows:
        with contextlib.suppress(CorruptExample):
            found[row] = context.decode(row, source)["image"]
    images = np.stack(list(found.values())) if found else np.zeros((0, 1, 1, 3), np.uint8)
    return np.asarray(list(found), int), images


def thumbnails(images: UInt8[np.ndarray, "N H W 3"], size: int) -> Float[np.ndarray, "N S"]:
    """Values in 0..1, S = size * size * 3 of them, each pixel an area average."""
    small = [
        np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BOX))
        for image in images
    ]
    return np.stack(small).reshape(len(small), -1).astype(np.float32) / 255


def thumbnail_ranks(
    queries: UInt8[np.ndarray, "Q H W 3"],
    query_groups: Int[np.ndarray, " Q"],
    references: UInt8[np.ndarray, "R I J 3"],
    reference_groups: Int[np.ndarray, " R"],
    candidate_groups: Int[np.ndarray, " K"],
    size: int = 16,
) -> Int[np.ndarray, " Q"]:
    """Rank of the right candidate for every query, 0 being the best.

    Candidates are ordered by the smallest Euclidean distance between the query's thumbnail and
    those of the references of the candidate's group; a tie counts against the right one.

    Args:
        query_groups: the right candidate of each query.
        references: training pictures; those of other groups are not used.
        candidate_groups: without repetition.

    Raises:
        DataError: a candidate without references.
        ValueError: a query whose group is no candidate.
    """
    bare = np.setdiff1d(candidate_groups, reference_groups)
    if bare.size:
        raise DataError(
            f"{bare.size} of {len(candidate_groups)} candidates have no training "
            f"picture, so thumbnails cannot rank them: groups {bare[:5].tolist()}"
        )
    lost = np.setdiff1d(query_groups, candidate_groups)
    if lost.size:
        raise ValueError(f"groups of queries that are no candidates: {lost[:5].tolist()}")
    used = np.isin(reference_groups, candidate_groups)
    query = thumbnails(queries, size)
    reference = thumbnails(references[used], size)
    column = {group: k for k, group in enumerate(np.asarray(candidate_groups).tolist())}
    columns = np.array([column[group] for group in reference_groups[used].tolist()])
    right = np.array([column[group] for group in np.asarray(query_groups).tolist()])
    ranks = np.zeros(len(query), np.int32)
    for row, vector in enumerate(query):
        nearest = np.full(len(candidate_groups), np.inf, np.float32)
        np.minimum.at(nearest, columns, np.square(reference - vector).sum(1))  # [K]
        ranks[row] = np.count_nonzero(nearest <= nearest[right[row]]) - 1
    return ranks
