"""Every check of picture and sound: real footage passes, the same footage with one fault raises that flag alone."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tools.inspect.checks import loudness
from tools.inspect.checks.all import CHECKS
from tools.inspect.checks.check import Numbers, Seen
from tools.inspect.checks.music import music_likely
from tools.inspect.report.report import Flag
from tools.inspect.report.samples import cut
from tools.inspect.scan.audio import Narrower, Sound
from tools.inspect.scan.scan_file import Watcher
from trainer_core.data.buckets import Bucket
from trainer_core.data.media.probe import AudioProbe, ClipProbe

RATE, RATE_HZ = 25, 48000
SHOTS = {
    "bunny": ("bigbuckbunny.mp4", 0, 60),
    "bikes": ("bikes.mp4", 138, 186),
    "car": ("carphone_pristine.mp4", 0, 60),
}
Pictures = list[np.ndarray]
Fault = Callable[[int, np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def shots(footage) -> dict[str, Pictures]:
    """Two seconds of one shot of each original, BGR; the animation at half its size, as it is the largest."""
    found = {}
    for name, (file, first, last) in SHOTS.items():
        with av.open(str(footage / file)) as container:
            frames = [frame for index, frame in enumerate(container.decode(video=0)) if first <= index < last]
        size = (640, 360) if name == "bunny" else (frames[0].width, frames[0].height)
        found[name] = [frame.to_ndarray(width=size[0], height=size[1], format="bgr24") for frame in frames]
    return found


@pytest.fixture(scope="module")
def real_sound(footage) -> np.ndarray:
    """The sound of the animation, float32 [2, N], as loud as sound usually is."""
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=RATE_HZ)
    with av.open(str(footage / "bigbuckbunny.mp4")) as container:
        parts = [part.to_ndarray() for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return 3.0 * np.concatenate(parts, axis=1)


def flags_of(pictures: Pictures, sound: np.ndarray | None = None, **facts) -> list[Flag]:
    """What the checks say of pictures [H, W, 3] BGR at RATE and sound [C, N] at RATE_HZ."""
    watcher = Watcher()
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24").reformat(format="yuv420p")
        watcher.see(index / RATE, frame)
    audio = None
    if sound is not None:
        for start in range(0, sound.shape[1], 1024):
            piece = np.ascontiguousarray(sound[:, start : start + 1024], dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo" if len(sound) == 2 else "mono")
            frame.sample_rate, frame.time_base = RATE_HZ, Fraction(1, RATE_HZ)
            watcher.hear(start / RATE_HZ, frame)
        audio = AudioProbe(True, "pcm", RATE_HZ, sound.shape[0], 0.0, sound.shape[1] / RATE_HZ)
    height, width = pictures[0].shape[:2]
    length_s = len(pictures) / RATE
    given = {"fps": float(RATE), "width": width, "height": height, "audio": audio, "bit_depth": 8, **facts}
    probe = ClipProbe(kind="video", duration_s=length_s, frames=len(pictures), **given)
    samples = cut(probe, float(RATE), [Bucket(96, 64, 9)])
    seen = Seen(probe, watcher.numbers(), float(RATE), samples, Path("clip.mp4"))
    return [flag for check in CHECKS for flag in check.judge(seen)]


def ids(flags: list[Flag]) -> set[str]:
    return {flag.id for flag in flags} - {"no_audio"}


@pytest.mark.parametrize("name", SHOTS)
def test_real_footage_passes_every_check(shots, name):
    assert ids(flags_of(shots[name])) == set()


def grain(index: int, picture: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(index).normal(0, 22, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def soft(_index: int, picture: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), picture.shape[1] / 110)


def enlarged(_index: int, picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)


def dark(_index: int, picture: np.ndarray) -> np.ndarray:
    return (picture * 0.2).astype(np.uint8)


def burnt(_index: int, picture: np.ndarray) -> np.ndarray:
    return np.clip(picture.astype(np.int16) * 3, 0, 255).astype(np.uint8)


def flickering(index: int, picture: np.ndarray) -> np.ndarray:
    return np.clip(picture * (1.08 if index % 2 else 0.94), 0, 255).astype(np.uint8)


def flashing(index: int, picture: np.ndarray) -> np.ndarray:
    return np.full_like(picture, 250) if index == 30 else picture


def dropping(index: int, picture: np.ndarray) -> np.ndarray:
    return np.zeros_like(picture) if index in (20, 21) else picture


def blacked(index: int, picture: np.ndarray) -> np.ndarray:
    return np.zeros_like(picture) if index >= 30 else picture


def letterboxed(_index: int, picture: np.ndarray) -> np.ndarray:
    bar = picture.shape[0] // 8
    return cv2.copyMakeBorder(picture[bar:-bar], bar, bar, 0, 0, cv2.BORDER_CONSTANT)


def pillarboxed(_index: int, picture: np.ndarray) -> np.ndarray:
    return cv2.copyMakeBorder(picture, 0, 0, 40, 40, cv2.BORDER_CONSTANT, value=(70, 70, 70))


def subtitled(_index: int, picture: np.ndarray) -> np.ndarray:
    written, size = picture.copy(), picture.shape[0] / 400
    place = int(picture.shape[1] * 0.12), int(picture.shape[0] * 0.9)
    for colour, thickness in (((0, 0, 0), 6 * size), ((255, 255, 255), 2 * size)):
        text = "Where are we going now?"
        cv2.putText(written, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, int(thickness) + 1, cv2.LINE_AA)
    return written


def shaking(index: int, picture: np.ndarray) -> np.ndarray:
    margin = int(picture.shape[1] * 0.04)
    across, down = np.random.default_rng(index).integers(0, 2 * margin, 2)
    height, width = (side - 2 * margin for side in picture.shape[:2])
    return picture[down : down + height, across : across + width]


def combed(shot: Pictures) -> Pictures:
    """Two fields a picture: the even lines of one, the odd lines of the one four later."""
    woven = [picture.copy() for picture in shot[:-4]]
    for index, picture in enumerate(woven):
        picture[1::2] = shot[index + 4][1::2]
    return woven


@pytest.mark.parametrize(
    ("name", "fault", "flag"),
    [
        ("bunny", grain, "noise"),
        ("bikes", grain, "noise"),
        ("bunny", soft, "blur"),
        ("bikes", soft, "blur"),
        ("car", soft, "blur"),
        ("car", enlarged, "blur"),
        ("bikes", dark, "underexposed"),
        ("car", dark, "underexposed"),
        ("bikes", burnt, "overexposed"),
        ("bunny", flickering, "flicker"),
        ("car", flickering, "flicker"),
        ("bikes", flashing, "flash"),
        ("car", flashing, "flash"),
        ("bunny", dropping, "flash"),
        ("bikes", blacked, "black"),
        ("bunny", letterboxed, "letterbox"),
        ("bikes", letterboxed, "letterbox"),
        ("car", pillarboxed, "letterbox"),
        ("bikes", subtitled, "text_overlay"),
        ("bunny", subtitled, "text_overlay"),
        ("bunny", shaking, "shake"),
        ("bikes", shaking, "shake"),
        ("car", shaking, "shake"),
    ],
)
def test_one_fault_raises_its_flag_alone(shots, name: str, fault: Fault, flag: str):
    flags = flags_of([fault(index, picture) for index, picture in enumerate(shots[name])])
    allowed = {"scene_cut"} if fault is blacked else set()
    assert ids(flags) - allowed == {flag}
    found = next(each for each in flags if each.id == flag)
    assert found.severity == "warn"
    assert found.value is not None
    assert found.threshold is not None
    assert found.remedy


def test_the_crop_removes_the_bars(shots):
    (flag,) = flags_of([letterboxed(index, picture) for index, picture in enumerate(shots["bunny"])], None)[:1]
    assert (flag.id, flag.value) == ("letterbox", "640x268+0+46")
    turned = [np.rot90(letterboxed(index, picture), -1) for index, picture in enumerate(shots["bunny"])]
    flags = flags_of(turned, rotation=90, width=640, height=360)
    assert next(each.value for each in flags if each.id == "letterbox") == "640x268+0+46"


def test_a_logo_on_a_moving_picture(shots, footage):
    """A half transparent disc on the shots of bikes, one after the other; without it nothing is found."""

    def marked(picture: np.ndarray) -> np.ndarray:
        disc = picture.copy()
        cv2.circle(disc, (576, 40), 20, (255, 255, 255), -1)
        cv2.putText(disc, "TV", (560, 48), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 2)
        return cv2.addWeighted(picture, 0.5, disc, 0.5, 0)

    with av.open(str(footage / "bikes.mp4")) as container:
        pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    assert ids(flags_of(pictures)) == {"scene_cut"}
    assert ids(flags_of([marked(picture) for picture in pictures])) == {"scene_cut", "text_overlay"}


def test_the_cuts_of_a_real_film(footage):
    """Looked at by eye: bikes.mp4 cuts at pictures 30, 76, 137, 187 and 242; what moves fast before 76 hides no cut."""
    with av.open(str(footage / "bikes.mp4")) as container:
        pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    (flag,) = [flag for flag in flags_of(pictures) if flag.id == "scene_cut"]
    assert (flag.start_s, flag.end_s) == (1.2, 9.68)
    assert "5 cuts (at 1.20 s, 3.04 s, 5.48 s, 7.48 s, 9.68 s)" in flag.message


@pytest.mark.parametrize(("first", "second"), [("bunny", "bikes"), ("bunny", "car"), ("bikes", "car")])
def test_quick_cuts_are_no_flicker(shots, first: str, second: str):
    size = 320, 192
    pictures = [
        cv2.resize(shots[(first, second)[index // 6 % 2]][index // 12 + index % 6], size) for index in range(120)
    ]
    found = ids(flags_of(pictures))
    assert "scene_cut" in found
    assert "flicker" not in found


@pytest.mark.parametrize("fastest_px", [60, 200])
def test_a_whip_pan_is_no_cut(shots, fastest_px):
    strip = np.concatenate([cv2.resize(shots[name][0], (640, 360)) for name in ("bunny", "bikes", "car")], axis=1)
    speeds = np.concatenate([np.full(20, 2), np.full(1100 // fastest_px, fastest_px), np.full(20, 2)])
    pictures = [
        cv2.blur(strip, (max(1, int(speed) // 2), 1))[:, left : left + 640]
        for left, speed in zip(np.cumsum(speeds).clip(max=1280), speeds, strict=True)
    ]
    assert "scene_cut" not in ids(flags_of(pictures))


def test_pictures_of_two_fields(shots):
    assert "interlaced" in ids(flags_of(combed(shots["bikes"])))
    (flag,) = [flag for flag in flags_of(shots["car"], interlaced=True) if flag.id == "interlaced"]
    assert flag.severity == "note"


def test_a_still_moment_and_a_still_clip(shots):
    car = shots["car"]
    (flag,) = [flag for flag in flags_of([*car[:20], *[car[20]] * 30, *car[20:]]) if flag.id == "static"]
    assert (flag.start_s, flag.end_s) == (pytest.approx(0.8, abs=0.05), pytest.approx(2.0, abs=0.05))
    assert ids(flags_of([car[0]] * 50)) == {"static"}


def test_slow_footage_blown_up_by_repetition(shots):
    doubled = [picture for picture in shots["car"][:40] for _ in range(2)]
    (flag,) = [flag for flag in flags_of(doubled) if flag.id == "low_fps"]
    assert flag.value == pytest.approx(12.5, abs=0.5)
    assert "only" in flag.message


@pytest.mark.parametrize(
    ("facts", "flag", "severity"),
    [
        ({"transfer": "pq"}, "hdr", "warn"),
        ({"transfer": "hlg"}, "hdr", "warn"),
        ({"transfer": "log"}, "hdr", "warn"),
        ({"wide_gamut": True}, "hdr", "note"),
        ({"rotation": 90}, "rotated", "note"),
        ({"sample_aspect": 1.4222}, "odd_pixel_aspect", "note"),
        ({"sample_aspect": 16.0}, "odd_pixel_aspect", "warn"),
        ({"header_frames": 90}, "header_mismatch", "note"),
        ({"sizes": 2}, "header_mismatch", "warn"),
        ({"header_duration_s": 9.0}, "corrupt_tail", "warn"),
        ({"damaged_packets": 3}, "undecodable", "warn"),
        ({"vfr": True}, "vfr", "note"),
    ],
)
def test_what_the_file_itself_says(shots, facts, flag, severity):
    flags = flags_of(shots["car"], **facts)
    assert ids(flags) == {flag}
    assert next(each.severity for each in flags if each.id == flag) == severity


def test_ungraded_log_footage_is_only_guessed_at(shots):
    def flat(picture: np.ndarray) -> np.ndarray:
        grey = picture.mean(axis=2, keepdims=True)
        return np.clip(0.4 * (0.3 * (picture - grey) + grey) + 85, 0, 255).astype(np.uint8)

    pictures = [flat(picture) for picture in shots["bikes"]]
    (flag,) = [flag for flag in flags_of(pictures, bit_depth=10) if flag.id == "hdr"]
    assert (flag.severity, flag.value) == ("note", "log?")
    assert "hdr" not in ids(flags_of(pictures, bit_depth=8))


def heard(car: Pictures, sound: np.ndarray, **facts) -> list[Flag]:
    return flags_of((car * 3)[: round(RATE * sound.shape[1] / RATE_HZ)], sound, **facts)


def sound_ids(flags: list[Flag]) -> set[str]:
    return {flag.id for flag in flags} - {"scene_cut"}


def test_real_sound_passes_every_check(shots, real_sound):
    assert sound_ids(heard(shots["car"], real_sound)) == set()


def torn(sound: np.ndarray) -> np.ndarray:
    holed = sound + 0.05 * np.sin(np.arange(sound.shape[1]) / 9)
    for second in (1.0, 2.5):
        holed[:, round(second * RATE_HZ) : round((second + 0.06) * RATE_HZ)] = 0
    return holed


def dull(sound: np.ndarray) -> np.ndarray:
    """Nothing above 4 kHz, as from a telephone."""
    spectrum = np.fft.rfft(sound + 0.01 * np.random.default_rng(0).standard_normal(sound.shape), axis=1)
    spectrum[:, np.fft.rfftfreq(sound.shape[1], 1 / RATE_HZ) > 4000] = 0
    return np.fft.irfft(spectrum, sound.shape[1], axis=1)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (lambda sound: np.zeros_like(sound), {"silent"}),
        (lambda sound: 0.01 * sound, {"too_quiet"}),
        (lambda sound: np.clip(40 * sound, -1, 1), {"clipping", "too_loud"}),
        (torn, {"audio_dropout"}),
        (dull, {"low_sample_rate"}),
        (lambda sound: sound[:1], {"mono"}),
        (lambda sound: np.repeat(sound[:1], 2, axis=0), {"mono"}),
        (lambda sound: np.stack((sound[0], np.zeros_like(sound[0]))), {"mono"}),
        (lambda sound: np.where(np.arange(sound.shape[1]) < 0.6 * sound.shape[1], 0, sound), {"silent"}),
    ],
)
def test_one_fault_of_sound_raises_its_flag_alone(shots, real_sound, fault, expected):
    flags = heard(shots["car"], fault(real_sound))
    assert sound_ids(flags) - {"silent"} == expected - {"silent"}
    assert expected <= sound_ids(flags)


def test_sound_that_runs_on_after_the_pictures(shots, real_sound):
    audio = AudioProbe(True, "pcm", RATE_HZ, 2, 0.0, 9.0)
    (flag,) = [flag for flag in heard(shots["car"], real_sound, audio=audio) if flag.id == "av_length_mismatch"]
    assert (flag.severity, flag.end_s) == ("note", 9.0)
    assert "runs on for" in flag.message


def test_loudness_is_that_of_the_whole_though_the_sound_changes_its_form():
    """Three seconds of quiet stereo, then six of loud mono at another rate, then quiet stereo again."""
    narrower, measure = Narrower(), loudness.CHECK.measure()
    for layout, rate_hz, seconds, level in (
        ("stereo", 48000, 3, 0.01),
        ("mono", 32000, 6, 0.5),
        ("stereo", 48000, 3, 0.01),
    ):
        for second in range(seconds):
            wave = level * np.sin(2 * np.pi * 1000 * np.arange(rate_hz) / rate_hz)
            channels = np.tile(wave.astype(np.float32), (1 if layout == "mono" else 2, 1))
            frame = av.AudioFrame.from_ndarray(channels, format="fltp", layout=layout)
            frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
            measure.hear(Sound(second, frame, narrower))
    assert measure.numbers()["integrated_lufs"] == pytest.approx(-6, abs=3.5)


def test_sound_that_begins_late(shots, real_sound):
    audio = AudioProbe(True, "pcm", RATE_HZ, 2, 0.4, 5.0)
    (flag,) = [flag for flag in heard(shots["car"], real_sound, audio=audio) if flag.id == "av_length_mismatch"]
    assert "begins 0.40 s after" in flag.message


def syllables() -> Iterator[np.ndarray]:
    """A voice made of pulses through moving formants, some four syllables a second: a detector hears speech."""
    rate = 16000
    dice = np.random.default_rng(3)
    for _ in range(24):
        length = round(rate * dice.uniform(0.15, 0.4))
        time = np.arange(length) / rate
        pitch = 120 + 25 * np.sin(2 * np.pi * 2 * time + dice.uniform(0, 6))
        pulses = (np.diff(np.floor(np.cumsum(pitch) / rate), prepend=0) > 0).astype(np.float64)
        voice = np.zeros(length)
        for centre, width in ((dice.uniform(300, 800), 80), (dice.uniform(900, 2200), 120), (2600, 160)):
            decay = np.exp(-np.pi * width * time[:800]) * np.sin(2 * np.pi * centre * time[:800])
            voice += np.convolve(pulses, decay)[:length]
        yield voice * np.sin(np.pi * np.arange(length) / length) ** 0.5


NARROW_HZ = 16000


def numbers_of(name: str, samples: np.ndarray) -> Numbers:
    """What the measure of that check says of mono sound [N] at NARROW_HZ."""
    (measure,) = [check.measure() for check in CHECKS if check.name == name]
    narrower = Narrower()
    for start in range(0, samples.size, NARROW_HZ):
        piece = samples[None, start : start + NARROW_HZ].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
        frame.sample_rate, frame.time_base = NARROW_HZ, Fraction(1, NARROW_HZ)
        measure.hear(Sound(start / NARROW_HZ, frame, narrower))
    return measure.numbers()


def test_speech_is_measured():
    voice = np.concatenate(list(syllables()))
    assert numbers_of("speech", 0.5 * voice / np.abs(voice).max())["speech_s"] > 0.25
    assert numbers_of("speech", 0.3 * np.sin(np.arange(48000) / 6))["speech_s"] == 0
    assert numbers_of("speech", 0.1 * np.random.default_rng(0).standard_normal(48000))["speech_s"] == 0


def played(*chords_hz: tuple[float, ...], beat_s: float = 0.5, turns: int = 4) -> np.ndarray:
    """Chords of plucked notes with three harmonics, one a beat."""
    time = np.arange(round(beat_s * NARROW_HZ)) / NARROW_HZ
    pluck = np.exp(-3 * time) * np.minimum(1, 100 * time)
    beats = [sum(np.sin(2 * np.pi * hz * k * time) / k for hz in chord for k in (1, 2, 3)) for chord in chords_hz]
    return np.concatenate([0.1 * pluck * beat for beat in beats * turns])


CHORDS = (220, 277, 330), (175, 220, 262), (262, 330, 392), (196, 247, 294)
TIME_S = np.arange(8 * NARROW_HZ) / NARROW_HZ
HUM = sum(np.sin(2 * np.pi * 50 * k * TIME_S) / k for k in range(1, 12))
HISS = np.random.default_rng(5).standard_normal(TIME_S.size)


@pytest.mark.parametrize(
    ("name", "sound", "likely"),
    [
        ("chords over a beat", played(*CHORDS), True),
        ("the same under hiss", played(*CHORDS) + 0.01 * HISS, True),
        ("a voice", 0.02 * np.concatenate(list(syllables())), False),
        ("hiss", 0.1 * HISS, False),
        ("a siren", 0.3 * np.sin(2 * np.pi * np.cumsum(900 + 400 * np.sin(2.5 * TIME_S)) / NARROW_HZ), False),
        ("a hum, which might be a chord", 0.1 * HUM + 0.005 * HISS, None),
        ("one note", 0.3 * np.sin(2 * np.pi * 440 * TIME_S), None),
        ("two notes in turn, as of a siren", played((770,), (960,)), None),
        ("two seconds of music", played(*CHORDS, turns=1), None),
        ("silence", np.zeros(8 * NARROW_HZ), None),
    ],
)
def test_music_is_measured_and_left_open_where_the_measures_do_not_tell(name, sound, likely):
    numbers = numbers_of("music", sound)
    assert music_likely(numbers) is likely, (name, numbers)


def test_the_report_says_what_music_was_judged_by(inspection, tmp_path, write_clip):
    music = np.repeat(played(*CHORDS, turns=2), 3)
    write_clip(tmp_path / "clips" / "song.mp4", frames=100, sound=music)
    write_clip(tmp_path / "clips" / "mute.mp4", frames=100)
    inspection.run(tmp_path / "clips")
    audio = inspection.clip("song.mp4")["audio"]
    assert audio["music_likely"] is True
    assert audio["tonality"] > 0.06
    assert 0.3 < audio["pulse_clarity"] < 0.85
    assert inspection.clip("mute.mp4")["audio"]["music_likely"] is None
    assert "music likely" in inspection.project.report_html_path.read_text()


def dissolving(before: Pictures, after: Pictures, first: int = 15, frames: int = 25) -> Pictures:
    """The one shot, and the other over it from picture `first` on."""
    size = before[0].shape[1], before[0].shape[0]
    shares = [np.clip((index - first) / frames, 0, 1) for index in range(len(before))]
    return [
        cv2.addWeighted(one, 1 - share, cv2.resize(other, size), share, 0)
        for one, other, share in zip(before, after * 2, shares, strict=False)
    ]


@pytest.mark.parametrize(("before", "after"), [("bunny", "bikes"), ("car", "bunny"), ("bunny", "car")])
def test_a_dissolve_is_timed(shots, before, after):
    flags = flags_of(dissolving(shots[before], shots[after]))
    (flag,) = [flag for flag in flags if flag.id == "gradual_transition"]
    assert flag.severity == "warn"
    assert flag.start_s == pytest.approx(0.6, abs=0.35)
    assert flag.end_s == pytest.approx(1.6, abs=0.35)
    assert "scene_cut" not in ids(flags)


@pytest.mark.parametrize("name", SHOTS)
def test_a_fade_is_no_dissolve(shots, name):
    count = len(shots[name])
    faded = [(picture * np.clip((count - 10 - i) / 25, 0, 1)).astype(np.uint8) for i, picture in enumerate(shots[name])]
    (flag,) = [flag for flag in flags_of(faded) if flag.id == "gradual_transition"]
    assert (flag.severity, "fade" in flag.message) == ("note", True)


@pytest.mark.parametrize("name", SHOTS)
def test_light_that_changes_is_no_transition(shots, name):
    dimmed = [(picture * (1 - 0.5 * i / len(shots[name]))).astype(np.uint8) for i, picture in enumerate(shots[name])]
    assert "gradual_transition" not in ids(flags_of(dimmed))


@pytest.mark.parametrize("name", ["bunny", "bikes"])
def test_dark_text_on_a_light_ground(shots, name):
    def captioned(picture: np.ndarray) -> np.ndarray:
        written, height = picture.copy(), picture.shape[0]
        written[int(0.8 * height) : int(0.95 * height)] = 235
        place, size = (int(0.1 * picture.shape[1]), int(0.9 * height)), height / 400
        cv2.putText(written, "Where are we going now?", place, 0, size, (15, 15, 15), int(2 * size) + 1, cv2.LINE_AA)
        return written

    assert "text_overlay" in ids(flags_of([captioned(picture) for picture in shots[name]]))
