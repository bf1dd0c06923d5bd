"""Rows of one picture (or sound, or video): a list with one row for each caption has several.

* Rows are of one picture if they name the same file, or files with the same bytes.
* Equal captions make a group, as they do in a list with one row for each picture and all of its
  captions: pictures with the same set of captions are one group. So both forms of a list have the
  same groups.
* All is done with 64-bit keys of the rows, for any number of them.
"""

from typing import NamedTuple

import numpy as np

from mmjax.readers.rows import in_order, repeated


class Same(NamedTuple):
    """Which rows are of one picture."""

    picture: np.ndarray  # int32 [rows], the number of each row's picture, in order of appearance
    first: np.ndarray  # int64 [rows], the first row of the same picture
    copies: np.ndarray  # int64 [n], rows with the bytes of an earlier one under another name


def same_pictures(contents: np.ndarray, names: np.ndarray) -> Same | None:
    """None where every row has a picture of its own.

    Args:
      contents: int64 [rows], a key of the bytes where they are known, else of the file's name.
      names: int64 [rows], a key of the file's name.
    """
    if not len(repeated(contents)):
        return None
    _, first, number = np.unique(contents, return_index=True, return_inverse=True)
    first = first[number]
    named = np.unique(names, return_index=True)[1]  # the first row of every name
    copies = np.sort(named[first[named] != named])
    return Same(in_order(contents), first, copies)


def sets_of_captions(picture: np.ndarray, text: np.ndarray) -> np.ndarray:
    """uint64 [rows]: equal for two rows where their pictures have the same set of captions.

    A set is the sum of random numbers, one for each different caption: two different sets have the
    same sum once in 2**64 pairs.

    Args:
      picture: int32 [rows], the number of each row's picture, counted from 0.
      text: [rows], a key of its captions.
    """
    text = in_order(text).astype(np.int64)  # numbered, so that the sums are always the same
    count = int(text.max(initial=0)) + 1
    numbers = np.random.default_rng(0).integers(0, 2**64, count, np.uint64, endpoint=False)
    pairs = np.unique(picture.astype(np.int64) * count + text)
    sums = np.zeros(int(picture.max(initial=0)) + 1, np.uint64)
    np.add.at(sums, pairs // count, numbers[pairs % count])
    return sums[picture]
