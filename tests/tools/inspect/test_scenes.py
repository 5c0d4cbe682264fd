"""Which clips show the same: plain and mirrored twins are told apart, unrelated ones are left alone."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tools.inspect.scan.scenes import SceneSignatures, connected, shown_shares, signature_of


def signatures_of(file: Path, mirrored: bool = False, start_s: float = 0.0, end_s: float = 1e9) -> list[str]:
    """The signatures of a clip, or of a mirrored, smaller, roughly encoded copy of a part of it."""
    taken = SceneSignatures()
    with av.open(str(file)) as container:
        for frame in container.decode(video=0):
            if not start_s <= frame.time < end_s:
                continue
            shown = frame.to_ndarray(format="bgr24")
            if mirrored:
                small = cv2.resize(shown[:, ::-1], None, fx=0.5, fy=0.5)
                shown = cv2.imdecode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
            taken.add(frame.time - start_s, shown)
    return taken.signatures


def drawn(seed: int, symmetrical: bool = False) -> np.ndarray:
    """A picture of soft patches, uint8 [96, 160, 3], a bit noisy."""
    noise = np.random.default_rng(seed)
    picture = cv2.resize(noise.integers(0, 255, (6, 8, 3), np.uint8), (160, 96), interpolation=cv2.INTER_CUBIC)
    if symmetrical:
        picture[:, 80:] = picture[:, 79::-1]
    return cv2.add(picture, noise.integers(0, 6, picture.shape, np.uint8))


def test_mirrored_copies_of_real_clips_are_found_and_nothing_else(footage: Path) -> None:
    files = sorted(footage.iterdir())
    plain = [signatures_of(file) for file in files]
    mirrored = [signatures_of(file, mirrored=True) for file in files]
    assert connected(plain) == [0, 1, 2]
    assert connected(plain + mirrored) == [0, 1, 2, 0, 1, 2]
    for index, (own, turned) in enumerate(zip(plain, mirrored, strict=True)):
        others = plain[:index] + plain[index + 1 :]
        shown = list(shown_shares([*others, own, turned], 400, 0.6))
        assert shown[-1].clip == 2
        assert (shown[-1].share, shown[-1].mirrored) == (1.0, True)
        assert all(one.share < 0.6 for one in shown[:-1])


def test_a_mirrored_part_of_a_clip_is_found(footage: Path) -> None:
    for file in sorted(footage.iterdir()):
        part = signatures_of(file, mirrored=True, start_s=0.6, end_s=2.8)
        assert connected([signatures_of(file), part]) == [0, 0]


@pytest.mark.parametrize("seed", range(5))
def test_symmetrical_pictures_are_plain_twins(seed: int) -> None:
    whole = drawn(seed, symmetrical=True)
    twin = cv2.add(whole, np.full_like(whole, 3))
    signatures = [[signature_of(picture)] for picture in (whole, twin, twin[:, ::-1].copy())]
    assert connected(signatures) == [0, 0, 0]
    assert [one.mirrored for one in shown_shares(signatures, 400, 0.6)] == [False, False, False]
    assert [one.share for one in shown_shares(signatures, 400, 0.6)] == [0.0, 1.0, 1.0]


def test_unrelated_pictures_stay_apart_mirrored_or_not() -> None:
    signatures = [[signature_of(drawn(seed))] for seed in range(1500)]
    assert connected(signatures) == list(range(1500))


def test_the_report_names_the_mirrored_twin(inspection, tmp_path: Path, write_clip, mosaic) -> None:
    pictures = mosaic((192, 128))
    write_clip(tmp_path / "clips" / "a.mp4")
    write_clip(tmp_path / "clips" / "b.mp4", picture=lambda index: np.ascontiguousarray(pictures(index)[:, ::-1]))
    write_clip(tmp_path / "clips" / "c.mp4", size=(208, 128))
    inspection.run(tmp_path / "clips")
    flag = inspection.flags("b.mp4")["near_duplicate"]
    assert flag["value"] == "a.mp4"
    same = "It shows nearly the same pictures as a.mp4 (100% of them)"
    assert flag["message"] == f"{same}, mirrored: any writing in one of them is reversed."
    assert inspection.clip("a.mp4")["group"] == inspection.clip("b.mp4")["group"] is not None
    assert inspection.clip("c.mp4")["group"] is None
    assert not any("near_duplicate" in inspection.flags(name) for name in ("a.mp4", "c.mp4"))
