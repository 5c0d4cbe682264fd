"""Short clips with sound, drawn and played by this script alone: something to train on where there is no footage.

    python examples/make_clips.py OUT [--count 6]

Each clip is 192x128 at 24 fps, two to three seconds, H.264 with AAC sound. A shape moves over a drifting gradient; a
tone follows its height and a burst of noise marks each bounce. The same count always gives the same clips.
"""

import argparse
import math
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

WIDTH, HEIGHT, FRAME_RATE = 192, 128, 24
SAMPLE_RATE_HZ = 48000
BURST_S = 0.06
SHAPES = ("circle", "square", "triangle")
PALETTES = (
    ((40, 70, 160), (250, 200, 60), "an amber", "deep blue"),
    ((150, 40, 60), (90, 220, 220), "a cyan", "dark red"),
    ((30, 110, 70), (245, 245, 235), "a white", "forest green"),
    ((90, 50, 130), (250, 130, 90), "a coral", "violet"),
)


def make_clips(folder: Path, count: int) -> list[Path]:
    """Write `count` clips and a caption beside the first; return their paths. A clip appears only when it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        path = folder / f"clip_{number + 1:02d}.mp4"
        unfinished = folder / f".{path.name}.part"
        write_clip(unfinished, number)
        unfinished.replace(path)
        paths.append(path)
    if paths:
        paths[0].with_suffix(".txt").write_text(caption(0) + "\n", encoding="utf-8")
    return paths


def write_clip(path: Path, number: int) -> None:
    """Draw and encode clip `number`."""
    # 53 to 71 pictures: three or four samples of 17 frames each.
    frames = 53 + 9 * (number % 3)
    bounces = bounce_frames(number, frames)
    with av.open(str(path), "w", format="mp4") as container:
        # Constant quantisation: rate control makes x264 differ from run to run.
        video = container.add_stream("libx264", rate=FRAME_RATE, options={"qp": "22", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="stereo")
        for index in range(frames):
            picture = av.VideoFrame.from_ndarray(draw(number, index), format="rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(play(number, frames, bounces), format="fltp", layout="stereo")
        sound.sample_rate, sound.time_base, sound.pts = SAMPLE_RATE_HZ, Fraction(1, SAMPLE_RATE_HZ), 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def position(number: int, index: int) -> tuple[float, float]:
    """Where the shape's centre is in picture `index`: it drifts sideways and bounces on the ground, 0..1 each."""
    beat_frames = 14 + 3 * (number % 4)
    phase = index % beat_frames / beat_frames
    height = 4 * phase * (1 - phase)
    sideways = 0.5 + 0.32 * math.sin(2 * math.pi * (index / 60 + 0.17 * number))
    return sideways, 0.78 - 0.5 * height


def bounce_frames(number: int, frames: int) -> list[int]:
    """The pictures in which the shape touches the ground."""
    return [index for index in range(frames) if index % (14 + 3 * (number % 4)) == 0]


def draw(number: int, index: int) -> np.ndarray:
    """One picture as uint8 [HEIGHT, WIDTH, 3] RGB."""
    ground, ink, _, _ = PALETTES[number % len(PALETTES)]
    across = np.linspace(0, 1, WIDTH)[None, :]
    down = np.linspace(0, 1, HEIGHT)[:, None]
    light = 0.55 + 0.3 * down + 0.15 * np.sin(2 * np.pi * (across + index / 48 + 0.1 * number))
    picture = np.clip(light[..., None] * np.array(ground), 0, 255).astype(np.uint8)
    sideways, height = position(number, index)
    centre, radius = (round(sideways * WIDTH), round(height * HEIGHT)), 14 + 3 * (number % 3)
    shape = SHAPES[number % len(SHAPES)]
    if shape == "circle":
        cv2.circle(picture, centre, radius, ink, -1, cv2.LINE_AA)
    elif shape == "square":
        corners = cv2.boxPoints((centre, (2 * radius, 2 * radius), index * 4.0)).astype(np.int32)
        cv2.fillPoly(picture, [corners], ink, cv2.LINE_AA)
    else:
        x, y = centre
        corners = np.array([[x, y - radius], [x - radius, y + radius], [x + radius, y + radius]], np.int32)
        cv2.fillPoly(picture, [corners], ink, cv2.LINE_AA)
    return picture


def play(number: int, frames: int, bounces: list[int]) -> np.ndarray:
    """The sound as float32 [2, N]: a tone that rises with the shape and pans with it, and a noise burst a bounce."""
    length = round(frames / FRAME_RATE * SAMPLE_RATE_HZ)
    at_frames = np.array([position(number, index) for index in range(frames)])
    picture_times = np.arange(frames) / FRAME_RATE
    times = np.arange(length) / SAMPLE_RATE_HZ
    sideways = np.interp(times, picture_times, at_frames[:, 0])
    height = np.interp(times, picture_times, at_frames[:, 1])
    pitch_hz = (180 + 40 * (number % 5)) * 2 ** (1.2 * (0.78 - height))
    tone = 0.2 * np.sin(2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ)
    noise = np.random.default_rng(number)
    burst_length = round(BURST_S * SAMPLE_RATE_HZ)
    for index in bounces:
        start = round(index / FRAME_RATE * SAMPLE_RATE_HZ)
        burst = 0.35 * noise.standard_normal(burst_length) * np.linspace(1, 0, burst_length) ** 2
        tone[start : start + burst_length] += burst[: length - start]
    stereo = np.stack([tone * np.sqrt(1 - sideways), tone * np.sqrt(sideways)])
    return np.ascontiguousarray(np.clip(stereo, -1, 1).astype(np.float32))


def caption(number: int) -> str:
    """What is to be seen and heard in clip `number`."""
    _, _, ink, ground = PALETTES[number % len(PALETTES)]
    shape = SHAPES[number % len(SHAPES)]
    return (
        f"A static wide shot of {ink} {shape} bouncing and drifting across a soft {ground} gradient. A clear tone "
        "rises and falls with it, moving from one side to the other, and a short burst of noise marks each bounce."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Write short clips with sound.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=6)
    arguments = parser.parse_args()
    for path in make_clips(arguments.out, arguments.count):
        print(path)


if __name__ == "__main__":
    main()
