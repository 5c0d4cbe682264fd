"""Splitting a held-out set off: clips that a run never trains on, so that its loss on them says whether it generalises.

Clips are first put into groups: copies of one recording, near-duplicates and clips that look like one scene stay
together, so no twin of a held-out clip is trained on. Whole groups are held out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from tools.inspect.discover.names import displayed
from tools.inspect.report.clips import content_digest
from tools.inspect.report.report import Clip
from tools.inspect.scan.scenes import connected
from trainer_core.errors import ConfigError
from trainer_core.units import counted

DEFAULT_FRACTION = 0.1
LARGEST_FRACTION = 0.5
FEWEST_GROUPS = 8
"""With fewer scenes, keeping one back costs training more than its loss tells."""
MOST_SAMPLES = 32
"""More tell hardly more, and each is evaluated many times during a run."""
TOO_LARGE = 2.0
"""A group this many times the wished size stays in training."""


@dataclass(frozen=True)
class Split:
    """Each clip's group, which clips (by index) are held out, and why this many."""

    groups: list[str]
    heldout: frozenset[int]
    reason: str

    def side(self, index: int) -> str:
        """`train` or `heldout`, as dataset.jsonl spells it."""
        return "heldout" if index in self.heldout else "train"


def split_off(clips: Sequence[Clip], fraction: float | None = None, named: Sequence[str] = ()) -> Split:
    """Choose the held-out clips among those that train: the named ones (patterns of paths), else about `fraction`.

    None takes DEFAULT_FRACTION, and nothing when there are fewer than FEWEST_GROUPS scenes; 0 takes nothing. The
    choice depends on the clips' contents alone. Raises ConfigError for a name that no clip has, or when nothing would
    be left to train on.
    """
    groups = group_clips(clips)
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    if named:
        return _named(clips, groups, members, named)
    scenes = f"{counted(len(members), 'scene')} in {counted(len(clips), 'clip')}"
    if fraction == 0:
        return Split(groups, frozenset(), "none: you asked for none")
    if fraction is None and len(members) < FEWEST_GROUPS:
        few = f"none: {scenes}, and below {FEWEST_GROUPS} every one is needed for training"
        return Split(groups, frozenset(), few)
    if len(members) < 2:
        raise ConfigError(
            f"Nothing can be held out: the clips that train ({len(clips)}) are one scene, and no twin may leak.",
            "Add clips of other scenes, or train without a held-out set.",
        )
    sizes = {group: sum(len(clips[index].samples) for index in members[group]) for group in members}
    wished = (DEFAULT_FRACTION if fraction is None else fraction) * sum(sizes.values())
    usual = "the usual tenth"
    if fraction is None and wished > MOST_SAMPLES:
        wished, usual = MOST_SAMPLES, f"{MOST_SAMPLES} tell nearly as much as more would"
    chosen = _choose(sizes, max(1.0, wished))
    heldout = frozenset(index for group in chosen for index in members[group])
    share = f"{100 * sum(sizes[group] for group in chosen) / sum(sizes.values()):.0f} % of the samples"
    asked = "as you asked" if fraction is not None else usual
    return Split(groups, heldout, f"{len(chosen)} of {scenes}, {share}: {asked}, whole scenes at a time")


def group_clips(clips: Sequence[Clip]) -> list[str]:
    """Name each clip's group; clips of one group are the same recording, near-duplicates, or look like one scene."""
    parents = list(range(len(clips)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    first_of: dict[tuple[str, ...], int] = {}
    for index, clip in enumerate(clips):
        for key in _ties(clip):
            parents[root(index)] = root(first_of.setdefault(key, index))
    for index, label in enumerate(connected([clip.scene for clip in clips])):
        parents[root(index)] = root(label)
    digests: dict[int, str] = {}
    for index, clip in enumerate(clips):
        own, top = content_digest(clip), root(index)
        digests[top] = min(digests.get(top, own), own)
    return [f"scene-{hashlib.sha256(digests[root(index)].encode()).hexdigest()[:10]}" for index in range(len(clips))]


def _ties(clip: Clip) -> list[tuple[str, ...]]:
    """What ties a clip to others beyond its looks: equal content, and what inspection found to be its duplicates."""
    ties = [("content", content_digest(clip)), ("path", clip.source, clip.path)]
    origin = clip.origin
    if origin is not None and origin.remedy != "split_at_cuts":  # shots of one film may be different scenes
        ties.append(("recording", origin.sha256))
    if clip.group is not None:
        ties.append(("group", clip.group))
    for flag in clip.flags:
        if flag.id == "near_duplicate" and isinstance(flag.value, str):
            ties.append(("path", clip.source, flag.value))
    return ties


def _choose(sizes: dict[str, int], wished: float) -> list[str]:
    """Groups in the order of their digests until `wished` samples are reached, without the large ones if possible."""
    order = sorted(sizes, key=lambda group: hashlib.sha256(group.encode()).hexdigest())
    small = [group for group in order if sizes[group] <= TOO_LARGE * wished]
    order = small or [min(order, key=lambda group: sizes[group])]
    chosen: list[str] = []
    taken = 0
    for group in order:
        over, under = taken + sizes[group] - wished, wished - taken
        if len(chosen) == len(sizes) - 1 or under <= 0:
            break
        if chosen and over > under:
            continue
        chosen.append(group)
        taken += sizes[group]
    return chosen


def _named(clips: Sequence[Clip], groups: list[str], members: dict[str, list[int]], named: Sequence[str]) -> Split:
    picked: set[int] = set()
    for pattern in named:
        matching = {index for index, clip in enumerate(clips) if clip.path == pattern or fnmatch(clip.path, pattern)}
        if not matching:
            raise ConfigError(
                f"No clip that trains is named `{displayed(pattern)}`, so it can't be held out.",
                "Name clips as report.html does; `*` stands for any part of a name.",
            )
        picked |= matching
    heldout = frozenset(index for group in {groups[index] for index in picked} for index in members[group])
    if len(heldout) == len(clips):
        raise ConfigError(
            f"The clips to hold out and their near-duplicates are all {len(clips)} clips: none is left to train on.",
            "Hold fewer out.",
        )
    twins = len(heldout) - len(picked)
    with_twins = f", with {twins} that look like them" if twins else ""
    return Split(groups, heldout, f"the {len(picked)} you named{with_twins}")
