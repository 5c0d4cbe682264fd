"""What captioning will take: tokens, money where a price is known, and time once some clips have been timed."""

import asyncio
from collections.abc import Sequence
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from tools.caption.captioner import Captioner, Style, Usage
from tools.caption.captions import CaptionEntry
from tools.caption.frames import plan_frames
from tools.caption.lint import estimated_tokens
from tools.inspect.report import Clip

SOUND_TOKENS_A_SECOND = 25
"""What audio language models make of a second of sound, about."""
REPLY_TOKENS: dict[Style, int] = {"ltx": 260, "short": 45, "tags": 70, "audio": 150, "edit": 70}


class Estimate(BaseModel):
    """What a number of clips come to. `cost_usd` is null without a price, `seconds` until some clips were timed."""

    model_config = ConfigDict(extra="forbid")

    clips: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None = None
    seconds: float | None = None
    measured: bool = False

    def sentence(self) -> str:
        """The estimate in plain words."""
        about = "about" if not self.measured else "by the clips done so far, about"
        parts = [f"{about} {self.prompt_tokens:,} tokens in and {self.completion_tokens:,} out"]
        if self.cost_usd is not None:
            parts.append(f"${self.cost_usd:.2f}")
        if self.seconds is not None:
            parts.append(spoken_time(self.seconds))
        return f"{self.clips} to caption: {', '.join(parts)}."


class Used(BaseModel):
    """What captions cost in this run. `cost_usd` is null without a price."""

    model_config = ConfigDict(extra="forbid")

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    seconds: float = 0.0


def estimate(
    clips: Sequence[Clip],
    captioner: Captioner,
    instruction: str,
    style: Style,
    done: Sequence[CaptionEntry],
) -> Estimate:
    """Estimate `clips`: by the rows `done` by the same captioner when there are some, else from sizes and lengths."""
    timed = [row for row in done if row.source == captioner.source and row.model == captioner.model and row.seconds > 0]
    if timed and any(row.prompt_tokens for row in timed):
        prompt = round(len(clips) * fmean(row.prompt_tokens for row in timed))
        completion = round(len(clips) * fmean(row.completion_tokens for row in timed))
    else:
        prompt = sum(_prompt_tokens(clip, captioner) for clip in clips)
        prompt += len(clips) * (estimated_tokens(instruction) + 100)
        completion = len(clips) * REPLY_TOKENS[style]
    parallel = min(max(len(clips), 1), captioner.concurrency)
    seconds = len(clips) * fmean(row.seconds for row in timed) / parallel if timed else None
    return Estimate(
        clips=len(clips),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost_usd=cost_of(prompt, completion, price_of(captioner)),
        seconds=None if seconds is None else round(seconds, 1),
        measured=bool(timed),
    )


def cost_of(prompt_tokens: int, completion_tokens: int, price_usd: tuple[float, float] | None) -> float | None:
    """Return US dollars; None without a price."""
    if price_usd is None:
        return None
    return round(prompt_tokens * price_usd[0] + completion_tokens * price_usd[1], 6)


def price_of(captioner: Captioner | None) -> tuple[float, float] | None:
    """Return the US dollars a token in and out that the captioner knows of."""
    price: tuple[float, float] | None = getattr(captioner, "price_usd", None)
    return price


def ask_price(captioner: Captioner | None) -> None:
    """Let a captioner find out what it costs, where it can; it is of no use for captions afterwards."""
    discover = getattr(captioner, "discover", None)
    if captioner is None or discover is None:
        return

    async def ask() -> None:
        try:
            await discover()
        finally:
            await captioner.close()

    asyncio.run(ask())


def used(usage: Usage, price_usd: tuple[float, float] | None, seconds: float) -> Used:
    """Return what a run used; `seconds` is the time that passed."""
    cost = cost_of(usage.prompt_tokens, usage.completion_tokens, price_usd)
    return Used(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost_usd=cost,
        seconds=round(seconds, 1),
    )


def spoken_time(seconds: float) -> str:
    """Return "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _prompt_tokens(clip: Clip, captioner: Captioner) -> int:
    tokens = 0
    if captioner.sees and clip.width and clip.height:
        tokens += plan_frames(clip.width, clip.height, clip.duration_s, captioner.budget)[2]
    if captioner.hears and clip.audio.status == "ok":
        tokens += round(min(clip.duration_s, 30) * SOUND_TOKENS_A_SECOND)
    return tokens
