"""The 13 objectives in a filmmaker's words: what each makes, what it learns from, and how to get what is missing."""

from dataclasses import dataclass

from trainer_core.recipes import OBJECTIVE_NAMES


@dataclass(frozen=True)
class ObjectiveWords:
    """`makes` completes "it learns to make …"; `short` is a few words to choose it by."""

    makes: str
    short: str


OBJECTIVE_WORDS: dict[str, ObjectiveWords] = {
    "t2v": ObjectiveWords("new shots from a text prompt, in the look of these clips", "new shots from text"),
    "i2v": ObjectiveWords(
        "shots that begin with a picture you give (a prompt alone works too)", "a picture that moves"
    ),
    "video_extension": ObjectiveWords(
        "more time for a shot you give, after its end or before its start", "longer shots"
    ),
    "video_inpainting": ObjectiveWords("new picture inside a masked region of a shot you give", "a region filled"),
    "video_outpainting": ObjectiveWords("more picture around the edges of a shot you give", "a wider frame"),
    "t2a": ObjectiveWords("new sound alone, from a text prompt: voice, music or noises like these", "sound from text"),
    "audio_extension": ObjectiveWords("more time for a sound you give", "longer sound"),
    "audio_inpainting": ObjectiveWords("new sound inside a masked stretch of a recording you give", "gaps filled"),
    "a2v": ObjectiveWords("pictures to fit a sound you give", "pictures for a sound"),
    "v2a": ObjectiveWords("sound to fit a picture you give", "sound for a picture"),
    "v2v_ic": ObjectiveWords(
        "a changed version of a shot you give, as your pairs of clips show it", "a shot changed as the pairs show"
    ),
    "a2a_ic": ObjectiveWords(
        "a changed version of a recording you give, as your pairs of sounds show it",
        "a sound changed as the pairs show",
    ),
    "av2av_ic": ObjectiveWords(
        "a changed version of a shot and its sound, as your pairs show it", "picture and sound changed together"
    ),
}
assert set(OBJECTIVE_WORDS) == set(OBJECTIVE_NAMES)

MISSING: dict[str, tuple[str, str]] = {
    "video": ("pictures", "Add video clips."),
    "moving video": ("moving pictures", "Add video clips: a still can't teach motion."),
    "audio": ("sound", "Add clips with sound, or sound files named like the clips (shot.wav beside shot.mp4)."),
    "reference_video": (
        "a reference video for each clip",
        "Make them from the clips with `ltx-agent make reference-video edges` (or depth, pose, grayscale …), or "
        "put your own beside the clips, named shot_reference.mp4.",
    ),
    "reference_audio": (
        "a reference sound for each clip",
        "Make them with `ltx-agent make reference-audio low-pass --cutoff-hz 2000`, or put your own beside the clips, "
        "named shot_reference.wav.",
    ),
    "video_mask": (
        "a mask for each clip",
        "Make them with `ltx-agent make video-mask random-boxes --share 0.3` (or boxes, random-brushes, matte), or put "
        "your own beside the clips, named shot_mask.mp4.",
    ),
    "audio_mask": (
        "a mask for each sound",
        "Make them with `ltx-agent make audio-mask random-spans --share 0.3` (or spans), or put your own beside the "
        "sounds, named shot_mask.wav.",
    ),
}
"""A column that clips lack: what it is called, and how to get it."""
