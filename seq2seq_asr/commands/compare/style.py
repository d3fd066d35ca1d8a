"""Style sheet and script of the report: no library, no network, light and dark."""

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --paper: #fdfdfc; --ink: #1d2126; --quiet: #626a73; --rule: #e2e4e6; --soft: #f3f4f3;
  --good: #1d6b45; --bad: #a8381f; --c0: #1f5fa8; --c1: #d9722e; --c2: #2b8a5d; --c3: #8458a6; --c4: #b0324b;
  --c5: #7a6a2f; --c6: #1b8a99; --c7: #5f6670; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181b; --ink: #e4e6e8; --quiet: #99a1a9; --rule: #30353a;
  --soft: #1d2125; --good: #69c296; --bad: #ef8a6f; --c0: #6ea8ea; --c1: #f09a5f; --c2: #64c195; --c3: #b992da;
  --c4: #e87d92; --c5: #c8b568; --c6: #5cc6d4; --c7: #a3abb3; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 5rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; font-variant-numeric: tabular-nums; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 3rem 0 .4rem; padding-top: .8rem; border-top: 1px solid var(--rule); }
h3 { font-size: .95rem; margin: 1.4rem 0 .2rem; }
p { max-width: 46rem; margin: .5rem 0; }
.quiet, figcaption, .legend, footer { color: var(--quiet); font-size: .88rem; }
.answer { font-size: 1.12rem; margin: 1.1rem 0 1.4rem; }
code, pre { font: .86em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; background: var(--soft);
  border-radius: 4px; }
code { padding: .1em .3em; overflow-wrap: anywhere; } pre { padding: .8rem 1rem; overflow-x: auto; white-space: pre; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .88rem; margin: .6rem 0; }
th, td { padding: .34rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { color: var(--quiet); font-weight: 500; vertical-align: bottom; }
th:first-child, td:first-child, .words { text-align: left; } td.words { white-space: normal; min-width: 11rem; }
table.sortable th { cursor: pointer; } table.sortable th:hover, table.sortable th[aria-sort] { color: var(--ink); }
th[aria-sort=ascending]::after { content: " \\2191"; } th[aria-sort=descending]::after { content: " \\2193"; }
tr.best td { background: var(--soft); font-weight: 600; } .worse { color: var(--bad); }
.best .words { color: var(--good); }
tr:target td { outline: 2px solid var(--c0); outline-offset: -2px; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: .4rem 1.2rem;
  margin: .6rem 0; }
figure { margin: 0; } .panel { max-width: 32rem; } figcaption { font-weight: 500; margin: .3rem 0; }
svg { display: block; width: 100%; height: auto; font: 12.5px system-ui, sans-serif; } svg text { fill: var(--quiet); }
svg.forest { font-size: 13px; margin: .8rem 0; } svg a:hover text { text-decoration: underline; }
.forest .name { fill: var(--ink); } .name.faded { fill: var(--quiet); }
.grid { stroke: var(--rule); } .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; } .band { opacity: .14; }
.line.d1 { stroke-dasharray: 7 3; } .line.d2 { stroke-dasharray: 2 3; }
.whisker { stroke: var(--c0); stroke-width: 2; } .mean { fill: var(--c0); } .seed { stroke: var(--c0); opacity: .6; }
.whisker.faded, .seed.faded { stroke: var(--c7); } .mean.faded { fill: var(--c7); }
.legend span { margin-right: 1.2rem; white-space: nowrap; }
.swatch { display: inline-block; width: .85em; height: .85em; border-radius: 50%; margin-right: .4em;
  vertical-align: -.08em; background: currentColor; }
.swatch.d1, .swatch.d2 { background: none; border: 2px dashed; } .swatch.d2 { border-style: dotted; }
.looks { display: grid; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); gap: 1rem 1.2rem; }
.looks img { width: 100%; height: 8.5rem; image-rendering: pixelated; border-radius: 3px; display: block; }
.looks .none { height: 8.5rem; display: grid; place-items: center; background: var(--soft); border-radius: 3px;
  color: var(--quiet); font-size: .85rem; padding: 1rem; text-align: center; }
.looks figcaption { margin: .1rem 0 .3rem; color: var(--ink); } .said { font-size: .85rem; margin: .25rem 0 0; }
""" + "".join(
    f".line.c{n} {{ stroke: var(--c{n}); }} circle.c{n}, .band.c{n} {{ fill: var(--c{n}); }} "
    f".swatch.c{n} {{ color: var(--c{n}); }}\n"
    for n in range(8)
)

SCRIPT: Final = """
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const order = (a, b) => isNaN(key(a)) || isNaN(key(b)) ? key(a).localeCompare(key(b)) : key(a) - key(b);
    const body = table.tBodies[0];
    [...body.rows].sort((a, b) => up ? order(a, b) : order(b, a)).forEach(row => body.append(row));
  }));
}
"""
