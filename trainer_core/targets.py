"""The layers that a LoRA is put on, from the roles of both modalities and the direction of the exchange. No torch.

Source: the official LTX trainer's recipes (ARCHITECTURE.md, "Formats").
"""

from dataclasses import dataclass
from typing import Literal

Role = Literal["generate", "frozen", "absent"]
ATTENTION = ("to_k", "to_q", "to_v", "to_out.0")
"""The projections of an attention layer; by themselves they reach every attention of the model."""


@dataclass(frozen=True)
class Targets:
    """Value of `lora.target_modules` for an objective, and why."""

    modules: tuple[str, ...]
    reason: str


def targets_of(video: Role, audio: Role, *, video_reference: bool = False) -> Targets:
    """Return the layers that a LoRA is put on where video and audio have these roles, with the reason.

    `video_reference`: the video is given a reference. One of the two is generated.
    """
    modules, reason = _TARGETS[video, audio]
    if audio == "absent" and video_reference:
        feed_forward = ("ff.net.0.proj", "ff.net.2")
        return Targets(
            (*modules, *feed_forward), f"{reason}; the feed-forward layers too, as a reference has to be redrawn"
        )
    return Targets(modules, reason)


def _all_of(*blocks: str) -> tuple[str, ...]:
    return tuple(f"{block}.{layer}" for block in blocks for layer in ATTENTION)


_AUDIO = (*_all_of("audio_attn1", "audio_attn2"), "audio_ff.net.0.proj", "audio_ff.net.2")
_TARGETS: dict[tuple[Role, Role], tuple[tuple[str, ...], str]] = {
    ("generate", "generate"): (ATTENTION, "the attention layers of picture, sound and the exchange between them"),
    ("generate", "frozen"): (
        ATTENTION,
        "the attention layers of the picture, of the given sound that it follows, and the exchange between them",
    ),
    ("generate", "absent"): (
        _all_of("attn1", "attn2"),
        "the picture's own attention layers: no sound is trained, so none is touched",
    ),
    ("frozen", "generate"): (
        (*_AUDIO, *_all_of("video_to_audio_attn")),
        "the sound's own attention and feed-forward layers and what it hears of the picture; nothing of the picture "
        "that is given",
    ),
    ("absent", "generate"): (
        _AUDIO,
        "the sound's own attention and feed-forward layers: no picture is trained, so none is touched",
    ),
}
