"""The generic names of our packages don't trip over a person's own folders of the same names."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).parent / "ltx-agent"


@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["prepare", "no-such-folder"]])
def test_starts_beside_other_packages_of_these_names(tmp_path: Path, arguments: list[str]) -> None:
    for name in ("agent", "tools", "prompts", "trainer_core"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('a foreign package was imported')\n")
    ran = subprocess.run([SCRIPT, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "foreign" not in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.returncode == (0 if arguments == ["--help"] else 2)
