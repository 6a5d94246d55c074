"""The standards as thresholds: copy one with ``dataclasses.replace`` and change what you like."""

from dataclasses import dataclass

from voxkern._check import number


@dataclass(frozen=True)
class Relaxation:
    """Flashing that NAB Japan allows above its limit: weak, without red, and soon over.

    Attributes
    ----------
    change : float
        Transitions are at most this large. NAB-J 1.(3): 20 %.
    transitions : int
        And at most so many in a second. NAB-J 1.(3): 5 flashes, so 10.
    seconds : float
        Lasting at most so long. NAB-J 1.(3): 2 s.
    """

    change: float = 0.20
    transitions: int = 10
    seconds: float = 2.0


@dataclass(frozen=True)
class Stripes:
    """Regular patterns that are too large, bright and long: Ofcom annex 1, BT.1702-3 annex 1.

    NAB-J 3 forbids them over most of the screen and gives no numbers: it is measured as the others.

    Attributes
    ----------
    pairs : int
        More than so many pairs of a light and a dark bar. Both: 5.
    still_area, moving_area : float
        Over more than this share of the screen, at rest, and where the bars drift, oscillate,
        flash or change places. Both: 40 % and 25 %.
    seconds : float
        For longer than this. Both: 0.5 s.
    bright : float
        The light bars are above this, 1.0 being 200 cd/m2. Both: 50 cd/m2.
    step : float
        What makes a bar: of no standard, which say "clearly discernible"; a flash's 20 cd/m2.
    clause : str
        What a report quotes.
    """

    clause: str
    pairs: int = 5
    still_area: float = 0.40
    moving_area: float = 0.25
    seconds: float = 0.5
    bright: float = 0.25
    step: float = 0.10


@dataclass(frozen=True)
class Profile:
    """Thresholds of one standard. The clauses named are those of the built-in profiles.

    Attributes
    ----------
    name, title : str
        Short, and the standard's own.
    curve : str or None
        How SDR codes become light: ``"srgb"`` (WCAG 2.2, "relative luminance"), ``"bt1886"``
        (BT.1702-3 annex 1), ``"ofcom"`` (BT.1702-0; Ofcom annex 1), or None for the curve of the
        frames themselves (sRGB pictures by sRGB, BT.709 video by BT.1886).
    change : float
        A transition's least change of luminance, 1.0 being 200 cd/m2 or the brightest of the
        screen. WCAG 2.2 "general flash": 10 %; BT.1702-3 and Ofcom: 20 cd/m2.
    dark : float
        The darker state is below this. WCAG 2.2: 0.80; BT.1702-3 and Ofcom: 160 cd/m2.
    contrast : float
        Michelson contrast that makes a transition where the darker state is not; 0 for none.
        WCAG 2.2 and BT.1702-3: 1/17.
    contrast_in_sdr : bool
        Whether that holds for SDR too; only TRACE24 says so.
    red : str
        ``"uv"`` (WCAG 2.2 "red flash", BT.1702-3), ``"legacy"`` (WCAG 2.0) or ``"none"``.
    red_share : float
        R / (R + G + B) of a saturated red, in linear light. WCAG 2.2, WCAG 2.0: 0.8.
    red_distance : float
        The two states are farther apart than this in CIE 1976 u'v'. WCAG 2.2, ISO 9241-391: 0.2.
    red_change : float
        WCAG 2.0: max(0, R - G - B) * 320 changes by more than 20.
    red_floor : float
        R - G - B of a red that can be seen as such: of no standard, but in the dark an 8-bit step
        or a codec's noise crosses all of u'v'. 0.01 is a luminance of 0.4 cd/m2.
    transitions : int
        More than this in a second are too many: 3 flashes (WCAG 2.2 SC 2.3.1; BT.1702-3; Ofcom).
        Leading edges 334 or 360 ms apart, which BT.1702-3 and Ofcom (9 frames) accept, cannot
        come to more: seven transitions have four edges of one direction within a second.
    together : float
        Seconds within which pixels complete a transition together. TRACE24: regions within 20 ms
        are summed. Others, as WCAG 2.2, say "concurrently": a 12th of a second, since what flashes
        more than three times in one, in whatever phase, turns so near to all else that does.
    area : float
        Share of the tested area that flashes together. All: 25 %.
    area_inclusive : bool
        Whether just that share is too much. TRACE24: yes; others: more than.
    window : (int, int) or None
        Width and height in CSS px of the tested area, which may lie anywhere: 341 x 256 in WCAG
        2.2 SC 2.3.1, 416 x 416 in TRACE24; None is the whole screen (BT.1702-3, Ofcom, ISO 9241).
    screen : (int, int) or None
        Size in CSS px that frames are fitted to. WCAG 2.2: 1024 x 768 "or real size": the larger
        of the two is taken; TRACE24: 1920 x 1080, always. None with whole screens.
    screen_is_least : bool
        Whether larger frames keep their real size (WCAG) or are fitted too (TRACE24).
    extended : float
        Flashing at half of the limit or more that goes on for longer than this many seconds is a
        warning. BT.1702-3, Ofcom: 5 s. 0 for none.
    relaxation : Relaxation or None
        NAB-J alone.
    stripes : Stripes or None
        Regular patterns. BT.1702-3, Ofcom, NAB-J.
    luminance_clause, red_clause, extended_clause, ramp_clause : str
        What a report quotes.
    """

    name: str
    title: str
    luminance_clause: str
    red_clause: str
    curve: str | None = None
    change: float = 0.10
    dark: float = 0.80
    contrast: float = 1 / 17
    contrast_in_sdr: bool = False
    red: str = "uv"
    red_share: float = 0.8
    red_distance: float = 0.2
    red_change: float = 20.0
    red_floor: float = 0.01
    transitions: int = 6
    together: float = 0.0835
    area: float = 0.25
    area_inclusive: bool = False
    window: tuple | None = None
    screen: tuple | None = None
    screen_is_least: bool = True
    extended: float = 0.0
    relaxation: Relaxation | None = None
    stripes: Stripes | None = None
    extended_clause: str = ""
    ramp_clause: str = "slower than 66 ms, so not a flash by the letter, but flashing to the eye"

    def __post_init__(self):
        if self.curve not in (None, "srgb", "bt1886", "ofcom"):
            raise ValueError(f"curve is {self.curve!r}; it may be None, srgb, bt1886, ofcom")
        if self.red not in ("uv", "legacy", "none"):
            raise ValueError(f"red is {self.red!r}; it may be uv, legacy, none")
        for name in ("change", "dark", "red_distance", "red_change", "area"):
            if number(getattr(self, name), name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be above 0")
        if not 0 <= number(self.contrast, "contrast") < 1:
            raise ValueError(f"contrast is {self.contrast!r}; it must be from 0 to below 1")
        if not 0.5 < number(self.red_share, "red_share") <= 1:
            raise ValueError(f"red_share is {self.red_share!r}; it must be above 0.5, at most 1")
        if not (isinstance(self.transitions, int) and 1 <= self.transitions <= 1000):
            raise ValueError(f"transitions is {self.transitions!r}; it must be from 1 to 1000")


FIVE_SECONDS = "flashing that lasts longer than 5 s may be a risk even within the limits"
WCAG = {
    "curve": "srgb",
    "window": (341, 256),
    "screen": (1024, 768),
    "luminance_clause": "WCAG {} SC 2.3.1: more than three general flashes in one second",
    "red_clause": "WCAG {} SC 2.3.1: more than three red flashes in one second",
}
BROADCAST = {
    "luminance_clause": "{}: more than three luminance flashes in one second",
    "red_clause": "{}: more than three flashes to or from saturated red in one second",
    "extended": 5.0,
    "extended_clause": "{}: " + FIVE_SECONDS,
}


def _profile(name, title, fields, short=None):
    """A profile whose clauses name `short`."""
    named = {
        key: value.format(short or title) if key.endswith("clause") else value
        for key, value in fields.items()
    }
    return Profile(name, title, **named)


PROFILES = {
    profile.name: profile
    for profile in (
        _profile("wcag22", "WCAG 2.2", WCAG, "2.2"),
        _profile("wcag20", "WCAG 2.0", {**WCAG, "red": "legacy"}, "2.0"),
        _profile("bt1702", "ITU-R BT.1702-3", {**BROADCAST, "stripes": Stripes("ITU-R BT.1702-3")}),
        _profile(
            "ofcom",
            "Ofcom Guidance, section 2, annex 1",
            {**BROADCAST, "stripes": Stripes("Ofcom annex 1")},
            "Ofcom annex 1",
        ),
        _profile("iso9241", "ISO 9241-391", BROADCAST),
        Profile(
            "trace24",
            "TRACE24",
            "TRACE24: more than six luminance transitions in one second",
            "TRACE24: more than six red transitions in one second",
            curve="srgb",
            contrast_in_sdr=True,
            together=0.020,
            area_inclusive=True,
            window=(416, 416),
            screen=(1920, 1080),
            screen_is_least=False,
        ),
        Profile(
            "nabj",
            "NAB Japan and NHK, animation and other image techniques",
            "NAB-J 1: more than three flashes in one second",
            "NAB-J 1: more than three flashes with vivid red in one second",
            contrast=0.0,
            dark=1.0,
            relaxation=Relaxation(),
            stripes=Stripes("NAB-J 3, measured as in ITU-R BT.1702-3"),
        ),
        Profile(
            "carreira",
            "Carreira et al., QoMEX 2015",
            "QoMEX 2015: more than three pairs of opposite changes of 20 cd/m2 in one second",
            "",
            curve="ofcom",
            red="none",
        ),
    )
}
