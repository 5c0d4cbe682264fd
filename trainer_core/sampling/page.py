"""`samples/index.html`: base against adapter, step by step, a section a prompt. No scripts, no network."""

from html import escape
from pathlib import Path
from urllib.parse import quote

from trainer_core.files import write_text
from trainer_core.sampling.index import PAGE_NAME, TINY_NOTE, PromptRow, SampleIndex, SampleRow

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
    shown = [row for row in index.prompts if index.of(row.id)]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Samples: {escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Samples of {escape(title)}</h1>",
        f'<div class="soft">{escape(index.model)}. Base and adapter start from the same noise. '
        "Shown as made, without a claim about quality.</div>",
        f'<p class="warn">{escape(TINY_NOTE)}</p>' if index.tiny else "",
        *(_prompt(index, row) for row in shown),
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _prompt(index: SampleIndex, row: PromptRow) -> str:
    rows = index.of(row.id)
    base = [one for one in rows if not one.adapter]
    trained = [one for one in rows if one.adapter]
    latest, earlier = trained[-1:], trained[:-1]
    facts = [KIND_WORDS.get(row.kind, row.kind), _size(row), f"seed {row.seed}", f"{row.steps} steps", *row.conditions]
    figures = "".join(_figure(one) for one in (*base, *latest))
    more = "".join(_figure(one) for one in reversed(earlier))
    older = f'<details><summary>{len(earlier)} earlier</summary><div class="row">{more}</div></details>' if more else ""
    sheet = (
        f'<details><summary>Contact sheet by step</summary><img src="{quote(row.sheet)}" alt="" '
        'style="max-width:100%"></details>'
        if row.sheet
        else ""
    )
    notes = "".join(f'<div class="soft">{escape(note)}</div>' for note in row.notes)
    return (
        f'<h2>{escape(row.prompt)}</h2><div class="soft">{escape(" · ".join(facts))}</div>{notes}'
        f'<div class="row">{figures}</div>{older}{sheet}'
    )


def _size(row: PromptRow) -> str:
    return f"{row.width}x{row.height}, {row.frames} frames at {row.frame_rate:g} fps"


def _figure(row: SampleRow) -> str:
    source, poster = quote(row.file), quote(row.poster)
    if row.kind == "video":
        # the strip is a picture of its own: as the video's poster it would lie small under the controls
        strip = f'<img src="{poster}" alt="frames of the clip, with the level of its sound">'
        media = f'{strip}<video controls loop playsinline preload="metadata" src="{source}"></video>'
    elif row.kind == "audio":
        media = f'<img src="{poster}" alt="level of the sound"><audio controls src="{source}"></audio>'
    else:
        media = f'<a href="{source}"><img src="{source}" alt=""></a>'
    label = row.label if row.adapter else "base model, no adapter"
    return f'<figure class="{"" if row.adapter else "base"}">{media}<figcaption>{escape(label)}</figcaption></figure>'
