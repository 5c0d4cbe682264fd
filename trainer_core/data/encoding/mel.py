"""The audio VAE's front end: waveform to log-mel spectrogram, in torch alone.

n_fft 1024, hop 160, 64 mel bins, slaney scale and norm, magnitude (power 1), log clamped at 1e-5, 16 kHz (MODEL.md).
"""

from functools import cache

import torch
from torch import Tensor

N_FFT = 1024
LOG_FLOOR = 1e-5


def log_mel(waveform: Tensor, sample_rate_hz: int, hop: int, bins: int) -> Tensor:
    """Return the log-mel spectrogram [channels, frames, bins] of `waveform` [channels, N], frames = N // hop + 1."""
    window = torch.hann_window(N_FFT, dtype=waveform.dtype, device=waveform.device)
    pad_mode = "reflect" if waveform.shape[-1] > N_FFT // 2 else "constant"
    spectrum = torch.stft(
        waveform, N_FFT, hop_length=hop, window=window, center=True, pad_mode=pad_mode, return_complex=True
    ).abs()  # [channels, N_FFT // 2 + 1, frames]
    mel = _filters(sample_rate_hz, bins).to(spectrum) @ spectrum
    return mel.clamp(min=LOG_FLOOR).log().transpose(1, 2)


@cache
def _filters(sample_rate_hz: int, bins: int) -> Tensor:
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=N_FFT // 2 + 1,
        num_mel_filters=bins,
        min_frequency=0.0,
        max_frequency=sample_rate_hz / 2,
        sampling_rate=sample_rate_hz,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters).float().T.contiguous()
