"""What the tests of speech families share."""

import numpy as np


def close(ours, theirs, mask=None, atol=1e-4):
    """Real places agree with a torch tensor."""
    ours, theirs = np.asarray(ours), theirs.numpy()
    if mask is not None:
        ours, theirs = ours[mask], theirs[mask]
    np.testing.assert_allclose(ours, theirs, atol=atol, rtol=0)
