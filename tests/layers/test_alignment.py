"""Streams on one grid of time: what a filter has to do, and the layer against the transform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.layers import alignment
from mmjax.layers.time_grid import Grid, Stream, ends_at, points
from mmjax.transforms import alignment as transform

GRID = Grid(half_width=8, attenuation=50.0)
layer = jax.jit(alignment.align, static_argnums=(0, 1, 3))


def rows(stream, grid, values, number, mask, times=None):
    """The transform over a batch."""
    found = [
        transform.align(
            stream, grid, values[i], mask[i], None if times is None else times[i], number
        )
        for i in range(len(values))
    ]
    return np.stack([one.values for one in found]), np.stack([one.mask for one in found])


def wave(rate, hertz, seconds=12.0, phase=0.4):
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate + phase)


@pytest.mark.parametrize("rate", [12.0, 25.0, 30.0, 100.0, 16_000.0])
@pytest.mark.parametrize("grid", [Grid(), GRID, Grid(4.0, 16, 70.0)], ids=str)
def test_what_a_grid_can_hold_survives_and_nothing_else_does(rate, grid):
    """Amplitude and phase to the filter's ripple below its band edge; above Nyquist its dB."""
    ripple = 3 * 10 ** (-grid.attenuation / 20)
    edges = int(2.2 * grid.half_width)  # points whose filter reaches over an end
    assert 0.5 * grid.rate / 2 < grid.passband < grid.rate / 2
    for hertz in np.linspace(0.0, grid.passband, 6):
        x = wave(rate, hertz, 4 * edges / grid.rate)
        number = ends_at(grid, len(x) / rate)
        found = transform.align(Stream(rate), grid, x, np.ones(len(x), bool), None, number)
        want = np.sin(2 * np.pi * hertz * points(grid, number) + 0.4)
        assert found.mask[1:-1].all()
        assert np.abs(found.values - want)[edges:-edges].max() < ripple, hertz
    for hertz in np.linspace(grid.rate / 2, rate / 2, 12)[:-1]:
        x = wave(rate, hertz, 4 * edges / grid.rate)
        number = ends_at(grid, len(x) / rate)
        found = transform.align(Stream(rate), grid, x, np.ones(len(x), bool), None, number)
        assert np.abs(found.values)[edges:-edges].max() < ripple, hertz


def test_a_mean_over_the_cell_would_alias():
    """Why kind "linear" is filtered: an area mean of 7 Hz leaves a third of it."""
    x = wave(100.0, 7.0)
    filtered, mean = (
        transform.align(Stream(100.0, kind), Grid(), x, np.ones(len(x), bool), None, 120).values
        for kind in ("linear", "area")
    )
    assert np.abs(mean).max() > 0.3 and np.abs(filtered)[40:-40].max() < 0.003


@pytest.mark.parametrize(
    "stream",
    [
        Stream(33.3), Stream(7.0), Stream(5.0, "nearest"), Stream(50.0, "nearest"),
        Stream(30.0, "area"),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("stamped", [False, True])
def test_layer_equals_transform(stream, stamped):
    """With holes and ragged ends; what stands in the padding does not matter."""
    rng = np.random.default_rng(3)
    length = round(6 * stream.rate)
    lengths = np.array([length, length // 2, 3])
    values = rng.normal(size=(3, length, 2)).astype(np.float32)
    if stream.kind == "nearest":
        values = rng.integers(1, 900, (3, length, 2)).astype(np.int32)
    mask = np.arange(length) < lengths[:, None]
    mask[0, length // 3 : length // 2] = False
    times = None
    if stamped:
        steps = rng.uniform(0.6, 1.4, (3, length)) / stream.rate
        times = np.where(mask.cumsum(1) <= lengths[:, None], steps, 0).cumsum(1)
        times[1, lengths[1] :] = 0.0  # padding
        times = times.astype(np.float32)
    want, there = rows(stream, GRID, values, 60, mask, times)
    garbage = np.where(mask[..., None], values, np.array(1e9).astype(values.dtype))
    found = layer(stream, GRID, garbage, 60, mask, times)
    np.testing.assert_array_equal(found.mask, there)
    assert there[0].any() and not there[0].all() and there[1].sum() < there[0].sum() + 20
    np.testing.assert_allclose(found.values, want, atol=2e-4 if stamped else 2e-6)
    assert found.values.dtype == values.dtype
    alone, its_mask = rows(stream, GRID, values[1:2, : lengths[1]], 60, mask[1:2, : lengths[1]],
                           None if times is None else times[1:2, : lengths[1]])  # fmt: skip
    np.testing.assert_array_equal(alone[0], want[1])
    np.testing.assert_array_equal(its_mask[0], there[1])


@pytest.mark.parametrize("kind", ["linear", "area", "nearest"])
@pytest.mark.parametrize("rate", [5.0, 100.0])
def test_a_gap_is_masked_and_a_constant_stays_one(kind, rate):
    """Two seconds are missing, as a hole in a steady stream and as stamps that jump."""
    stream = Stream(rate, kind)
    ones = np.ones((round(8 * rate), 1), np.float32)
    time = np.arange(len(ones)) / rate
    mask = (time < 3) | (time >= 5)
    whole = np.ones(mask.sum(), bool)
    hole = transform.align(stream, Grid(), ones, mask, None, 80)
    stamps = transform.align(stream, Grid(), ones[mask], whole, time[mask], 80)
    at = points(Grid(), 80)
    for found in (hole, stamps):
        valid = found.mask
        missing = (at > 3.05) & (at < 4.85)
        assert not valid[missing].any() and valid[(at < 2.75) | (at > 5.05)].all()
        np.testing.assert_allclose(found.values[valid], 1.0, atol=1e-6)
        assert not found.values[~valid].any()


def test_a_lonely_sample_speaks_for_its_period():
    found = layer(Stream(5.0), Grid(), jnp.full((1, 1, 1), 3.0), 6, None, jnp.array([[0.2]]))
    np.testing.assert_array_equal(found.mask[0], [False, True, True, True, False, False])
    none = layer(Stream(5.0), Grid(), jnp.ones((1, 4, 1)), 6, jnp.zeros((1, 4), bool))
    assert not none.mask.any() and not none.values.any()


def test_irregular_stamps_are_where_they_say():
    """A sine sampled at uneven times comes out even, up to what so few samples can tell."""
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.5, 1.5, 2400)) / 200
    x = np.sin(2 * np.pi * 1.3 * times)
    found = transform.align(Stream(200.0, gap=0.02), Grid(), x, np.ones(2400, bool), times, 110)
    want = np.sin(2 * np.pi * 1.3 * points(Grid(), 110))
    assert found.mask[1:].all()  # the first stamp is 4 ms behind the first point
    assert np.abs(found.values - want)[30:-30].max() < 0.02


def test_gradients_reach_the_samples_that_are_there():
    def loss(values, mask):
        return alignment.align(Stream(40.0), GRID, values, 20, mask).values.sum()

    mask = np.ones((1, 80), bool)
    mask[0, 30:50] = False
    got = jax.jit(jax.grad(loss))(jnp.ones((1, 80, 1)), mask)
    assert jnp.isfinite(got).all() and (np.asarray(got[0, :, 0] != 0) == mask[0]).all()


def test_what_no_grid_is():
    with pytest.raises(ValueError, match="lets nothing pass: a longer filter"):
        Grid(half_width=1)
    with pytest.raises(ValueError, match="rate and gap are above 0"):
        Stream(0.0)
    assert Grid(attenuation=30.0).beta == pytest.approx(2.1166, abs=1e-3)
