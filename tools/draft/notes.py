"""Notes on a draft for the user beside its values: one sentence each."""

from collections.abc import Sequence
from pathlib import Path

from tools.draft.heldout import FEWEST_GROUPS, Split
from tools.draft.levels import even_gain_db
from tools.draft.select import SOUND_REASONS, has_sound
from tools.draft.sides import Sides, makes_both
from tools.inspect.discover.names import displayed
from tools.inspect.remedies.plans import TARGET_LUFS
from tools.inspect.report.report import Clip
from tools.project import ProjectFacts
from trainer_core.config import is_tiny
from trainer_core.objective import objective_named
from trainer_core.units import counted

MANY_SAMPLES = 8
"""A clip cut into more samples than this says too little about each in one caption."""
SHOWN_CLIPS = 3


def notes_of(
    facts: ProjectFacts,
    objective: str,
    sides: Sides,
    training: Sequence[Clip],
    left_out: Sequence[tuple[Clip, str]],
    split: Split,
) -> list[str]:
    """Return the notes of a draft."""
    notes = [
        *_level(objective, training),
        *_sound(objective, sides, training, left_out),
        *_one_caption(training),
        *_few(training, split),
    ]
    if not is_tiny(facts.model) and not Path(facts.model).expanduser().exists():
        notes.append(f"The model {displayed(facts.model)} was not found here; training will need it.")
    if objective.endswith("_ic") and (facts.asked.get("adapter") or facts.adapter) == "lora":
        notes.append("A LoRA that learns from a reference is an IC-LoRA, so that is what is drafted.")
    return notes


def _sound(
    objective: str,
    sides: Sides,
    training: Sequence[Clip],
    left_out: Sequence[tuple[Clip, str]],
) -> list[str]:
    """What becomes of the sound, and of clips that lack it."""
    notes = []
    sounding = sum(has_sound(clip) for clip in training)
    if sides.video_only and not sounding:
        others = any(has_sound(clip) for clip, _ in left_out)
        none = "No clip that trains has usable sound" if others else "No clip has usable sound"
        why = "Images have no sound" if all(clip.kind == "image" for clip in training) else none
        notes.append(f"{why}, so only the picture is trained and the adapter leaves sound alone.")
    elif sides.video_only and makes_both(objective) and sides.reason.startswith("only"):
        notes.append(
            f"Only the picture is trained: {sides.reason}. Say `with its sound` to train on the {sounding} alone."
        )
    soundless = sum(clip.kind == "video" and reason in SOUND_REASONS for clip, reason in left_out)
    if soundless and makes_both(objective):
        each = "clip lacks" if soundless == 1 else "clips lack"
        notes.append(f"{soundless} {each} only sound: asked in the talk for `only the picture`, they train too.")
    if len(training) < len(left_out):
        notes.append(f"Fewer clips train ({len(training)}) than are left out ({len(left_out)}).")
    return notes


def _few(training: Sequence[Clip], split: Split) -> list[str]:
    """The warning that a handful of scenes is learned by heart."""
    scenes = len(set(split.groups))
    if scenes >= FEWEST_GROUPS or any(clip.measures.cuts_s for clip in training):
        return []
    shows = "The clip shows" if len(training) == 1 else "The clips show"
    return [
        f"{shows} {counted(scenes, 'scene')}: expect the adapter to repeat what it saw. People report 10 to "
        "30 clips or 20 to 50 images for a style or a person; nobody can promise either."
    ]


def _level(objective: str, training: Sequence[Clip]) -> list[str]:
    """How far the sound of an objective without pictures is levelled."""
    gains = [gain for clip in training if (gain := even_gain_db(clip))]
    if objective_named(objective).video.present or not gains:
        return []
    changed = f"{len(gains)} of {counted(len(training), 'clip')}"
    return [
        f"The sound of {changed} is brought towards {TARGET_LUFS:g} LUFS, by {min(gains):+.1f} to {max(gains):+.1f} dB."
    ]


def _one_caption(training: Sequence[Clip]) -> list[str]:
    """The clips that are long, and the remedy that gives their parts captions of their own."""
    long = [clip for clip in training if len(clip.samples) > MANY_SAMPLES]
    if not long:
        return []
    names = ", ".join(displayed(clip.path) for clip in long[:SHOWN_CLIPS])
    more = f" and {len(long) - SHOWN_CLIPS} more" if len(long) > SHOWN_CLIPS else ""
    most = max(len(clip.samples) for clip in long)
    cuts = any(clip.measures.cuts_s for clip in long)
    remedy = "`ltx-agent remedy split-at-cuts`" if cuts else "`ltx-agent remedy window`"
    return [
        f"All samples of a clip share its caption, up to {most} of {names}{more}: {remedy} cuts such clips into parts "
        "with captions of their own."
    ]
