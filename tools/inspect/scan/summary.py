"""Measures of the checks in the words of report.json."""

from tools.inspect.checks.check import Seen
from tools.inspect.checks.music import music_likely
from tools.inspect.checks.silent import SILENT_DBFS, loudest_dbfs
from tools.inspect.report.report import Audio, AudioStatus, Measures
from tools.inspect.scan.audio import dbfs


def audio_status(seen: Seen) -> AudioStatus:
    """Return the audio status of the clip's samples."""
    audio = seen.probe.audio
    if audio is None:
        return "none"
    if not audio.decodable:
        return "undecodable"
    if loudest_dbfs(seen) < SILENT_DBFS:
        return "silent"
    return "short" if seen.cut.sound_too_short else "ok"


def audio_of(seen: Seen) -> Audio:
    """The sound of a clip."""
    audio = seen.probe.audio
    if audio is None:
        return Audio(status="none")
    numbers = seen.numbers
    speech_s = numbers.get("speech", {}).get("speech_s")
    peak = numbers.get("clipping", {}).get("peak")
    return Audio(
        status=audio_status(seen),
        codec=audio.codec,
        sample_rate_hz=audio.sample_rate_hz,
        channels=audio.channels,
        start_s=round(seen.sound_start_s, 4),
        duration_s=round(audio.duration_s, 4),
        loudness_lufs=numbers.get("loudness", {}).get("integrated_lufs"),
        loudness_range_lu=numbers.get("loudness", {}).get("range_lu"),
        peak_dbfs=round(dbfs(peak * peak), 2) if peak else None,
        bandwidth_hz=numbers.get("low_sample_rate", {}).get("band_hz"),
        speech_s=speech_s,
        speech_fraction=round(min(1.0, speech_s / audio.duration_s), 4)
        if speech_s is not None and audio.duration_s
        else None,
        music_likely=music_likely(numbers.get("music", {})),
        tonality=numbers.get("music", {}).get("tonality"),
        pulse_clarity=numbers.get("music", {}).get("pulse_clarity"),
    )


def measures_of(seen: Seen) -> Measures:
    """Return the measures over the whole clip."""
    light, camera = seen.numbers.get("light", {}), seen.numbers.get("shake", {})
    return Measures(
        brightness=light.get("mean"),
        contrast=round(light["p95"] - light["p05"], 4) if light else None,
        colourfulness=light.get("colourfulness"),
        motion=light.get("change"),
        camera_motion=camera.get("speed"),
        shake=camera.get("shake"),
        sharpness=seen.numbers.get("blur", {}).get("sharpness"),
        noise=seen.numbers.get("noise", {}).get("sigma"),
        cuts_s=[time_s for time_s, _ in seen.numbers.get("scene_cut", {}).get("cuts", [])],
        sound_rms_dbfs=seen.numbers.get("silent", {}).get("rms_dbfs"),
    )
