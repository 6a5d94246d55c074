"""Edges of a medical volume: 3-D Sobel by convolution, magnitude, max pooling, a montage.

    python examples/mri_edges.py VOLUME.nii.gz --output montage.png

Needs nibabel and matplotlib: pip install nibabel "voxkern[cli]"
"""

import argparse
import sys
import zlib
from pathlib import Path

import numpy as np

import voxkern

try:
    import nibabel
    from matplotlib.figure import Figure
except ModuleNotFoundError as missing:
    sys.exit(f'{missing.name} is missing: pip install nibabel "voxkern[cli]"')


def sobel_bank(spacing):
    """Sobel's operator along each axis of voxels `spacing` apart, as ``(3, 1, 3, 3, 3)`` weights.

    Weighted so that a ramp of 1 per unit of length gives 1.
    """
    smooth, slope = np.array([1, 2, 1]) / 4, np.array([-1, 0, 1]) / 2
    bank = np.empty((3, 1, 3, 3, 3), np.float32)
    for axis in range(3):
        lines = [smooth] * 3
        lines[axis] = slope / spacing[axis]
        bank[axis, 0] = np.einsum("i,j,k", *lines)
    return bank


def edge_magnitude(volume, spacing):
    """Length of the gradient at every voxel, with the border voxels repeated outwards."""
    x = np.pad(volume, 1, mode="edge")[None]
    gradient = voxkern.conv3d(x, sobel_bank(spacing))
    return np.sqrt((gradient**2).sum(axis=0))


def montage(volume, edges, pooled, spacing, title):
    """The middle slice across each axis: the volume, its edges, the pooled edges."""
    figure = Figure(figsize=(10, 10), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(3, 3)
    for column, (array, name) in enumerate(
        ((volume, "volume"), (edges, "Sobel magnitude (conv3d)"), (pooled, "max_pool3d by 2"))
    ):
        # A few bright voxels would leave the rest dark.
        top = np.percentile(array, 99.5)
        for axis in range(3):
            middle = np.take(array, array.shape[axis] // 2, axis=axis)
            across = [size for i, size in enumerate(spacing) if i != axis]
            panel = grid[axis, column]
            panel.imshow(
                middle.T,
                cmap="gray" if column == 0 else "magma",
                vmax=top,
                origin="lower",
                aspect=across[1] / across[0],
            )
            panel.set_axis_off()
        grid[0, column].set_title(name)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volume", type=Path, help="NIfTI file, 3-D (.nii, .nii.gz)")
    parser.add_argument("--output", type=Path, default=Path("montage.png"))
    arguments = parser.parse_args()
    try:
        image = nibabel.as_closest_canonical(nibabel.load(arguments.volume))
        volume = image.get_fdata(dtype=np.float32)
    except (OSError, EOFError, zlib.error, nibabel.filebasedimages.ImageFileError) as error:
        parser.error(f"volume: {error}")
    if volume.ndim != 3 or min(volume.shape) < 2:
        parser.error(f"volume has shape {volume.shape}; it must have 3 axes of 2 voxels or more")
    if not arguments.output.parent.is_dir():
        parser.error(f"--output: {arguments.output.parent} is not a directory")
    spacing = image.header.get_zooms()[:3]
    edges = edge_magnitude(volume, spacing)
    pooled = voxkern.max_pool3d(edges[None], kernel_size=2)[0]
    montage(volume, edges, pooled, spacing, arguments.volume.name).savefig(arguments.output)
    print(f"{arguments.volume.name}: {volume.shape} voxels of {[float(s) for s in spacing]} mm")
    print(f"largest gradient {edges.max():.1f} a mm; edges pooled to {pooled.shape}")
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
