"""The captioner behind a local vision model: any class of transformers that takes pictures or video, and maybe sound.

It is loaded from safetensors alone, runs no code of its folder, and fetches nothing.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tools.caption.captioners.captioner import (
    CaptionDraft,
    CaptionRequest,
    CaptionSource,
    Declined,
    PictureBudget,
    Usage,
)
from tools.caption.captioners.instruction import clip_words
from tools.caption.captioners.local_models import GIB, LocalModel, Machine, this_machine
from tools.caption.captioners.reply import caption_of
from trainer_core.errors import ConfigError

BYTES_PER_CLIP = 3 * GIB
LARGEST_BATCH = 4
MOST_NEW_TOKENS = 400
CPU_BUDGET = PictureBudget(tokens=2000, most=8, longest_side=448, smallest_side=224)
ASSUMED_RATES = {"cpu": (1e11, 1e10)}
ASSUMED_GPU_RATES = (3e13, 4e11)
"""Operations and bytes per second, guessed: reading a token takes about an operation a byte of 16-bit weights (two a
parameter), writing one reads all of them once."""
TICKS_A_SECOND = 1000
"""Pictures are sampled unevenly; their times go to the processor as frame numbers of a video this fast."""


class LocalCaptioner:
    """Captions a batch at a time, on the GPU where there is one."""

    source: CaptionSource = "local"
    concurrency = 1
    waiting = 0
    sees = True

    def __init__(self, found: LocalModel, machine: Machine | None = None) -> None:
        self.found = found
        self.machine = machine or this_machine()
        self.model = found.name
        self.hears = found.hears
        spare = self.machine.free_bytes - found.needed_bytes
        self.batch_size = max(1, min(LARGEST_BATCH, 1 + spare // BYTES_PER_CLIP))
        usual = CPU_BUDGET if self.machine.device == "cpu" else PictureBudget()
        self.budget = PictureBudget(**{**vars(usual), "tokens_per_frame": found.tokens_per_frame})
        self.notes: list[str] = []
        self._loaded: tuple[Any, Any] | None = None
        self._stopped = threading.Event()

    @property
    def assumed_speed(self) -> tuple[float, float]:
        operations, read_bytes = ASSUMED_RATES.get(self.machine.device, ASSUMED_GPU_RATES)
        weights = max(self.found.weight_bytes, 1)
        return operations / weights, read_bytes / weights * self.batch_size

    async def open(self) -> None:
        await asyncio.to_thread(self._load)

    async def caption(self, requests: Sequence[CaptionRequest]) -> list[CaptionDraft | Declined]:
        try:
            return await asyncio.to_thread(self._caption, list(requests))
        except asyncio.CancelledError:
            self._stopped.set()  # the thread ends with its next token
            raise

    async def close(self) -> None:
        self._stopped.set()
        self._loaded = None

    def _caption(self, requests: list[CaptionRequest]) -> list[CaptionDraft | Declined]:
        import torch

        began = time.monotonic()
        try:
            texts, prompt_tokens = self._generate(requests)
        except torch.OutOfMemoryError:
            if len(requests) == 1:
                return [Declined("failed", "the model ran out of memory on this clip")]
            self.batch_size = half = (len(requests) + 1) // 2
            torch.cuda.empty_cache()
            return [*self._caption(requests[:half]), *self._caption(requests[half:])]
        seconds = (time.monotonic() - began) / len(requests)
        return [
            self._draft(request, text, finished, Usage(prompt_tokens, count, seconds))
            for request, (text, count, finished) in zip(requests, texts, strict=True)
        ]

    def _generate(self, requests: list[CaptionRequest]) -> tuple[list[tuple[str, int, bool]], int]:
        """Return each reply with its tokens and whether it came to its end, and the tokens of the longest prompt."""
        import torch
        from transformers import StoppingCriteriaList

        processor, model = self._load()
        inputs = self._inputs(processor, requests).to(model.device, dtype=model.dtype)
        length = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            output = model.generate(
                **inputs,
                max_new_tokens=MOST_NEW_TOKENS,
                do_sample=False,
                stopping_criteria=StoppingCriteriaList([_Stop(self._stopped)]),
            )
        new = output[:, length:]
        ends = model.generation_config.eos_token_id
        ends = set(ends) if isinstance(ends, list) else {ends}
        texts = processor.batch_decode(new, skip_special_tokens=True)
        pad = processor.tokenizer.pad_token_id
        replies = []
        for row, text in zip(new.tolist(), texts, strict=True):
            finished = any(token in ends for token in row)
            replies.append((text, sum(token != pad for token in row), finished))
        return replies, length

    def _inputs(self, processor: Any, requests: list[CaptionRequest]) -> Any:
        """The processor's tensors for a batch; pictures go in as video where all of the batch can."""
        as_video = getattr(processor, "video_processor", None) is not None and all(
            request.clip.kind == "video" and len(request.frames) > 1 and not request.reference for request in requests
        )
        conversations = [self._conversation(request, as_video) for request in requests]
        options: dict[str, Any] = {"padding": True}
        if as_video:
            options |= {"do_sample_frames": False, "video_metadata": [[_metadata(request)] for request in requests]}
        return processor.apply_chat_template(
            conversations,
            tokenize=True,
            return_dict=True,
            add_generation_prompt=True,
            return_tensors="pt",
            processor_kwargs=options,
            sanitize_control_tokens=True,  # nothing that a clip says can end a message or pose as a picture
        )

    def _conversation(self, request: CaptionRequest, as_video: bool) -> list[dict[str, Any]]:
        from PIL import Image

        pictures = (*request.reference, *request.frames)
        if as_video:
            seen: list[dict[str, Any]] = [{"type": "video", "video": np.stack([frame.rgb for frame in pictures])}]
        else:
            seen = [{"type": "image", "image": Image.fromarray(frame.rgb)} for frame in pictures]
        sounds = (request.reference_sound, request.sound) if self.hears else ()
        heard = [{"type": "audio", "audio": sound} for sound in sounds if sound is not None]
        words = clip_words(request, sees=True, hears=self.hears)
        return [
            {"role": "system", "content": [{"type": "text", "text": request.instruction.text}]},
            {"role": "user", "content": [*seen, *heard, {"type": "text", "text": words}]},
        ]

    def _draft(self, request: CaptionRequest, text: str, finished: bool, usage: Usage) -> CaptionDraft | Declined:
        caption = caption_of(text)
        if not caption:
            return Declined("failed", "the model answered with nothing", usage)
        flags = {} if finished else {"cut_off": f"the model was cut off at {MOST_NEW_TOKENS} tokens"}
        return CaptionDraft(
            caption=caption,
            source="local",
            needs_review=bool(flags),
            model=self.model,
            instruction_version=request.instruction.version,
            frames_s=[frame.time_s for frame in request.frames],
            flags=flags,
            heard=self.hears and request.sound is not None,
            usage=usage,
        )

    def _load(self) -> tuple[Any, Any]:
        """Load once. Raises ConfigError for a folder that transformers can't read."""
        if self._loaded is None:
            import transformers
            from transformers import AutoConfig, AutoProcessor

            transformers.logging.set_verbosity_error()
            transformers.utils.logging.disable_progress_bar()
            where = {"local_files_only": True, "trust_remote_code": False}
            # the class for pictures alone came first; the one for pictures, video and sound knows more families
            auto = getattr(transformers, "AutoModelForMultimodalLM", None) or transformers.AutoModelForImageTextToText
            try:
                config = AutoConfig.from_pretrained(self.found.folder, **where)
                # an omni model's own voice stays on the disk: only the part that sees, hears and writes is loaded
                config = getattr(config, "thinker_config", config)
                processor = AutoProcessor.from_pretrained(self.found.folder, **where)
                model = auto.from_pretrained(
                    self.found.folder,
                    config=config,
                    dtype="auto",
                    device_map=self.machine.device,
                    use_safetensors=True,
                    **where,
                )
            except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
                raise ConfigError(
                    f"{self.found.name} can't be loaded: {' '.join(str(error).split())[:300]}",
                    "Check the folder, or choose another model.",
                ) from error
            processor.tokenizer.padding_side = "left"
            self._loaded = processor, model.eval()
        return self._loaded


class _Stop:
    """Ends generation when captioning was interrupted."""

    def __init__(self, stopped: threading.Event) -> None:
        self.stopped = stopped

    def __call__(self, input_ids: Any, *_: Any, **__: Any) -> Any:
        import torch

        return torch.full((input_ids.shape[0],), self.stopped.is_set(), dtype=torch.bool, device=input_ids.device)


def _metadata(request: CaptionRequest) -> dict[str, Any]:
    """When each picture is shown, as processors want it: frame numbers of a video of TICKS_A_SECOND."""
    ticks = [round(frame.time_s * TICKS_A_SECOND) for frame in request.frames]
    total = max(round(request.clip.duration_s * TICKS_A_SECOND), ticks[-1] + 1)
    height, width = request.frames[0].rgb.shape[:2]
    return {
        "total_num_frames": total,
        "fps": float(TICKS_A_SECOND),
        "duration": total / TICKS_A_SECOND,
        "frames_indices": ticks,
        "width": width,
        "height": height,
    }
