"""This machine: GPU, driver, CUDA, memory, disk, models, endpoint; and what it can train by the estimate's arithmetic.

The GPU is asked through the driver's own library, so that no torch is loaded; whether torch can use it is asked of a
child process.
"""

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from tools.project import Project
from trainer_core.config import is_tiny, load_config
from trainer_core.config_paths import resolve_paths
from trainer_core.data.buckets import Bucket
from trainer_core.errors import LtxError
from trainer_core.memory.cell import Cell, Side
from trainer_core.memory.estimate import USABLE, estimate
from trainer_core.memory.plan import sized
from trainer_core.strict import Strict

LOWEST_CUDA = 13
LOW_DISK_BYTES = 50 * 10**9
_PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "torchao", "bitsandbytes")
_TORCH_PROBE = (
    "import json, torch; ok = torch.cuda.is_available(); "
    "print(json.dumps({'version': torch.__version__, 'cuda': torch.version.cuda, 'usable': ok, "
    "'bf16': ok and torch.cuda.is_bf16_supported()}))"
)


class MachineFinding(Strict):
    """One thing that was looked at. `state`: ok, warn (it works, worse), fail (training can't), none (not there)."""

    name: str
    state: Literal["ok", "warn", "fail", "none"]
    message: str
    remedy: str = ""


class Gpu(Strict):
    """One card, in bytes."""

    name: str
    total_bytes: int
    free_bytes: int
    driver: str
    cuda: str


class Trainable(Strict):
    """A way to train on this machine; `bucket` is the largest that the estimate says fits, None where none does."""

    what: str
    switches: str
    bucket: str | None


class MachineReport(Strict):
    """Everything `ltx-agent check` found."""

    findings: list[MachineFinding]
    gpus: list[Gpu]
    host_total_bytes: int
    host_free_bytes: int
    disk_free_bytes: int
    packages: dict[str, str | None]
    can_train: list[Trainable]


def check_machine(project: Project | None = None) -> MachineReport:
    """Look at this machine, and at the models that the project names."""
    gpus, driver_error = _gpus()
    probe = _torch()
    total, free = _host_memory()
    disk = shutil.disk_usage(project.path if project is not None else Path.cwd()).free
    packages = {name: _version(name) for name in _PACKAGES}
    findings = [
        *_gpu_findings(gpus, driver_error, probe),
        _memory_finding(total, free),
        _disk_finding(disk),
        *_package_findings(packages),
        *_model_findings(project),
        *_endpoint_findings(),
    ]
    return MachineReport(
        findings=findings,
        gpus=gpus,
        host_total_bytes=total,
        host_free_bytes=free,
        disk_free_bytes=disk,
        packages=packages,
        can_train=_trainable(gpus),
    )


def device_bytes() -> int | None:
    """The memory of this machine's largest card; None where none is visible."""
    return max((gpu.total_bytes for gpu in _gpus()[0]), default=None)


def power_limit_w() -> float | None:
    """The most watts that this machine's first GPU may draw; None where none is visible or it doesn't say."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except (ImportError, OSError):
        return None
    except pynvml.NVMLError:
        return None
    try:
        return float(pynvml.nvmlDeviceGetEnforcedPowerLimit(pynvml.nvmlDeviceGetHandleByIndex(0))) / 1000
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def machine_lines(report: MachineReport) -> list[str]:
    """The report in plain lines."""
    marks = {"ok": "ok  ", "warn": "warn", "fail": "FAIL", "none": "–   "}
    lines = []
    for found in report.findings:
        lines.append(f"{marks[found.state]}  {found.name}: {found.message}")
        if found.remedy:
            lines.append(f"      {found.remedy}")
    lines.append("What it can train (estimated; `ltx-agent rehearse` measures):")
    lines += [f"  {one.what}, {one.switches}: {one.bucket or 'doesn’t fit'}" for one in report.can_train]
    return lines


def largest_bucket(cell: Cell, device_bytes: float) -> Bucket | None:
    """The largest of the usual sizes and lengths whose estimate fits `device_bytes`."""
    best: Bucket | None = None
    for width, height in ((512, 288), (576, 576), (768, 448), (960, 544), (1280, 704)):
        for frames in (25, 49, 89, 121, 249):
            bucket = Bucket(width, height, frames)
            fits = estimate(sized(cell, bucket)).device_peak_bytes <= device_bytes
            if fits and (best is None or bucket.tokens > best.tokens):
                best = bucket
    return best


def _trainable(gpus: list[Gpu]) -> list[Trainable]:
    if not gpus:
        return [Trainable(what="the tiny model", switches="on the CPU, to try things out", bucket="96x64x17")]
    room = max(gpu.total_bytes for gpu in gpus) * USABLE
    base = Cell("2.3", Side(0), Side(0), rank=32)
    found = []
    for what, switches, cell in ways(base):
        bucket = largest_bucket(cell, room)
        found.append(Trainable(what=what, switches=switches, bucket=None if bucket is None else str(bucket)))
    return found


def ways(base: Cell) -> list[tuple[str, str, Cell]]:
    """The ways to train that the table and the check show, lightest on the base first."""
    from dataclasses import replace

    lora, every = "LoRA, rank 32, LTX-2.3", "every weight, LTX-2.3"
    packed = replace(base, precompute_text=True, moments_8bit=True)
    small = replace(packed, quantization="int8")
    smallest = replace(small, chunk_tokens=1024, offload=True, swap_blocks=36)
    full = replace(base, rank=0, targets=(), precompute_text=True)
    return [
        (lora, "bf16", base),
        (lora, "bf16, text beforehand, 8-bit moments", packed),
        (lora, "int8, text beforehand, 8-bit moments", small),
        (lora, "the same, chunked, offloaded, 36 blocks swapped", smallest),
        (lora, "4-bit, everything", replace(smallest, quantization="nf4")),
        (every, "float32", full),
        (every, "float32, fused, 8-bit moments", replace(full, fused=True, moments_8bit=True)),
        (every, "24-bit weights", replace(full, master="float24")),
        (every, "24-bit weights, fused", replace(full, master="float24", fused=True)),
        (every, "bf16 rounded by chance, fused", replace(full, master="stochastic", fused=True)),
    ]


def _gpus() -> tuple[list[Gpu], str]:
    try:
        import pynvml
    except ImportError:
        return [], "the package nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], str(error)
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        number = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            found.append(
                Gpu(
                    name=_text(pynvml.nvmlDeviceGetName(handle)),
                    total_bytes=memory.total,
                    free_bytes=memory.free,
                    driver=driver,
                    cuda=f"{number // 1000}.{number % 1000 // 10}",
                )
            )
        return found, ""
    except pynvml.NVMLError as error:
        return [], str(error)
    finally:
        pynvml.nvmlShutdown()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _torch() -> dict[str, Any] | None:
    """What torch says of CUDA, asked in a process of its own; None when it doesn't start."""
    import json

    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _TORCH_PROBE], capture_output=True, text=True, timeout=120, check=False
        )
        found = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        return None
    return found if isinstance(found, dict) else None


def _gpu_findings(gpus: list[Gpu], error: str, probe: dict[str, Any] | None) -> list[MachineFinding]:
    if not gpus:
        return [
            MachineFinding(
                name="GPU",
                state="none",
                message=f"no NVIDIA GPU is visible here ({error})",
                remedy="The tiny model trains on the CPU; a real one needs a card, see plan-memory for which.",
            )
        ]
    found = [
        MachineFinding(
            name="GPU",
            state="ok" if gpu.free_bytes > 0.9 * gpu.total_bytes else "warn",
            message=f"{gpu.name}, {gpu.total_bytes / 1e9:.0f} GB, {gpu.free_bytes / 1e9:.0f} GB of it free",
            remedy="" if gpu.free_bytes > 0.9 * gpu.total_bytes else "Other processes hold some of its memory.",
        )
        for gpu in gpus
    ]
    cuda = float(gpus[0].cuda)
    found.append(
        MachineFinding(
            name="driver",
            state="ok" if cuda >= LOWEST_CUDA else "fail",
            message=f"{gpus[0].driver}, up to CUDA {gpus[0].cuda}",
            remedy="" if cuda >= LOWEST_CUDA else f"Install a driver for CUDA {LOWEST_CUDA} or newer.",
        )
    )
    if probe is None:
        found.append(MachineFinding(name="torch", state="fail", message="torch doesn't start", remedy="Reinstall it."))
    elif not probe["usable"]:
        build = probe["cuda"] or "none: this is the CPU build"
        message = f"torch {probe['version']} can't use the GPU (its CUDA: {build})"
        found.append(MachineFinding(name="torch", state="fail", message=message, remedy="Install torch's CUDA build."))
    else:
        state: Literal["ok", "warn"] = "ok" if probe["bf16"] else "warn"
        message = f"torch {probe['version']} with CUDA {probe['cuda']}, bf16 {'yes' if probe['bf16'] else 'no'}"
        found.append(MachineFinding(name="torch", state=state, message=message))
    return found


def _host_memory() -> tuple[int, int]:
    """(total, available) bytes, those of the container where it has fewer."""
    fields = {}
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            name, _, rest = line.partition(":")
            fields[name] = int(rest.split()[0]) * 1024
    total = fields.get("MemTotal", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    free = fields.get("MemAvailable", total)
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (said := limit.read_text().strip()).isdigit() and int(said) < total:
        used = Path("/sys/fs/cgroup/memory.current")
        total = int(said)
        free = min(free, total - int(used.read_text())) if used.exists() else min(free, total)
    return total, free


def _memory_finding(total: int, free: int) -> MachineFinding:
    enough = free >= 32 * 10**9
    return MachineFinding(
        name="host memory",
        state="ok" if enough else "warn",
        message=f"{free / 1e9:.0f} of {total / 1e9:.0f} GB available",
        remedy=""
        if enough
        else "Encoding captions with the real text encoder on the CPU takes more: use a GPU for it.",
    )


def _disk_finding(free: int) -> MachineFinding:
    enough = free >= LOW_DISK_BYTES
    return MachineFinding(
        name="disk",
        state="ok" if enough else "warn",
        message=f"{free / 1e9:.0f} GB free here",
        remedy="" if enough else "A real model is 40 GB on disk; plan-memory says what a training adds.",
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _package_findings(packages: dict[str, str | None]) -> list[MachineFinding]:
    missing = [name for name, found in packages.items() if found is None]
    said = ", ".join(f"{name} {found}" for name, found in packages.items() if found is not None)
    if not missing:
        return [MachineFinding(name="packages", state="ok", message=said)]
    remedy = f"Run `pip install {' '.join(missing)}`."
    return [MachineFinding(name="packages", state="fail", message=f"{', '.join(missing)} missing", remedy=remedy)]


def _model_findings(project: Project | None) -> list[MachineFinding]:
    if project is None:
        return []
    try:
        if project.config_path.exists():
            section = resolve_paths(load_config(project.config_path), project.path).model
            paths = {"model": section.model_path, "text encoder": section.text_encoder_path}
        else:
            paths = {"model": project.facts.model, "text encoder": None}
    except LtxError as error:
        return [MachineFinding(name="model", state="fail", message=error.message, remedy=error.hint)]
    found = []
    for name, path in paths.items():
        if path is None:
            continue
        if is_tiny(path):
            message = f"{path}: small and random, it can't generate anything"
            found.append(MachineFinding(name=name, state="warn", message=message))
            continue
        there = Path(path).expanduser().exists()
        message = path if there else f"there is nothing at {path}"
        remedy = "" if there else "Correct model.model_path, or download it."
        found.append(MachineFinding(name=name, state="ok" if there else "fail", message=message, remedy=remedy))
    return found


def _endpoint_findings() -> list[MachineFinding]:
    """Whether the configured language-model endpoint takes a connection; nothing is sent to it."""
    import socket
    from urllib.parse import urlsplit

    url = os.environ.get("LTX_AGENT_BASE_URL")
    if not url:
        message = "no language-model endpoint is configured; the built-in planner holds the conversation"
        return [MachineFinding(name="endpoint", state="none", message=message)]
    parts = urlsplit(url)
    place = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    try:
        with socket.create_connection(
            (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)), 3
        ):
            return [MachineFinding(name="endpoint", state="ok", message=f"{place} takes connections")]
    except OSError as error:
        remedy = "Start it, or correct LTX_AGENT_BASE_URL."
        return [
            MachineFinding(name="endpoint", state="warn", message=f"{place} doesn't answer ({error})", remedy=remedy)
        ]
