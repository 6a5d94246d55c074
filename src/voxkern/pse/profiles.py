"""The standards as thresholds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """Thresholds of a standard."""

    name: str


PROFILES = {}
