"""Memory estimates and rehearsals in a few plain lines."""

from typing import Any

from trainer_core.units import size_text


def memory_summary(result: dict[str, Any]) -> list[str]:
    parts = ", ".join(
        f"{name.replace('_', ' ')} {size_text(count)}" for name, count in result["parts"].items() if count
    )
    fits = [f"{card} GB" for card, holds in result["fits"].items() if holds]
    lines = [
        f"LTX-{result['version']}, {result['sample']}: {size_text(result['device_peak_bytes'])} on the device "
        f"({parts}); {size_text(result['host_peak_bytes'])} of host memory, "
        f"{size_text(result['disk_bytes'])} on disk.",
        f"{result['flops_per_step'] / 1e12:.2f} TFLOP a step. Estimated; `ltx-agent rehearse` measures.",
        f"Captions are encoded beforehand, with {size_text(result['encoding_peak_bytes'])} on the device; where it "
        "has less, the text encoder works in host memory.",
        f"Fits as it is: {', '.join(fits) if fits else 'none of the usual cards'}.",
    ]
    for card, savings in result["savings"].items():
        how = "not even with every switch" if savings is None else ", then ".join(map(_saved, savings))
        lines.append(f"  {card} GB: {how}.")
    return lines + [f"– {note}." for note in result["notes"]]


def _saved(saving: dict[str, Any]) -> str:
    saves = saving["saves_bytes"]
    return f"{saving['rung']} (saves {size_text(saves)})" if saves > 0 else saving["rung"]


def rehearse_summary(result: dict[str, Any]) -> list[str]:
    lines = [f"Rehearsed on {result['device']}: {result['sample']}."]
    for trial in result["trials"]:
        seen = f"memory ran out while {trial['ran_out']}" if trial["ran_out"] else "fits"
        figures = [
            f"{name} {size_text(trial[key])}"
            for name, key in (
                ("device", "device_peak_bytes"),
                ("tensors", "tensors_peak_bytes"),
                ("host", "host_peak_bytes"),
            )
            if trial[key] is not None
        ]
        if trial["step_s"] is not None:
            figures.append(f"{trial['step_s']:.2f} s a step")
        lines.append(f"– {trial['change']}: {seen}{' (' + ', '.join(figures) + ')' if figures else ''}.")
    changes = ", ".join(f"{key}: {value}" for key, value in result["changes"].items())
    lines.append(f"To set: {changes}." if changes else "Nothing has to change.")
    if not result["fits"]:
        lines.append("It doesn't fit even with every switch: use a smaller or shorter bucket.")
    return lines + [f"Not measured: {what}." for what in result["not_measured"]]
