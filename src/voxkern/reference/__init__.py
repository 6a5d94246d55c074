"""Pure NumPy oracles: the public names and arguments, and the definitions written out.

They import nothing of the fast side. Slow, and short enough to check by eye.
"""

from voxkern.reference.im2col import col2im, im2col

__all__ = ["col2im", "im2col"]
