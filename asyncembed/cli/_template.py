"""The page of a report, with `$name` where something is put in."""

from __future__ import annotations

from typing import Final

MARK: Final = '<meta name="generator" content="asyncembed">'
"""What tells a report from any other page."""

PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
$mark
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2330; --faint: #667085; --line: #e3e7ee;
  --series0: #1b62c4; --series1: #c2570c; --limit: #667085; --good: #12704a; --bad: #b3261e; --tile: #f5f7fa; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181f; --ink: #e6e9ef; --faint: #98a2b3; --line: #2b323d;
  --series0: #6ea8fe; --series1: #f4a259; --limit: #98a2b3; --good: #57c797; --bad: #ff8a80; --tile: #1c222b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px 20px 40px; max-width: 1400px; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 22px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 16px; margin: 28px 0 8px; }
.outcome { font-weight: 600; color: var(--bad); }
.outcome.good { color: var(--good); }
.tiles { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); margin: 16px 0; }
.tile { background: var(--tile); border-radius: 8px; padding: 10px 14px; }
.tile b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; }
.tile span, small, footer { color: var(--faint); }
.charts, .tables { display: grid; gap: 20px; grid-template-columns: repeat(auto-fit, minmax(min(480px, 100%), 1fr)); }
figure { margin: 0; border: 1px solid var(--line); border-radius: 8px; padding: 12px; }
figcaption { font-weight: 600; margin-bottom: 6px; }
figcaption small { font-weight: 400; margin-right: 12px; }
svg { display: block; width: 100%; height: auto; }
.grid { stroke: var(--line); }
.tick { fill: var(--faint); font-size: 12px; }
polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
polyline.series0 { stroke: var(--series0); }
polyline.series1 { stroke: var(--series1); stroke-dasharray: 1 3; stroke-linecap: round; stroke-width: 3; }
polyline.limit { stroke: var(--limit); stroke-dasharray: 6 5; stroke-width: 1.5; }
.key { font-weight: 400; margin-right: 12px; white-space: nowrap; }
.key::before { content: ""; display: inline-block; width: 18px; margin-right: 6px; vertical-align: middle;
  border-top: 3px solid var(--series0); }
.key.series1::before { border-top: 3px dotted var(--series1); }
.key.limit::before { border-top: 2px dashed var(--limit); }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 400; color: var(--faint); padding: 4px 16px 4px 0; vertical-align: top;
  white-space: nowrap; }
td { padding: 4px 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
tr { border-bottom: 1px solid var(--line); }
footer { margin-top: 28px; font-size: 13px; }
</style>
<h1>$title</h1>
<div class="outcome $outcome_class">$outcome</div>
<div class="tiles">$tiles</div>
<div class="charts">$charts</div>
<div class="tables">
<section><h2>Totals</h2><table>$totals</table></section>
<section><h2>Settings</h2><table>$settings</table></section>
</div>
<footer>$footer</footer>
</html>
"""
