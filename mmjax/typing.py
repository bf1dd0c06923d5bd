"""The types and the dimension alphabet of every public signature.

`Float[Array, "B L D"]` reads: a floating-point array of three axes. The same letters stand in
signatures, einsum strings and trailing comments all over the project:

    B  batch             L  query length      S  key length       D  width
    N  heads             K  key/value heads   H  head size        F  hidden width of an MLP
    V  vocabulary        C  channels          T  frames           P  patches
    E  embedding shared by the modalities

The tests check the annotations with beartype; at run time they cost nothing.
"""

from jaxtyping import Array, Bool, Float, Int, Key, Num, PyTree, Scalar, Shaped, UInt8, UInt32

__all__ = [
    "Array", "Bool", "Float", "Int", "Key", "Num", "PyTree", "Scalar", "Shaped", "UInt8", "UInt32",
]  # fmt: skip
