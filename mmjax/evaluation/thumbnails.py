"""The thumbnail neighbour: retrieval by looking at tiny pictures, a baseline that understands
nothing.

* Candidate texts are ordered by how near the query picture's thumbnail is to the thumbnails of each
  candidate's *training* pictures.
* It exists where a concept was seen in training, in another drawing or photograph.

Q queries, R reference pictures, K candidates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import Image

NAME = "thumbnail_neighbour"  # segment of its metrics' names


@dataclasses.dataclass(frozen=True)
class Config:
    size: int = 16  # pixels along each edge of a thumbnail
    at: tuple[int, ...] = (1, 5, 10)  # the k of recall at k


def measure(
    config: Config,
    queries: np.ndarray,
    query_groups: np.ndarray,
    references: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> dict[str, float]:
    """{"image_to_text/r1": ...} of ranking the queries' own texts, one per group.

    Args:
      queries: uint8 [Q, H, W, 3]; query_groups: int [Q].
      references: groups [K] -> (uint8 [R, H, W, 3], groups [R]), the training pictures of these
        groups.
    """
    candidates = np.unique(query_groups)
    ranks = thumbnail_ranks(queries, query_groups, *references(candidates), candidates, config.size)
    metrics = {f"image_to_text/r{k}": float(np.mean(ranks < k)) for k in config.at}
    return metrics | {"image_to_text/median_rank": float(np.median(ranks + 1))}


def thumbnails(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 [N, H, W, 3] -> float32 [N, size * size * 3] in 0..1, each pixel an area average."""
    small = [
        np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BOX))
        for image in images
    ]
    return np.stack(small).reshape(len(small), -1).astype(np.float32) / 255


def thumbnail_ranks(
    queries: np.ndarray,
    query_groups: np.ndarray,
    references: np.ndarray,
    reference_groups: np.ndarray,
    candidate_groups: np.ndarray,
    size: int = 16,
) -> np.ndarray:
    """Rank of the right candidate for every query, 0 being the best; int32 [Q].

    Candidates are ordered by the smallest Euclidean distance between the query's thumbnail and
    those of the references of the candidate's group; a tie counts against the right one.

    Args:
        queries: uint8 [Q, H, W, 3]; `query_groups` [Q] names the right candidate of each.
        references: uint8 [R, H, W, 3], training pictures; those of other groups are not used.
        candidate_groups: [K], without repetition.

    Raises:
        ValueError: a candidate without references, or a query whose group is no candidate.
    """
    bare = np.setdiff1d(candidate_groups, reference_groups)
    if bare.size:
        raise ValueError(
            f"{bare.size} of {len(candidate_groups)} candidates have no training "
            f"picture, so thumbnails cannot rank them: groups {bare[:5].tolist()}"
        )
    lost = np.setdiff1d(query_groups, candidate_groups)
    if lost.size:
        raise ValueError(f"groups of queries that are no candidates: {lost[:5].tolist()}")
    used = np.isin(reference_groups, candidate_groups)
    query, reference = thumbnails(queries, size), thumbnails(references[used], size)
    column = {group: k for k, group in enumerate(np.asarray(candidate_groups).tolist())}
    columns = np.array([column[group] for group in reference_groups[used].tolist()])
    right = np.array([column[group] for group in np.asarray(query_groups).tolist()])
    ranks = np.zeros(len(query), np.int32)
    for row, vector in enumerate(query):
        nearest = np.full(len(candidate_groups), np.inf, np.float32)
        np.minimum.at(nearest, columns, np.square(reference - vector).sum(1))  # [K]
        ranks[row] = np.count_nonzero(nearest <= nearest[right[row]]) - 1
    return ranks
