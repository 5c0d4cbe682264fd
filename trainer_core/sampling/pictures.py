"""Small pictures of samples: strips of frames, a picture of a sound, the contact sheet of a prompt. No torch."""

import cv2
import numpy as np

FRAMES_A_STRIP = 4
FRAME_WIDTH_PX = 208
_SOUND_HEIGHT_PX = 48
_LABEL_WIDTH_PX = 112
_GAP_PX = 6
_PAPER, _INK, _SOFT, _WAVE = (245, 245, 242), (29, 29, 31), (120, 120, 125), (47, 111, 181)


def strip_indices(frames: int) -> list[int]:
    """Return the frames of a clip that stand in its strip: evenly spread, first and last among them."""
    count = min(frames, FRAMES_A_STRIP)
    return sorted({round(index * (frames - 1) / max(count - 1, 1)) for index in range(count)})


def small(picture: np.ndarray) -> np.ndarray:
    """A picture uint8 [H, W, 3] at the width of a strip's frame; never enlarged by more than the width asks."""
    height = max(1, round(picture.shape[0] * FRAME_WIDTH_PX / picture.shape[1]))
    method = cv2.INTER_AREA if picture.shape[1] > FRAME_WIDTH_PX else cv2.INTER_NEAREST
    return cv2.resize(picture, (FRAME_WIDTH_PX, height), interpolation=method)


def poster(pictures: list[np.ndarray], sound: np.ndarray | None) -> np.ndarray:
    """A strip of frames with the sound's level [2, N] under it, uint8 [h, w, 3]; either may be missing."""
    width = FRAMES_A_STRIP * (FRAME_WIDTH_PX + _GAP_PX) - _GAP_PX
    rows = []
    if pictures:
        frames = [small(picture) for picture in pictures]
        strip = np.full((frames[0].shape[0], width, 3), _PAPER, np.uint8)
        for index, frame in enumerate(frames):
            left = index * (FRAME_WIDTH_PX + _GAP_PX)
            strip[:, left : left + FRAME_WIDTH_PX] = frame
        rows.append(strip)
    if sound is not None:
        rows.append(_level(sound, width))
    gap = np.full((_GAP_PX, width, 3), _PAPER, np.uint8)
    return np.concatenate([part for row in rows for part in (row, gap)][:-1])


def contact_sheet(rows: list[tuple[str, np.ndarray]], title: str) -> np.ndarray:
    """Posters under each other, each with its label at the left; `title` stands above."""
    width = _LABEL_WIDTH_PX + max(picture.shape[1] for _, picture in rows) + 2 * _GAP_PX
    parts = [_text_row(title, width, 26, _SOFT)]
    for label, picture in rows:
        row = np.full((picture.shape[0] + 2 * _GAP_PX, width, 3), _PAPER, np.uint8)
        row[_GAP_PX:-_GAP_PX, _LABEL_WIDTH_PX : _LABEL_WIDTH_PX + picture.shape[1]] = picture
        _write(row, label, (_GAP_PX, row.shape[0] // 2 + 5), 0.5, _INK)
        parts.append(row)
    return np.concatenate(parts)


def _level(sound: np.ndarray, width: int) -> np.ndarray:
    """The loudest sample of each column, drawn up and down from the middle."""
    image = np.full((_SOUND_HEIGHT_PX, width, 3), (255, 255, 255), np.uint8)
    mono = np.abs(sound).max(axis=0)
    edges = np.linspace(0, len(mono), width + 1).astype(int)
    middle = _SOUND_HEIGHT_PX // 2
    for column in range(width):
        part = mono[edges[column] : max(edges[column + 1], edges[column] + 1)]
        reach = round(float(part.max(initial=0.0)) * (middle - 1))
        image[middle - reach : middle + reach + 1, column] = _WAVE
    return image


def _text_row(text: str, width: int, height: int, colour: tuple[int, int, int]) -> np.ndarray:
    row = np.full((height, width, 3), _PAPER, np.uint8)
    _write(row, text, (_GAP_PX, height - 9), 0.45, colour)
    return row


def _write(image: np.ndarray, text: str, place: tuple[int, int], size: float, colour: tuple[int, int, int]) -> None:
    # the built-in font has no letters beyond ASCII; prompts stand on the page, labels here are ours
    cv2.putText(
        image, text.encode("ascii", "replace").decode(), place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA
    )
