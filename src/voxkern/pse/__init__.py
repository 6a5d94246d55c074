"""Photosensitivity: whether a video flashes dangerously, by the standards; see :func:`analyze`.

The core needs NumPy alone; paths need PyAV and :meth:`Report.to_html` needs Plotly.
"""

from voxkern.pse.analysis import analyze
from voxkern.pse.frames import Colour, Frame
from voxkern.pse.profiles import PROFILES, Profile
from voxkern.pse.report import Incident, Report, Result

__all__ = [
    "PROFILES",
    "Colour",
    "Frame",
    "Incident",
    "Profile",
    "Report",
    "Result",
    "analyze",
]
