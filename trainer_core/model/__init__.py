"""The LTX-2 model: every layout that it comes in, its tiny stand-ins, and what is done to its weights."""

import logging

# diffusers imports torchao wherever it is installed: torch then complains of an enum that it knows by now, and
# diffusers of old torchao classes. bitsandbytes looks for a quicker 4-bit product on some processors. None of it is
# anything a person could act on.
for _chatty in (
    "torch.utils._pytree",
    "diffusers.quantizers.torchao.torchao_quantizer",
    "bitsandbytes.backends.cpu.ops",
):
    logging.getLogger(_chatty).setLevel(logging.ERROR)
