"""A LoRA as the doctor reads it: whatever is wrong with it is listed, nothing but what is no safetensors is refused."""

from pathlib import Path

from trainer_core.lora.file import LoraFile, read_lora_file


def read_adapter(path: Path) -> LoraFile:
    """Read `path`. Raises ConfigError when it is no whole safetensors file."""
    return read_lora_file(path)
