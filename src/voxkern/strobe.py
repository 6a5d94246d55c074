"""Where a flash table alternates: stretches of strong changes in turn up and down."""

import numpy as np

SHARE = 0.5  # a row is strong from this share of the table's largest magnitude on
PAUSE = 0.5  # seconds: strong rows further apart do not belong together
CHANGES = 6  # three flashes at the least


def strobes(times, rows):
    """Stretches in which strong rows of a flash table keep changing sign.

    A description of the table and no verdict of any safety standard.

    Parameters
    ----------
    times : array_like of shape (R,)
        Seconds of the frame that each row leads to.
    rows : array_like of shape (R,)
        The flash table. NaN rows are weak.

    Returns
    -------
    list of (begin, end, changes, weakest)
        Times of the first and last strong row, how many strong rows, and the smallest magnitude
        among them; most changes first.
    """
    times, rows = np.asarray(times, float), np.asarray(rows, float)
    magnitude = np.nan_to_num(np.abs(rows))
    if not magnitude.any():
        return []
    strong = np.flatnonzero(magnitude >= SHARE * magnitude.max())
    turned = np.diff(np.sign(rows[strong])) != 0
    near = np.diff(times[strong]) <= PAUSE
    runs = np.split(strong, np.flatnonzero(~(turned & near)) + 1)
    runs = sorted((run for run in runs if len(run) >= CHANGES), key=len, reverse=True)
    return [
        (float(times[r[0]]), float(times[r[-1]]), len(r), float(magnitude[r].min())) for r in runs
    ]


def describe(span):
    """One line about a stretch of :func:`strobes`."""
    begin, end, changes, weakest = span
    rate = f" {(changes - 1) / 2 / (end - begin):.1f} flashes a second," if end > begin else ""
    return f"{begin:.2f} to {end:.2f} s: {changes} changes,{rate} each {weakest:.0f} or more"
