"""Rules that turn a sentence about an adapter or a run into a call: examine, compare, edit, sample, export, push.

A file counts where a person spelled one out; where they mean "my adapter", the planner fills in the newest.
"""

import re
from pathlib import PurePath
from typing import Any

NEWEST = "newest"
"""Stands for the adapter of the newest run, whose path the words don't hold."""

_FILE = re.compile(r"[\"'“‘`](?P<quoted>[^\"'”’`]+\.safetensors)[\"'”’`]|(?P<bare>[^\s\"'“”‘’`,;]+\.safetensors)")
_AS_FILE = re.compile(r"\b(?:as|into|to|called|named) [\"'“‘`]?(?P<file>[^\"'”’`,;]+?\.safetensors)")
_RUN = re.compile(r"\brun (?P<run>\d{8}-\d{6}(?:-\d+)?)\b")
_QUOTED = re.compile(r"[\"“]([^\"”]+)[\"”]")
_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"
_BRANCH = r"(?P<branch>video|picture|visual|audio|sound|voice|cross(?:[- ]modal)?)"
_BRANCHES = {"picture": "video", "visual": "video", "sound": "audio", "voice": "audio"}
_ADAPTER = r"(?:adapter|lora|checkpoint|weights?|[\w./~-]+\.safetensors)"

_STRIP = re.compile(rf"\b(?:strip|remove|drop|cut|leave out|without)\b[^.]*?\b{_BRANCH}\b")
_SCALE = re.compile(
    rf"\b(?:scale|turn (?:down|up)|set|halve|weaken|strengthen)\b[^.]*?\b{_BRANCH}\b[^.]*?"
    rf"(?:\b(?:by|to)\b|x|×) ?{_NUMBER}(%?)"
)
_HALVE = re.compile(rf"\bhalve\b[^.]*?\b{_BRANCH}\b")
_RANK = re.compile(r"\b(?:reduce|change|shrink|resize|lower|set|cut)\b.*?\brank\b.*?\b(?:to|=) ?(\d+)")
_WEIGHT = re.compile(rf"\b(?:at|with|weight(?: of)?|times|x) ?{_NUMBER}(%?)")
_REPOSITORY = re.compile(r"\bto [\"'“‘`]?(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)[\"'”’`]?")
_FORMS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("lora", "comfyui"), r"\bcomfy ?ui\b|\bworkflow\b"),
    (("diffusers",), r"\bdiffusers\b"),
    (("merged",), r"\bmerged?\b|\binto (?:one|a) (?:checkpoint|file)\b"),
    (("upstream",), r"\b(?:official|upstream)\b|\byaml\b"),
    (("card",), r"\b(?:model )?card\b"),
)
_SAID = r"(?: is|:|=)? [\"“]?([\w.+ -]+?)[\"”]?(?=[,;.]?(?:$|,| and ))"
_LICENCES = {
    "base_licence": rf"\bbase(?: model)?(?:'s)? licen[cs]e{_SAID}",
    "data_licence": rf"\bdata(?:set)?(?:'s)? licen[cs]e{_SAID}",
}


def doctor_values(words: str) -> dict[str, Any]:
    """Arguments of examine_adapter."""
    files, run = files_in(words), _RUN.search(words)
    return {"file": files[0]} if files else {"run": run["run"]} if run else {}


def compare_values(words: str) -> dict[str, Any]:
    """Arguments of compare_adapters: two files, or one against the newest; empty where none is named."""
    files = files_in(words)
    if not files:
        return {}
    first, second = (files[0], files[1]) if len(files) > 1 else (NEWEST, files[0])
    return {"first": first, "second": second}


def edit_values(words: str) -> dict[str, Any]:
    """Arguments of edit_adapter; empty where no change is named."""
    text = words.lower()
    named = _AS_FILE.search(words)
    files = [file for file in files_in(words) if named is None or file != named["file"]]
    values: dict[str, Any] = {}
    if re.search(r"\b(?:merge|mix|blend|add)\b", text) and files:
        weight = _WEIGHT.search(re.sub(_FILE, " ", words))
        share = _share(weight[1], weight[2]) if weight else 1.0
        *first, added = files
        values["merge"] = {added: share}
        files = first
    scale = _scale(text)
    if scale:
        values["scale"] = scale
    rank = _RANK.search(text)
    if rank:
        values["rank"] = int(rank[1])
    if not values:
        return {}
    values["file"] = files[0] if files else NEWEST
    values["output"] = named["file"] if named else _new_name(values)
    return values


def is_edit(text: str) -> bool:
    """Whether lower-case `text` changes an adapter's weights rather than what shall be trained."""
    about = re.search(rf"\b(?:from|of|in|on)\b[^.]*\b{_ADAPTER}\b", text) or ".safetensors" in text
    merged = re.search(rf"\b(?:merge|mix|blend)\b[^.]*\b(?:{_ADAPTER}|loras|adapters)\b", text)
    if ".safetensors" in text and _RANK.search(text):
        return True
    return bool(merged or (about and (_STRIP.search(text) or _SCALE.search(text) or _HALVE.search(text))))


def sample_values(words: str) -> dict[str, Any]:
    """Arguments of sample_adapter."""
    text = words.lower()
    values: dict[str, Any] = {}
    prompts = [quoted for quoted in _QUOTED.findall(words) if not quoted.endswith(".safetensors")]
    if prompts:
        values["prompts"] = prompts
    weight = re.search(rf"\b(?:weight|strength)(?: of)? ?{_NUMBER}(%?)|\bat {_NUMBER}(%?)(?: weight| strength)", text)
    if weight:
        values["weight"] = _share(weight[1] or weight[3], weight[2] or weight[4])
    seed, steps = re.search(r"\bseed (\d+)", text), re.search(r"\b(\d+) (?:sampling |denoising )?steps\b", text)
    values |= {"seed": int(seed[1])} if seed else {}
    values |= {"steps": int(steps[1])} if steps else {}
    if re.search(r"\b(?:without|no) (?:the )?base\b|\badapter (?:alone|only)\b", text):
        values["base"] = False
    files = files_in(words)
    return values | ({"adapters": files} if files else {})


def export_values(words: str) -> dict[str, Any]:
    """Arguments of export_adapter."""
    text = words.lower()
    values: dict[str, Any] = {}
    forms = [form for named, pattern in _FORMS if re.search(pattern, text) for form in named]
    if forms:
        values["forms"] = forms
    if re.search(r"\b(?:again|anew|overwrite|once more|over the old)\b", text):
        values["overwrite"] = True
    for name, pattern in _LICENCES.items():
        said = re.search(pattern, words, re.IGNORECASE)
        if said:
            values[name] = said[1].strip()
    return values


def push_values(words: str) -> dict[str, Any]:
    """Arguments of push_to_hub."""
    repository = _REPOSITORY.search(words)
    values: dict[str, Any] = {"repo_id": repository["repo"]} if repository else {}
    public = re.search(r"\b(?:public|everybody|everyone)\b", words.lower())
    hidden = re.search(r"\bnot? (?:be )?public\b|\bprivate\b", words.lower())
    return values | ({"public": True} if public and not hidden else {})


def resume_values(words: str, numbers: dict[str, list[Any]]) -> dict[str, Any]:
    """Arguments of resume_training; `numbers` are those that stand with a value's name."""
    values: dict[str, Any] = {name: numbers[name][-1] for name in ("steps", "learning_rate") if name in numbers}
    back = re.search(r"\b(?:from|at|back to) (?:step|checkpoint) ?(\d+)", words.lower())
    if back:
        values["from_step"] = int(back[1])
        if numbers.get("steps") == [int(back[1])]:
            values.pop("steps")
    run = _RUN.search(words)
    return values | ({"run": run["run"]} if run else {})


def files_in(words: str) -> list[str]:
    """The adapter files that `words` spell out, in order, each once."""
    found = [match["quoted"] or match["bare"] for match in _FILE.finditer(words)]
    return list(dict.fromkeys(found))


def _scale(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    plain = re.sub(_FILE, " ", text)
    for pattern, factor in ((_STRIP, 0.0), (_HALVE, 0.5)):
        match = pattern.search(plain)
        if match:
            found[_branch(match["branch"])] = factor
    scaled = _SCALE.search(plain)
    if scaled:
        found[_branch(scaled["branch"])] = _share(scaled[2], scaled[3])
    return found


def _branch(word: str) -> str:
    return "cross" if word.startswith("cross") else _BRANCHES.get(word, word)


def _share(number: str, percent: str) -> float:
    return float(number) / (100 if percent else 1)


def _new_name(values: dict[str, Any]) -> str:
    """A name that says what was done; its folder is the project's."""
    parts = [
        f"no-{branch}" if factor == 0 else f"{branch}-x{factor:g}" for branch, factor in values.get("scale", {}).items()
    ]
    parts += [f"with-{PurePath(path).stem}" for path in values.get("merge", {})]
    parts += [f"rank-{values['rank']}"] if "rank" in values else []
    stem = "adapter" if values["file"] == NEWEST else PurePath(values["file"]).stem
    return f"{stem}-{'-'.join(parts)}.safetensors"
