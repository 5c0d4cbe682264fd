"""Style sheet of report.html: light and dark by the reader's own setting, nothing from the network."""

STYLE = """
:root { color-scheme: light dark;
  --paper: #f6f5f1; --card: #ffffff; --ink: #1c1d20; --soft: #6a6b70; --faint: #67686d; --line: #e4e2db;
  --track: #eceae3; --accent: #1f7a8c; --accent-soft: #bfdde2; --good: #2a7049; --warn: #965800; --bad: #b3271e;
  --good-bg: #e3f1e8; --warn-bg: #fbeed6; --bad-bg: #fae3e0; --note-bg: #edecea;
  --shadow: 0 1px 2px #0000000d, 0 6px 20px #0000000a; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #131416; --card: #1c1d20; --ink: #ececea; --soft: #a3a4a9; --faint: #96979d; --line: #2e3035;
  --track: #2a2c31; --accent: #5cb8c9; --accent-soft: #24505a; --good: #77c998; --warn: #eeb25a; --bad: #ff8f84;
  --good-bg: #1c3326; --warn-bg: #3a2c14; --bad-bg: #431f1c; --note-bg: #2a2b2e; --shadow: none; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; }
body { margin: 0 auto; max-width: 78rem; padding: 2.6rem 1.5rem 5rem; background: var(--paper); color: var(--ink);
  font: 15px/1.55 ui-sans-serif, system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.9rem; letter-spacing: -.02em; line-height: 1.15; margin: 0 0 .25rem; font-weight: 680; }
h2 { font-size: 1.15rem; letter-spacing: -.01em; margin: 3rem 0 .9rem; font-weight: 650; }
h2 small { font-weight: 400; color: var(--soft); font-size: .86rem; margin-left: .5rem; letter-spacing: 0; }
h3 { font-size: .78rem; font-weight: 600; color: var(--soft); margin: 0 0 .45rem; text-transform: uppercase;
  letter-spacing: .05em; }
a { color: inherit; text-decoration-color: var(--faint); text-underline-offset: 2px; }
p { margin: .3rem 0; }
.soft { color: var(--soft); } .lead { color: var(--soft); overflow-wrap: anywhere; }
.panel { background: var(--card); border: 1px solid var(--line); border-radius: 14px; box-shadow: var(--shadow); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); margin: 1.6rem 0 0;
  overflow: hidden; gap: 1px; background: var(--line); }
.figures > div { background: var(--card); padding: 1rem 1.15rem 1.05rem; }
.figures b { display: block; font-size: 1.75rem; line-height: 1.15; font-weight: 640; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.figures b small { font-size: .95rem; font-weight: 500; color: var(--soft); letter-spacing: 0; }
.figures span { color: var(--soft); font-size: .86rem; }
.split { display: flex; height: 8px; border-radius: 4px; overflow: hidden; background: var(--track);
  margin: .8rem 0 .55rem; }
.split i { display: block; } .legend { display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; font-size: .84rem;
  color: var(--soft); } .legend i { display: inline-block; width: .62rem; height: .62rem; border-radius: 3px;
  margin-right: .4rem; }
.issues { list-style: none; margin: 0; padding: 0; overflow: hidden; }
.issues li { display: grid; grid-template-columns: 4.6rem 10rem 1fr; gap: .1rem 1rem; padding: .75rem 1.15rem;
  border-top: 1px solid var(--line); align-items: baseline; } .issues li:first-child { border-top: 0; }
.issues .what { font-weight: 600; } .issues .who { grid-column: 2 / -1; font-size: .86rem; color: var(--soft);
  overflow-wrap: anywhere; }
@media (max-width: 46rem) { .issues li { grid-template-columns: 4.6rem 1fr; } .issues .say { grid-column: 1 / -1; }
  .issues .who { grid-column: 1 / -1; } }
.chip { display: inline-block; font-size: .74rem; font-weight: 600; padding: .06rem .5rem; border-radius: 99px;
  white-space: nowrap; justify-self: start; align-self: start; margin-top: .12rem; }
.chip.good { color: var(--good); background: var(--good-bg); }
.chip.warn { color: var(--warn); background: var(--warn-bg); }
.chip.bad { color: var(--bad); background: var(--bad-bg); }
.chip.note { color: var(--soft); background: var(--note-bg); }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(15.5rem, 1fr)); gap: .9rem; }
.tile { padding: .95rem 1.1rem 1rem; min-width: 0; } ul.tile { list-style: none; margin: 0; }
.tile svg { display: block; width: 100%; }
.axis { display: flex; justify-content: space-between; font-size: .76rem; color: var(--faint);
  font-variant-numeric: tabular-nums; margin-top: .25rem; }
.bars { display: grid; grid-template-columns: auto 1fr auto; gap: .32rem .7rem; align-items: center; font-size: .86rem;
  font-variant-numeric: tabular-nums; } .bars i { display: block; height: 7px; border-radius: 4px;
  background: var(--accent); min-width: 3px; } .bars .n { color: var(--soft); text-align: right; }
.goals { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: .6rem; }
.goal { padding: .7rem .95rem; display: grid; grid-template-columns: 1fr auto; gap: 0 .8rem; align-items: baseline;
  align-content: start; }
.goal b { font-weight: 600; } .goal p { grid-column: 1 / -1; font-size: .84rem; color: var(--soft); margin: 0; }
.clip { margin-bottom: 1rem; overflow: hidden; scroll-margin-top: 1rem; }
.clip:target { outline: 2px solid var(--accent); outline-offset: 2px; }
.strip { display: block; width: 100%; height: auto; background: var(--track); max-height: 15rem; object-fit: contain; }
.none { display: grid; place-items: center; height: 4.2rem; color: var(--faint); background: var(--track);
  font-size: .86rem; }
.clip .text { padding: .85rem 1.15rem 1.05rem; } .head { display: flex; gap: .7rem; align-items: baseline; }
.name { font-weight: 640; overflow-wrap: anywhere; flex: 1; } .facts { color: var(--soft); font-size: .86rem;
  font-variant-numeric: tabular-nums; } .facts span:not(:last-child)::after { content: "·"; margin: 0 .45rem;
  color: var(--faint); }
.curves { display: grid; grid-template-columns: 4.2rem 1fr; gap: .2rem .8rem; align-items: center;
  margin: .75rem 0 .1rem; font-size: .76rem; color: var(--faint); } .curves svg { display: block; width: 100%; }
.flags { list-style: none; margin: .75rem 0 0; padding: 0; font-size: .88rem; display: grid; gap: .3rem; }
.flags li { display: grid; grid-template-columns: 4rem 1fr; gap: .7rem; } .flags .do { color: var(--soft); }
details > summary { cursor: pointer; color: var(--soft); font-size: .9rem; margin: .4rem 0 .8rem; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; font-variant-numeric: tabular-nums; }
td, th { text-align: left; padding: .42rem .8rem; border-top: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; } th { border-top: 0; color: var(--soft); font-weight: 500;
  white-space: nowrap; } td:first-child { min-width: 9rem; }
.scroll { overflow-x: auto; } footer { margin-top: 3.5rem; color: var(--faint); font-size: .82rem; }
@media print { body { max-width: none; } .clip, .tile { break-inside: avoid; } }
"""
