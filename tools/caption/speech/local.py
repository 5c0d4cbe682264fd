"""Speech recognition on this machine: a Whisper of transformers, from a folder or the hub's cache. Fetches nothing."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np

from tools.caption.captioners.captioner import Transcript
from tools.caption.captioners.local_models import cached_snapshots, this_machine, weight_files
from tools.caption.media.sound import SOUND_RATE_HZ
from tools.plain_text import MAX_CAPTION_CHARACTERS, plain_text, shortened
from trainer_core.errors import ConfigError

WINDOW_S = 30.0
"""What Whisper hears at once; longer sound is heard window by window."""
MOST_NEW_TOKENS = 220


class LocalTranscriber:
    """A Whisper model; it is loaded when the first clip is heard."""

    concurrency = 1

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self._loaded: tuple[Any, Any] | None = None

    async def transcribe(self, sound: np.ndarray) -> Transcript | None:
        return await asyncio.to_thread(self._transcribe, sound)

    async def close(self) -> None:
        self._loaded = None

    def _transcribe(self, sound: np.ndarray) -> Transcript:
        import torch

        processor, model = self._load()
        window = int(WINDOW_S * SOUND_RATE_HZ)
        said: list[str] = []
        for start in range(0, max(len(sound), 1), window):
            heard = processor(
                sound[start : start + window],
                sampling_rate=SOUND_RATE_HZ,
                return_tensors="pt",
                return_attention_mask=True,
            ).to(model.device, dtype=model.dtype)
            with torch.inference_mode():
                tokens = model.generate(**heard, max_new_tokens=MOST_NEW_TOKENS)
            said += processor.batch_decode(tokens, skip_special_tokens=True)
        spoken = plain_text(" ".join(said))
        return Transcript(shortened(spoken, MAX_CAPTION_CHARACTERS), self.name)

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import transformers
            from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

            transformers.logging.set_verbosity_error()
            transformers.utils.logging.disable_progress_bar()
            where = {"local_files_only": True, "trust_remote_code": False}
            try:
                processor = AutoProcessor.from_pretrained(self.folder, **where)
                model = AutoModelForSpeechSeq2Seq.from_pretrained(
                    self.folder, dtype="auto", device_map=this_machine().device, use_safetensors=True, **where
                )
            except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
                raise ConfigError(
                    f"{self.name} can't be loaded: {' '.join(str(error).split())[:300]}", "Check it."
                ) from error
            self._loaded = processor, model.eval()
        return self._loaded


def find_local_transcriber(model: str | None, *, asked: bool, notes: list[str]) -> LocalTranscriber | None:
    """Return `model`, the configured one, else the largest Whisper in the hub's cache; None when nobody asked for one.

    Raises ConfigError for one that isn't on this machine.
    """
    from tools.endpoint.settings import speech_settings

    named = model or speech_settings().local_model
    if named is not None:
        folder = Path(named).expanduser()
        if not folder.is_dir():
            folder = next((place for name, place in cached_snapshots() if name == named), folder)
        if not _is_whisper(folder):
            raise ConfigError(
                f"There is no Whisper model at {named}.",
                "Name a folder, or a hub model that is cached on this machine.",
            )
        return LocalTranscriber(named if not Path(named).expanduser().is_dir() else folder.name, folder)
    cached = [(name, folder) for name, folder in cached_snapshots() if _is_whisper(folder)]
    if not cached:
        if asked:
            raise ConfigError("No Whisper model is cached on this machine.", "Name its folder: --speech local:FOLDER.")
        return None
    name, folder = max(cached, key=lambda entry: sum(path.stat().st_size for path in weight_files(entry[1])))
    notes.append(f"Speech is transcribed by {name} on this machine.")
    return LocalTranscriber(name, folder)


def _is_whisper(folder: Path) -> bool:
    import json

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == "whisper" and bool(weight_files(folder))
