"""The environment variables that a training process may see: an allow-list, so that no key or token reaches it."""

from collections.abc import Collection, Mapping

PASSED_NAMES = frozenset(
    {
        "PATH",
        "HOME",
        "LANG",
        "TMPDIR",
        "VIRTUAL_ENV",
        "PYTHONPATH",
        "LD_LIBRARY_PATH",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "HF_HOME",
    }
)
PASSED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_")


def trainer_environment(environment: Mapping[str, str], trackers: Collection[str] = ()) -> dict[str, str]:
    """Return what the trainer may see of `environment`: an allow-list, so that no key or token reaches it.

    A tracker that the config asks for gets its own variables, such as WANDB_API_KEY. A model hub is never reached.
    """
    prefixes = (*PASSED_PREFIXES, *(f"{name.upper()}_" for name in trackers))
    passed = {name: value for name, value in environment.items() if name in PASSED_NAMES or name.startswith(prefixes)}
    return {**passed, "HF_HUB_OFFLINE": "1"}
