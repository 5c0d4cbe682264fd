"""A clip made ready for a captioner: its pictures, its sound and what is spoken in it."""

from dataclasses import dataclass, replace

from tools.caption.captioners.captioner import (
    Captioner,
    CaptionFrame,
    CaptionRequest,
    ClipFile,
    Instruction,
    PictureBudget,
    Transcript,
)
from tools.caption.media.frames import choose_times, plan_frames, read_frames_at
from tools.caption.media.pictures import PictureMeasures, measure_pictures
from tools.caption.media.sound import read_sound
from trainer_core.errors import DataError

SENT_SOUND_S = 30.0
"""Models that hear listen to half a minute; a training window is seconds long."""


@dataclass(frozen=True)
class Preparation:
    """Preparation of clips: for which captioner and with which instruction."""

    captioner: Captioner
    instruction: Instruction

    def look(self, clip: ClipFile) -> PictureMeasures | None:
        """Measure a clip's pictures, which tells when to look; None where there are none to show the captioner."""
        return measure_pictures(clip.path) if self.captioner.sees and clip.kind == "video" else None

    def request(
        self, clip: ClipFile, looked: PictureMeasures | None, spoken: Transcript | None = None, hint: str = ""
    ) -> CaptionRequest:
        """Return the request for one clip. Raises DataError when it can't be read any more."""
        frames: tuple[CaptionFrame, ...] = ()
        reference: tuple[CaptionFrame, ...] = ()
        if self.captioner.sees and clip.kind != "audio":
            half = clip.reference is not None
            budget = _halved(self.captioner.budget) if half else self.captioner.budget
            frames = self._frames(clip, looked, budget)
            if clip.reference is not None:
                start = ClipFile(clip.reference, clip.name, "video")
                reference = self._frames(start, self.look(start), budget)
        wants_sound = self.captioner.hears and clip.kind != "image" and clip.has_sound is not False
        sound = read_sound(clip.path, SENT_SOUND_S) if wants_sound else None
        if self.captioner.sees and not frames and sound is None and spoken is None:
            raise DataError(f"{clip.name} gives this captioner nothing to look at.", "Choose one that hears sound.")
        heard_first = clip.reference_sound if wants_sound else None
        reference_sound = read_sound(heard_first, SENT_SOUND_S) if heard_first else None
        if self.instruction.style == "edit" and not reference and reference_sound is None:
            raise DataError(
                f"{clip.name} has no reference that this captioner can take: an edit instruction needs one.",
                "Give the clips a reference_video (or reference_audio) column, or choose another style.",
            )
        return CaptionRequest(clip, self.instruction, frames, reference, sound, reference_sound, spoken, hint)

    def _frames(
        self, clip: ClipFile, measures: PictureMeasures | None, budget: PictureBudget
    ) -> tuple[CaptionFrame, ...]:
        if clip.kind == "image":
            return read_frames_at(clip.path, [0.0], budget.longest_side)
        if measures is None:
            raise DataError(f"{clip.name} holds no pictures that decode.", "Copy or export it again.")
        count, side, _ = plan_frames(measures.width, measures.height, measures.duration_s, budget)
        return read_frames_at(clip.path, choose_times(measures, count), side)


def _halved(budget: PictureBudget) -> PictureBudget:
    """Half a budget, for a reference and its target in one request."""
    halves = {"tokens": budget.tokens // 2, "fewest": max(1, budget.fewest // 2), "most": max(1, budget.most // 2)}
    return replace(budget, **halves)
