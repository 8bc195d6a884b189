"""The report's style sheet: light, dark and print, no external resource."""

CSS = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1a1f26; --soft: #55606d;
  --line: #d5dbe2; --panel: #f4f6f8; --warn: #fff3d6; --warn-line: #b26a00; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --ink: #eef1f5; --soft: #aab4c0;
  --line: #38414c; --panel: #1d2229; --warn: #3a2c0c; --warn-line: #ffc24b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0.4rem 0 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0.6rem; border-bottom: 1px solid var(--line); }
p { margin: 0.4rem 0; } .soft { color: var(--soft); }
.disclaimer { background: #ffc24b; color: #14171c; font-weight: 700; padding: 0.4rem 0.8rem;
  border-radius: 0.3rem; display: inline-block; }
.warnings { background: var(--warn); border-left: 0.35rem solid var(--warn-line);
  padding: 0.6rem 1rem; margin: 1rem 0; border-radius: 0.3rem; }
.warnings h2 { margin: 0; border: 0; font-size: 1.05rem; }
.warnings ul { margin: 0.3rem 0; padding-left: 1.2rem; }
.figures { display: flex; flex-wrap: wrap; gap: 0.8rem; padding: 0; margin: 1rem 0; }
.figures div { background: var(--panel); border: 1px solid var(--line); border-radius: 0.4rem;
  padding: 0.6rem 1rem; flex: 1 1 9rem; }
.figures dt { color: var(--soft); font-size: 0.9rem; }
.figures dd { margin: 0; font-size: 1.35rem; font-weight: 650; white-space: nowrap; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.95rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); font-size: 0.92rem; padding: 0.2rem 0; }
th, td { padding: 0.35rem 0.45rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; overflow-wrap: normal; }
th { font-weight: 600; } thead th { color: var(--soft); vertical-align: bottom; }
td { white-space: nowrap; } .facts td { white-space: normal; }
tbody th, thead th:first-child { text-align: left; overflow-wrap: anywhere;
  min-width: 9.5rem; }
tr.total th, tr.total td { font-weight: 700; border-top: 2px solid var(--line); }
.facts th { width: 30%; color: var(--soft); font-weight: 500; }
.facts td { text-align: left; overflow-wrap: anywhere; }
.swatch { display: inline-block; width: 0.85rem; height: 0.85rem; margin-right: 0.5rem;
  border: 1px solid var(--line); border-radius: 0.15rem; vertical-align: -0.1rem;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
figure { margin: 0.6rem 0; } figure img, figure svg { width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: 0.92rem; }
svg text { fill: var(--soft); font: 13px system-ui, "Segoe UI", Roboto, sans-serif; }
svg .axis { stroke: var(--soft); stroke-width: 1; fill: none; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .lung { fill: none; stroke: var(--soft); }
svg .mark { stroke: var(--page); stroke-width: 1.6; fill: none; } svg .dot { fill: var(--page); }
svg .all { fill: var(--soft); } svg .name { fill: var(--ink); }
svg .gate { fill: none; stroke: var(--ink); stroke-width: 1.8; }
svg .threshold, svg .segment-above { stroke: var(--warn-line); stroke-width: 1.3; }
svg .threshold { stroke-dasharray: 7 4; } svg .segment-above { stroke-dasharray: 2 4; }
svg .left-out { fill: var(--line); opacity: 0.55; }
.score { font-size: 1.1rem; }
details { margin: 0.6rem 0; } summary { cursor: pointer; }
@media print { :root { --page: #ffffff; --ink: #000000; --soft: #444444; --line: #bbbbbb;
  --panel: #f4f4f4; --warn: #fff3d6; --warn-line: #b26a00; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  h2 { break-after: avoid; } figure, table, .warnings, .figures { break-inside: avoid; }
  .disclaimer { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .wide { overflow: visible; } details:not([open]) { display: none; } }
"""
