"""The whole path on this machine: scripted clips → inspect → caption → draft → encode → train a LoRA → status.

    python examples/demo.py [OUT]

It runs the same commands a person would, with the tiny random model on the CPU, and ends by saying where everything is.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from make_clips import make_clips

COMMAND = Path(sys.executable).with_name("ltx-agent")


def main(out: Path) -> int:
    """Run the demo in `out`, made again; returns the exit code of the first step that fails."""
    clips, project = out / "clips", out / "project"
    shutil.rmtree(out, ignore_errors=True)
    say(f"Making six short clips with sound in {clips}")
    make_clips(clips, count=6)
    steps = [
        ["prepare", clips, "--project", project, "--goal", "the look of these shapes", "--model", "tiny", "--yes"],
        ["train", project, "--wait"],
        ["status", project],
    ]
    for step in steps:
        line = [str(part) for part in step]
        say("$ ltx-agent " + " ".join(line))
        code = subprocess.run([str(COMMAND), *line], check=False).returncode
        if code != 0:
            print(f"`ltx-agent {line[0]}` ended with exit code {code}.", file=sys.stderr)
            return code
    show_results(project)
    return 0


def show_results(project: Path) -> None:
    """Print where the report, the YAML, the loss curve and the adapter are."""
    run = max((project / "runs").iterdir())
    status = json.loads((run / "status.json").read_text(encoding="utf-8"))
    say("Everything is there:")
    for what, path in (
        ("report", project / "report.html"),
        ("plan", project / "plan.md"),
        ("YAML", project / "config.yaml"),
        ("loss curve", run / "loss.png"),
        ("adapter", run / status["last_checkpoint"]),
    ):
        print(f"  {what:<11}{path}")
    print("The model is a tiny random one: this shows the path, the adapter can't generate anything.")


def say(text: str) -> None:
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out")))
