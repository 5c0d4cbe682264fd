"""References and masks as the person chose them: what is drawn, what is refused, what inspection makes of it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tools.inspect.inputs import pictures
from tools.inspect.inputs.tool import InputsArguments, make_inputs
from trainer_core.data.media.pictures import read_frames
from trainer_core.data.media.sounds import read_audio
from trainer_core.errors import ConfigError, DataError
from trainer_core.files import write_jsonl

SIZE = (96, 64)


@pytest.fixture
def clips(tmp_path, write_clip, tone, untouched) -> Path:
    """A clip with sound (a low and a high tone), a silent one, and a still."""
    folder = tmp_path / "clips"
    high = 0.3 * np.sin(2 * np.pi * 6000 * np.arange(48_000) / 48_000)
    write_clip(folder / "a/one.mp4", frames=25, size=SIZE, sound=tone(1.0) + high)
    write_clip(folder / "two.mp4", frames=25, size=SIZE)
    noise = np.random.default_rng(1).integers(0, 255, (64, 96, 3), np.uint8)
    assert cv2.imwrite(str(folder / "still.png"), noise)
    untouched(folder)
    return folder


def made(inspection, **arguments):
    return make_inputs(inspection.project, InputsArguments.model_validate(arguments))


def picture_of(inspection, path: str, column: str) -> np.ndarray:
    clip = inspection.clip(path)
    return read_frames(Path(clip["source"]) / clip["columns"][column], 0.0, 1, 25, *SIZE)[0]


def test_a_reference_of_every_clip_makes_the_objective_possible(inspection, clips):
    inspection.run(clips)
    assert inspection.report()["objectives"]["v2v_ic"]["possible"] is False
    result = made(inspection, column="reference_video", kind="blur", blur=0.1)
    assert result.sentence == "reference_video of 3 of 3 clips: blurred, sigma 0.1 of the height."
    assert inspection.report()["objectives"]["v2v_ic"]["possible"] is True
    for path in ("a/one.mp4", "two.mp4", "still.png"):
        source = read_frames(clips / path, 0.0, 1, 25, *SIZE)[0]
        drawn = picture_of(inspection, path, "reference_video")
        assert np.abs(drawn.astype(int) - cv2.GaussianBlur(source, (0, 0), 6.4)).mean() < 4
    # chosen again, another way, it takes the place of the first
    made(inspection, column="reference_video", kind="grayscale", clips=["two.mp4"])
    assert inspection.clip("two.mp4")["columns"]["reference_video"].endswith("two.mp4.grayscale.mov")
    assert inspection.clip("still.png")["columns"]["reference_video"].endswith("still.png.blur.png")


def test_low_pass_keeps_what_is_low_and_where_it_is(inspection, clips):
    inspection.run(clips)
    result = made(inspection, column="reference_audio", kind="low_pass", cutoff_hz=1000)
    assert (len(result.made), result.notes) == (1, ["2 clips have no sound."])
    clip = inspection.clip("a/one.mp4")
    source, heard = (
        read_audio(path, 0.1, 0.8, 48_000)
        for path in (clips / "a/one.mp4", Path(clip["source"]) / clip["columns"]["reference_audio"])
    )
    bands = [np.abs(np.fft.rfft(sound[0])) for sound in (source, heard)]
    at = [round(frequency * 0.8) for frequency in (440, 6000)]
    assert bands[1][at[0]] > 0.6 * bands[0][at[0]]
    assert bands[1][at[1]] < 0.02 * bands[0][at[1]]


def test_spans_are_silent_in_the_mask_and_follow_the_seed(inspection, clips):
    inspection.run(clips)
    made(inspection, column="audio_mask", kind="spans", spans=[[0.25, 0.5]])
    clip = inspection.clip("a/one.mp4")
    level = read_audio(Path(clip["source"]) / clip["columns"]["audio_mask"], 0.0, 1.0, 16_000)
    assert level is not None
    assert np.abs(level[0, 4200:7800]).max() < 0.1 < 0.9 < np.abs(level[0, 8200:]).min()
    found = []
    for seed in (1, 1, 2):
        made(inspection, column="audio_mask", kind="random_spans", share=0.3, seed=seed)
        clip = inspection.clip("a/one.mp4")
        level = read_audio(Path(clip["source"]) / clip["columns"]["audio_mask"], 0.0, 1.0, 16_000)
        found.append(level[0] < 0.5)
    assert found[0].mean() == pytest.approx(0.3, abs=0.02)
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_a_box_is_what_is_generated(inspection, clips):
    inspection.run(clips)
    made(inspection, column="video_mask", kind="boxes", boxes=[[0.25, 0.5, 0.75, 1.0]])
    mask = picture_of(inspection, "two.mp4", "video_mask")[..., 0]
    assert mask[16:48, 48:].max() == 0
    assert mask[:, :48].min() == 255
    assert mask[:16].min() == mask[48:].min() == 255


def test_files_are_paired_by_name_and_the_unpaired_named(inspection, clips, tmp_path):
    own = tmp_path / "masks"
    (own / "a").mkdir(parents=True)
    white = np.zeros((64, 96, 3), np.uint8)
    white[:32] = 255
    assert cv2.imwrite(str(own / "a/one.png"), white)
    inspection.run(clips)
    result = made(inspection, column="video_mask", kind="files", folder=str(own), invert=True)
    assert sorted(result.unpaired) == ["still.png", "two.mp4"]
    mask = picture_of(inspection, "a/one.mp4", "video_mask")[..., 0]
    assert mask[:32].max() == 0
    assert mask[32:].min() == 255
    made(inspection, column="video_mask", kind="files", folder=str(own))
    clip = inspection.clip("a/one.mp4")
    assert (Path(clip["source"]) / clip["columns"]["video_mask"]).resolve() == own / "a/one.png"
    with pytest.raises(DataError, match="None of the 3 clips has a file in"):
        made(inspection, column="reference_video", kind="files", folder=str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"column": "video_mask", "kind": "edges"}, "edges makes no video_mask, but reference_video"),
        ({"column": "reference_video", "kind": "blur"}, "blur needs blur, and that is the user's choice"),
        ({"column": "video_mask", "kind": "random_boxes"}, "needs share"),
        ({"column": "reference_video", "kind": "edges", "share": 0.3}, "edges doesn't read share"),
        ({"column": "video_mask", "kind": "boxes", "boxes": [[0.5, 0, 0.4, 1]]}, "is empty or leaves the picture"),
        ({"column": "audio_mask", "kind": "spans", "spans": [[2, 1]]}, "is empty"),
    ],
)
def test_nothing_is_invented_and_nonsense_is_refused(inspection, clips, arguments, said):
    with pytest.raises(ConfigError, match=said):
        made(inspection, **arguments)


def test_what_the_metadata_gives_is_not_replaced(inspection, write_clip, tmp_path):
    for name in ("clip.mp4", "reference.mp4"):
        write_clip(tmp_path / "set" / name, frames=25, size=SIZE)
    write_jsonl(tmp_path / "set/set.jsonl", [{"video": "clip.mp4", "reference_video": "reference.mp4"}])
    inspection.run(tmp_path / "set/set.jsonl")
    with pytest.raises(ConfigError, match=r"clip\.mp4: the metadata file gives a reference_video already"):
        made(inspection, column="reference_video", kind="edges")


def test_a_clip_that_changed_needs_its_input_anew(inspection, write_clip, tmp_path):
    write_clip(tmp_path / "set/clip.mp4", frames=25, size=SIZE)
    inspection.run(tmp_path / "set")
    made(inspection, column="reference_video", kind="luminance")
    write_clip(tmp_path / "set/clip.mp4", frames=33, size=SIZE)
    assert "changed since its reference_video was made" in inspection.run(tmp_path / "set").problems[0]
    assert inspection.clip("clip.mp4")["columns"] == {}


@pytest.mark.parametrize("draw", [pictures.random_box, pictures.random_brush])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_random_masks_cover_about_their_share_move_and_follow_the_seed(draw, share):
    empty = np.zeros((128, 160, 3), np.uint8)
    masks = [draw(share, [7, 1], 4.0)(empty, time_s)[..., 0] for time_s in (0.0, 1.3, 4.0)]
    for mask in masks:
        assert set(np.unique(mask)) <= {0, 255}
        assert (mask == 0).mean() == pytest.approx(share, abs=0.12)
    assert not np.array_equal(masks[0], masks[1])
    assert np.array_equal(masks[0], draw(share, [7, 1], 4.0)(empty, 0.0)[..., 0])
    assert not np.array_equal(masks[0], draw(share, [8, 1], 4.0)(empty, 0.0)[..., 0])


def test_luminance_is_of_light_and_grayscale_of_signal():
    green, red = np.full((4, 4, 3), (0, 255, 0), np.uint8), np.full((4, 4, 3), (128, 0, 0), np.uint8)
    assert pictures.luminance()(green, 0)[0, 0, 0] == pytest.approx(220, abs=1)  # 0.7152 of the light, sRGB
    assert pictures.grayscale()(green, 0)[0, 0, 0] == pytest.approx(150, abs=1)  # 0.587 of the signal
    assert pictures.luminance()(red, 0)[0, 0, 0] == pytest.approx(61, abs=1)
    assert pictures.downscale(4)(np.zeros((64, 96, 3), np.uint8), 0).shape == (16, 24, 3)
    square = np.zeros((64, 96, 3), np.uint8)
    square[16:48, 32:64] = 255
    lines = pictures.edges()(square, 0)[..., 0]
    assert lines[16:48, 31:34].max() == 255
    assert lines[24:40, 40:56].max() == 0
