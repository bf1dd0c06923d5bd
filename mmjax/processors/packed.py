"""The text of one example of a batch, also where several examples are packed into one row.

Letters: B examples, K texts of an example, L tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def ids_of(arrays: Mapping[str, np.ndarray], row: int) -> np.ndarray:
    """The token ids of example `row`, without padding; of several texts the first.

    Args:
      arrays: `text` and `text_mask`, [B, L] or [B, K, L]; packed (data/collation.py): [packs, rows,
        L] with `text_segment` and the `index` [B] of the batch.
    """
    ids = arrays["text"]
    if "text_segment" in arrays:
        pack = len(arrays["index"]) // len(ids)
        number, place = divmod(row, pack)
        return ids[number][arrays["text_segment"][number] == place]
    if ids.ndim == 3:
        return ids[row, 0][arrays["text_mask"][row, 0]]
    return ids[row][np.asarray(arrays["text_mask"][row])]
