"""`samples/index.html`: base against adapter, step by step, a section a prompt. No scripts, no network."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from trainer_core.files import write_text
from trainer_core.html import render_html
from trainer_core.sampling.index import PAGE_NAME, TINY_NOTE, PromptRow, SampleIndex

KIND_WORDS = {
    "validation": "from the config",
    "prompt": "yours",
    "in_distribution": "in distribution: the caption of a clip it trained on",
    "held_out": "held out: the caption of a clip it never saw",
    "out_of_distribution": "out of distribution: nothing like the clips",
}
_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #6b6b70; --paper: #f5f5f2; --card: #fff; --line: #e2e2dd;
  --warn: #a15c00; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececea; --soft: #9c9ca1; --paper: #161618; --card: #202023;
  --line: #34343a; --warn: #f2b45c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 80rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2.4rem 0 .2rem; overflow-wrap: anywhere; }
.soft { color: var(--soft); font-size: .9rem; } .warn { color: var(--warn); font-weight: 600; margin: .8rem 0 0; }
.row { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: .9rem; margin-top: .8rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
figure video, figure img { display: block; width: 100%; background: #0c0c0e; } figure audio { width: 100%; }
figcaption { padding: .45rem .7rem; } details { margin-top: .8rem; } summary { cursor: pointer; color: var(--soft); }
.base { outline: 2px solid var(--line); }
"""


def write_page(folder: Path, index: SampleIndex, title: str) -> None:
    """Write the page of `index` into `folder`, beside the files that it shows."""
    write_text(folder / PAGE_NAME, _page(index, title))


def _page(index: SampleIndex, title: str) -> str:
    return render_html(
        "trainer_core.sampling",
        "page.html.jinja",
        style=Markup(_STYLE),
        title=title,
        index=index,
        tiny_note=TINY_NOTE,
        prompts=[_prompt(index, row) for row in index.prompts if index.of(row.id)],
        quote=quote,
    )


def _prompt(index: SampleIndex, row: PromptRow) -> dict[str, Any]:
    """The base and the newest sample of a prompt, the earlier ones newest first, and its facts in one line."""
    rows = index.of(row.id)
    trained = [one for one in rows if one.adapter]
    shown = [*(one for one in rows if not one.adapter), *trained[-1:]]
    size = f"{row.width}x{row.height}, {row.frames} frames at {row.frame_rate:g} fps"
    facts = [KIND_WORDS.get(row.kind, row.kind), size, f"seed {row.seed}", f"{row.steps} steps", *row.conditions]
    return {"row": row, "facts": " · ".join(facts), "shown": shown, "earlier": trained[-2::-1]}
