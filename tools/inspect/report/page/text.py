"""Words that all parts of the page share."""

from tools.inspect.report.report import FlagId, Severity

SEVERITY_CHIPS: dict[Severity, tuple[str, str]] = {
    "block": ("bad", "blocks"),
    "warn": ("warn", "look"),
    "note": ("note", "note"),
}
HARM: dict[Severity, int] = {"block": 0, "warn": 1, "note": 2}
MILD: frozenset[FlagId] = frozenset({"near_duplicate", "no_audio", "silent", "name_collision", "unpaired"})
"""What limits the use of a clip; every other warning is of something wrong that the model would learn."""
STATUS_CHIPS = {"ok": "good", "flagged": "warn", "unusable": "bad", "unreadable": "bad"}
NAMES: dict[FlagId, str] = {
    "scene_cut": "Cuts inside",
    "letterbox": "Bars",
    "text_overlay": "Text or logo",
    "near_duplicate": "Near-duplicates",
    "av_length_mismatch": "Sound and picture differ",
    "no_audio": "No sound",
    "odd_pixel_aspect": "Odd pixels",
    "low_fps": "Low frame rate",
    "vfr": "Varying frame rate",
    "hdr": "HDR or log",
    "audio_dropout": "Dropouts",
    "low_sample_rate": "Dull sound",
    "undecodable": "Can't be decoded",
    "corrupt_tail": "Cut off",
    "header_mismatch": "Header is wrong",
    "name_collision": "Names collide",
    "unpaired": "Unpaired",
}


def flag_name(flag: FlagId) -> str:
    """Return a flag's name for people."""
    return NAMES.get(flag, flag.replace("_", " ").capitalize())


def harm(severity: Severity, flag: FlagId) -> tuple[int, bool]:
    """Sorts the flags that do most harm first."""
    return HARM[severity], flag in MILD
