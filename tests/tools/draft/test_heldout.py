"""The held-out set: whole scenes, the same ones every time, never a twin on the other side."""

import itertools

import cv2
import numpy as np
import pytest

from tools.draft.heldout import DEFAULT_FRACTION, FEWEST_GROUPS, Split, group_clips, split_off
from tools.draft.tool import DraftArguments, draft_config
from tools.inspect.report.report import Clip, Flag, Sample
from tools.inspect.scan.scenes import MAX_SIGNATURES, SceneSignatures, connected, signature_of
from trainer_core.errors import ConfigError
from trainer_core.files import read_jsonl

from .conftest import make_clip


def scene(seed: int, variant: int = 0, mirrored: bool = False) -> list[str]:
    """Signatures of two pictures; variants of a seed are the same scene, re-encoded and a little brighter."""
    noise = np.random.default_rng(seed)
    found = []
    for _ in range(2):
        picture = cv2.resize(noise.integers(0, 255, (6, 8, 3), np.uint8), (160, 96), interpolation=cv2.INTER_CUBIC)
        picture = cv2.convertScaleAbs(picture[:, ::-1] if mirrored else picture, alpha=1.0, beta=2 * variant)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 95 - 30 * variant]
        signature = signature_of(cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_COLOR))
        assert signature is not None
        found.append(signature)
    return found


def clips_of(count: int, twins: dict[int, int] | None = None, windows: int = 2) -> list[Clip]:
    """`count` clips of as many scenes, but for the `twins` (index of a clip: index of the one it looks like)."""
    twins = twins or {}
    samples = [Sample(start_s=index * 0.75, duration_s=17 / 24, bucket="96x64x17") for index in range(windows)]
    return [
        make_clip(f"clip {index}.mp4", scene=scene(twins.get(index, index), index in twins), samples=samples)
        for index in range(count)
    ]


def sides(split: Split, clips: list[Clip]) -> dict[str, set[str]]:
    return {group: {split.side(i) for i in range(len(clips)) if split.groups[i] == group} for group in split.groups}


@pytest.mark.parametrize("fraction", [None, 0.1, 0.3, 0.5])
def test_no_twin_leaks(fraction: float | None) -> None:
    clips = clips_of(24, twins={20: 3, 21: 3, 22: 7, 23: 11})
    split = split_off(clips, fraction)
    assert split.groups[20] == split.groups[21] == split.groups[3]
    assert split.groups[22] == split.groups[7] != split.groups[23] == split.groups[11]
    assert len(set(split.groups)) == 20
    assert split.heldout
    assert all(len(one) == 1 for one in sides(split, clips).values())
    share = len(split.heldout) / len(clips)
    assert abs(share - (fraction or DEFAULT_FRACTION)) < 0.1


def test_mirrored_twins_stay_on_one_side() -> None:
    clips = clips_of(24)
    for twin, index in ((21, 3), (22, 7), (23, 11)):
        clips[twin] = clips[twin].model_copy(update={"scene": scene(index, variant=1, mirrored=True)})
    for fraction in (None, 0.3, 0.5):
        split = split_off(clips, fraction)
        assert split.heldout
        assert len(set(split.groups)) == 21
        assert all(split.groups[twin] == split.groups[index] for twin, index in ((21, 3), (22, 7), (23, 11)))
        assert all(len(one) == 1 for one in sides(split, clips).values())


def test_equal_content_and_flagged_duplicates_stay_together() -> None:
    clips = clips_of(4)
    clips[1] = clips[1].model_copy(update={"sha256": clips[0].sha256})
    flag = Flag(
        id="near_duplicate", severity="warn", value=clips[3].path, message="It looks like it.", remedy="Drop it."
    )
    clips[2] = clips[2].model_copy(update={"flags": [flag]})
    groups = group_clips(clips)
    assert groups[0] == groups[1] != groups[2] == groups[3]


def test_small_sets_hold_nothing_out_and_say_why() -> None:
    split = split_off(clips_of(FEWEST_GROUPS - 1))
    assert not split.heldout
    assert "7 scenes in 7 clips" in split.reason
    assert split_off(clips_of(FEWEST_GROUPS)).heldout
    assert len(split_off(clips_of(2), 0.5).heldout) == 1
    assert not split_off(clips_of(20), 0).heldout
    with pytest.raises(ConfigError, match=r"the clips that train \(3\) are one scene"):
        split_off(clips_of(3, twins={1: 0, 2: 0}), 0.2)


def test_the_choice_depends_on_the_clips_alone_and_hardly_changes_when_one_comes() -> None:
    clips = clips_of(40)
    held = {clips[index].path for index in split_off(clips).heldout}
    shuffled = clips[::-1]
    assert {shuffled[index].path for index in split_off(shuffled).heldout} == held
    more = clips_of(41)
    assert len({more[index].path for index in split_off(more).heldout} & held) >= len(held) - 1


def test_a_scene_that_is_most_of_the_footage_stays_in_training() -> None:
    clips = clips_of(30, twins=dict.fromkeys(range(1, 15), 0))
    split = split_off(clips)
    assert split.side(0) == "train"
    assert 1 <= len(split.heldout) <= 4


def test_a_person_can_name_them_and_their_twins_come_along() -> None:
    clips = clips_of(6, twins={5: 1})
    split = split_off(clips, named=["clip 1.mp4", "clip 2*"])
    assert split.heldout == {1, 2, 5}
    assert split.reason == "the 2 you named, with 1 that look like them"
    with pytest.raises(ConfigError, match="No clip that trains is named `nobody"):
        split_off(clips, named=["nobody.mp4"])
    with pytest.raises(ConfigError, match="none is left to train on"):
        split_off(clips, named=["*"])


def test_the_dataset_and_the_plan_say_which(make_project) -> None:
    project = make_project(clips_of(20, twins={19: 4}))
    result = draft_config(project, DraftArguments())
    rows = read_jsonl(project.dataset_path)
    held = [row["video"].rsplit("/", 1)[-1] for row in rows if row["split"] == "heldout"]
    assert held == result.held_out
    assert held
    by_group = itertools.groupby(sorted(rows, key=lambda row: row["group"]), key=lambda row: row["group"])
    assert all(len({row["split"] for row in group}) == 1 for _, group in by_group)
    plan = project.plan_path.read_text()
    assert f"{20 - len(held)} of 20 clips will train, {len(held)} are held out to judge it by." in plan
    trained, kept = plan.split("Held out, to judge the training by:")
    assert all(name in kept and name not in trained.split("These train:")[1] for name in held)
    assert result.held_out_reason in project.config_path.read_text()


def test_signatures_are_few_however_long_the_clip_and_flat_pictures_have_none() -> None:
    signatures = SceneSignatures()
    picture = np.random.default_rng(0).integers(0, 255, (96, 160, 3), np.uint8)
    for index in range(5000):
        signatures.add(index / 24, picture)
    assert MAX_SIGNATURES // 2 <= len(signatures.signatures) <= MAX_SIGNATURES
    assert signature_of(np.full((96, 160, 3), 128, np.uint8)) is None
    assert connected([[], []]) == [0, 1]


def test_the_real_clips_fall_into_their_scenes(real_clips) -> None:
    from tools.inspect.scan.scan_file import look_at

    names = sorted(path.name for path in real_clips.iterdir())
    looks = [look_at(real_clips / name) for name in names]
    labels = connected([look.numbers["near_duplicate"]["signatures"] for look in looks])
    assert all(names[label][:5] == name[:5] for label, name in zip(labels, names, strict=True)), labels
