"""Estimate of captioning: tokens, money where a price is known, and time once some clips have been timed."""

import asyncio
from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from tools.caption.captioners.captioner import Captioner, Style
from tools.caption.lint.checks import estimated_tokens
from tools.caption.media.frames import plan_frames
from tools.caption.speeds import earlier_speed
from tools.caption.store.captions import CaptionEntry
from tools.endpoint.usage import Usage
from tools.inspect.report.report import Clip
from tools.spec import CostLine, nothing
from trainer_core.strict import Strict
from trainer_core.units import duration_text

SOUND_TOKENS_A_SECOND = 25
"""Tokens that audio language models make of one second of audio, about."""
REPLY_TOKENS: dict[Style, int] = {"ltx": 260, "short": 45, "tags": 70, "audio": 150, "edit": 70}


class CaptionEstimate(Strict):
    """Cost of captioning a number of clips. `cost_usd` is null without a price.

    `basis` says where the time comes from: clips done in this project, the last time this model wrote captions on this
    machine, or a guess, whose assumptions are then named. `measured`: it is no guess.
    """

    clips: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None = None
    seconds: float | None = None
    measured: bool = False
    basis: Literal["here", "earlier", "guess"] = "guess"
    assumptions: str = ""

    def sentence(self) -> str:
        """The estimate in plain words."""
        about = {"here": "by the clips done so far, about", "earlier": "by the last time, about"}
        parts = [f"{self.prompt_tokens:,} tokens in and {self.completion_tokens:,} out"]
        if self.cost_usd is not None:
            parts.append(f"${self.cost_usd:.2f}")
        if self.seconds is not None:
            parts.append(duration_text(self.seconds))
        taken = f" ({self.assumptions})" if self.assumptions else ""
        return f"{self.clips} to caption: {about.get(self.basis, 'a guess:')} {', '.join(parts)}{taken}."


class Used(Strict):
    """Cost of this run's captions. `cost_usd` is null without a price."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    seconds: float = 0.0


def memory_cost(captioner: Captioner) -> CostLine:
    """Return captioning's share of this machine's memory."""
    holds = captioner.source == "local"
    return CostLine("memory", "what the captioner holds already") if holds else nothing("memory")[0]


def estimate(
    clips: Sequence[Clip],
    captioner: Captioner,
    instruction: str,
    style: Style,
    done: Sequence[CaptionEntry],
) -> CaptionEstimate:
    """Estimate `clips`: by the rows `done` by the same captioner, else by what it did before, else by a guess."""
    timed = [row for row in done if row.source == captioner.source and row.model == captioner.model and row.seconds > 0]
    earlier = None if timed else earlier_speed(captioner, style)
    if timed and any(row.prompt_tokens for row in timed):
        prompt = round(len(clips) * fmean(row.prompt_tokens for row in timed))
        completion = round(len(clips) * fmean(row.completion_tokens for row in timed))
    else:
        prompt = sum(_prompt_tokens(clip, captioner) for clip in clips)
        prompt += len(clips) * (estimated_tokens(instruction) + 100)
        written = earlier.completion_tokens if earlier else 0
        completion = round(len(clips) * (written or REPLY_TOKENS[style]))
    parallel = min(max(len(clips), 1), captioner.concurrency)
    basis: Literal["here", "earlier", "guess"] = "here" if timed else "earlier" if earlier else "guess"
    assumptions = ""
    if timed:
        each_s = fmean(row.seconds for row in timed)
    elif earlier is not None:
        each_s = earlier.seconds
        assumptions = f"{captioner.model} took {each_s:.1f} s a clip for {earlier.clips}"
    else:
        reads, writes = captioner.assumed_speed
        each_s = (prompt / reads + completion / writes) / max(len(clips), 1)
        assumptions = f"taking {_rate(reads)} tokens per second read and {_rate(writes)} written"
    if parallel > 1 and assumptions:
        assumptions += f", {parallel} clips at a time"
    return CaptionEstimate(
        clips=len(clips),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost_usd=Usage(prompt, completion).cost(price_of(captioner)),
        seconds=round(len(clips) * each_s / parallel, 1),
        measured=basis != "guess",
        basis=basis,
        assumptions=assumptions,
    )


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
    cost = usage.cost(price_usd)
    return Used(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost_usd=cost,
        seconds=round(seconds, 1),
    )


def _rate(tokens: float) -> str:
    return f"{tokens:,.0f}" if tokens >= 10 else f"{tokens:.1g}"


def _prompt_tokens(clip: Clip, captioner: Captioner) -> int:
    tokens = 0
    if captioner.sees and clip.width and clip.height:
        tokens += plan_frames(clip.width, clip.height, clip.duration_s, captioner.budget)[2]
    if captioner.hears and clip.audio.status == "ok":
        tokens += round(min(clip.duration_s, 30) * SOUND_TOKENS_A_SECOND)
    return tokens
