"""The analysis: frames in, a report out."""


def analyze(
    source, fps=None, profile="wcag22", *, size=None, css_scale=1.0, loop=False, progress=None
):
    """Decide whether a video flashes dangerously."""
    raise NotImplementedError
