"""The report page's HTML and style: one file without scripts, read on a phone, in the dark and on paper."""

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --card: #f6f7f8; --ink: #1b1f24; --muted: #5d6670; --line: #dde1e5; --link: #0b5cad; --accent: #c8500a; --warn: #fff4e5; --warn-line: #e0a458; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171a; --card: #1d2125; --ink: #e8eaed; --muted: #a3abb4; --line: #343a40; --link: #7db7f5; --accent: #ff9557; --warn: #33281a; --warn-line: #8a6430; }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; overflow-wrap: break-word; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header, footer { max-width: 76rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.5rem; }
h1 { font-size: clamp(1.6rem, 4.5vw, 2.3rem); line-height: 1.15; margin: 0 0 .5rem; letter-spacing: -.015em; }
h2 { font-size: 1.4rem; line-height: 1.25; margin: 3.2rem 0 .8rem; padding-top: 1rem; border-top: 2px solid var(--ink); }
h3 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: var(--link); text-underline-offset: .15em; }
.lead { font-size: 1.1rem; }
.muted, .files, .notes, figcaption { color: var(--muted); }
nav { margin: 1.4rem 0 0; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; font-size: .95rem; }
.mark { display: inline-block; font-size: .72rem; font-weight: 600; line-height: 1.5; padding: 0 .5em; border: 1px solid currentColor; border-radius: .4em; white-space: nowrap; vertical-align: .1em; }
.banner { background: var(--warn); border-left: 4px solid var(--warn-line); padding: .7rem 1rem; margin: 1.2rem 0; border-radius: 0 .4rem .4rem 0; }
.banner p, .banner ul { margin: .2rem 0; max-width: none; }
.banner ul { padding-left: 1.2rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(14.5rem, 1fr)); gap: .9rem; margin: 1.2rem 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .7rem; padding: .9rem 1.1rem; }
.card h3 { margin: 0 0 .2rem; }
.card p { margin: .15rem 0; font-size: .92rem; }
.big { font-size: 1.9rem !important; font-weight: 650; letter-spacing: -.02em; line-height: 1.2; font-variant-numeric: tabular-nums; }
.big small { display: inline-block; font-size: .85rem; font-weight: 400; letter-spacing: 0; color: var(--muted); }
figure { margin: 1.4rem 0; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line); border-radius: .5rem; }
figcaption { font-size: .92rem; margin: 0 0 .5rem; }
figure.picture figcaption { margin: .45rem 0 0; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
.scroll:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: separate; border-spacing: 0; min-width: min(100%, 36rem); font-size: .84rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .4rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 0; }
thead th { background: var(--card); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; position: sticky; left: 0; background: var(--paper); min-width: 6.5rem; }
thead th:first-child { position: sticky; left: 0; z-index: 1; text-align: left; }
td.text { min-width: 6.5rem; }
.score, .count, .value { text-align: right; }
.value { white-space: nowrap; }
td.absent { font-style: italic; color: var(--muted); }
td.score { white-space: nowrap; }
td small { display: block; color: var(--muted); font-size: .72rem; }
td strong { color: var(--accent); }
tbody tr:hover > * { background: var(--card); }
.notes { font-size: .82rem; padding-left: 1.1rem; margin: .5rem 0; max-width: 60rem; }
.files { font-size: .85rem; margin: .35rem 0 0; max-width: none; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.1rem; margin: .8rem 0; font-size: .92rem; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { margin-top: 3.5rem; padding-top: 1.2rem; padding-bottom: 3rem; border-top: 1px solid var(--line); color: var(--muted); font-size: .88rem; }
@media (max-width: 34rem) {
  body { font-size: 15px; }
  .mark { white-space: normal; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; }
  tbody th { min-width: 7rem; max-width: 8rem; overflow-wrap: anywhere; }
}
@media print {
  @page { size: A4; margin: 14mm 12mm 16mm; }
  :root { --paper: #fff; --card: #fff; --ink: #000; --muted: #444; --line: #bbb; --link: #000; --accent: #000; --warn: #fff; --warn-line: #000; }
  html { font-size: 9pt; }
  body { font-size: 9pt; line-height: 1.4; }
  main, header, footer { max-width: none; padding-left: 0; padding-right: 0; }
  header { padding-top: 0; }
  nav, .files { display: none; }
  a { text-decoration: none; }
  h2 { break-after: avoid; margin-top: 1.6rem; }
  h3, figcaption { break-after: avoid; }
  section.dataset { break-before: page; }
  section.dataset h2 { margin-top: 0; }
  figure.picture, .card, .banner, .keep, tr { break-inside: avoid; }
  figure.picture { text-align: center; }
  figure.picture figcaption { text-align: left; }
  figure img { border: 0; max-height: 195mm; max-width: 165mm; width: auto; margin: 0 auto; filter: none; }
  .scroll { overflow: visible; border: 0; border-top: 1.2pt solid #000; border-bottom: 1.2pt solid #000; border-radius: 0; }
  table { font-size: 6.6pt; width: 100%; }
  th, td { padding: 1.6pt 2.6pt; }
  thead th { border-bottom: .8pt solid #000; }
  thead { display: table-header-group; }
  tbody th, thead th:first-child, td.text { position: static; min-width: 0; }
  td small { font-size: 5.2pt; }
  .notes { font-size: 7pt; }
  .cards { grid-template-columns: repeat(auto-fit, minmax(52mm, 1fr)); }
  .big { font-size: 15pt !important; }
}
"""

TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style }}</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
<p class="lead">{{ lead }}</p>
{%- if banner %}
<div class="banner">
<p>{{ banner }}</p>
</div>
{%- endif %}
{%- if warnings %}
<div class="banner">
<p><strong>Warnings</strong></p>
<ul>{% for warning in warnings %}<li>{{ warning }}</li>{% endfor %}</ul>
</div>
{%- endif %}
<nav aria-label="Contents">
{%- for id, name in contents %}
<a href="#{{ id }}">{{ name }}</a>
{%- endfor %}
</nav>
</header>
<main>
{%- if cards or claims %}
<section id="results">
<h2>Results at a glance</h2>
{%- if cards %}
<div class="cards">
{%- for card in cards %}
<div class="card">
<h3><a href="#{{ card.id }}">{{ card.title }}</a> <span class="mark">{{ card.mark }}</span></h3>
<p class="big">{{ card.number }} <small>mDice of {{ card.reference }}, {{ card.interval }}</small></p>
{%- for line in card.lines %}
<p>{{ line }}</p>
{%- endfor %}
</div>
{%- endfor %}
</div>
{%- endif %}
{%- for table in overview %}
{{ table }}
{%- endfor %}
{%- if claims %}
<h3>The paper's claims beside what we measured</h3>
{{ claims }}
{%- endif %}
<h3>Marks</h3>
<dl>
{%- for mark, meaning in marks %}
<dt><span class="mark">{{ mark }}</span></dt><dd>{{ meaning }}</dd>
{%- endfor %}
</dl>
</section>
{%- endif %}
{%- if held %}
<section id="datasets">
<h2>The data sets</h2>
{{ held }}
</section>
{%- endif %}
{%- for set in datasets %}
<section id="{{ set.id }}" class="dataset">
<h2>{{ set.title }} <span class="mark">{{ set.mark }}</span></h2>
{%- if set.facts %}
<dl>
{%- for name, value in set.facts %}
<dt>{{ name }}</dt><dd>{{ value }}</dd>
{%- endfor %}
</dl>
{%- endif %}
{%- for part in set.parts %}
<div{% if part.together %} class="keep"{% endif %}>
<h3>{{ part.title }}</h3>
{{ part["items"][0] }}
</div>
{%- for item in part["items"][1:] %}
{{ item }}
{%- endfor %}
{%- endfor %}
{%- if set.files %}
<p class="files">{{ set.files }}</p>
{%- endif %}
</section>
{%- endfor %}
{%- for table in extra %}
{%- if loop.first %}
<section id="further">
<h2>Further tables and figures</h2>
{%- endif %}
{{ table }}
{%- if loop.last %}
</section>
{%- endif %}
{%- endfor %}
{%- if runs %}
<section id="made">
<h2>How each number was made</h2>
<p>Each row is one training. Its record names the code, settings, seed, images and machine; the scores have one row an image.
Every table and figure carries the id of its own record, in the JSON file beside it.</p>
{{ runs }}
</section>
{%- endif %}
{%- if machine %}
<section id="machine">
<h2>Machine and time</h2>
<dl>
{%- for name, value in machine %}
<dt>{{ name }}</dt><dd>{{ value }}</dd>
{%- endfor %}
</dl>
</section>
{%- endif %}
</main>
<footer>
<p>EHANet: Tang, Zhao, Pertsau, Gourinovitch, Kupryianava, Edge-guided and hierarchical aggregation network for robust medical image
segmentation, Biomedical Signal Processing and Control 101:107202, 2025, doi 10.1016/j.bspc.2024.107202.</p>
<p>{{ licence }}</p>
</footer>
</body>
</html>
"""
