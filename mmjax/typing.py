"""The types and the dimension alphabet of every public signature.

`Float[Array, "B L D"]` reads: a floating-point array of three axes. The same letters stand in
signatures, einsum strings and trailing comments all over the project:

    B  batch             L  query length      S  key length       D  width
    N  heads             K  key/value heads   H  head size        F  hidden width of an MLP
    V  vocabulary        C  channels          T  frames           P  patches
    E  embedding shared by the modalities

The tests check the annotations with beartype; at run time they cost nothing.

A field of a config that has a range is annotated with it (`heads: Positive = 12`): the door where
configs are read refuses every other number, and the user's help says which are right.
"""

from typing import Annotated, NamedTuple

from jaxtyping import Array, Bool, Float, Int, Key, Num, PyTree, Scalar, Shaped, UInt8, UInt32

__all__ = [
    "Array", "Bool", "Float", "Int", "Key", "Natural", "Num", "Positive", "PyTree", "Range",
    "Scalar", "Shaped", "UInt8", "UInt32",
]  # fmt: skip


class Range(NamedTuple):
    """The numbers that a field may hold, written beside its type: Annotated[int, Range(1, 9)]."""

    least: int
    most: int = 2**31 - 1  # no size of an array is larger

    def __contains__(self, value: int) -> bool:
        return self.least <= value <= self.most

    def __str__(self) -> str:
        return f"from {self.least} to {self.most}"


Positive = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
