"""The report's style sheet: light and dark, no fonts or images from anywhere."""

STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#17202b;--soft:#5c6877;--rule:#e2e6eb;
--good:#0b7a4b;--good-bg:#e3f5ec;--bad:#b3261e;--bad-bg:#fbe9e7;
--paid:#14633f;--looked:#a9b6c6;--declined:#b8459b;--held:#1f8a5f;--replayed:#7cc9a6;--sold-out:#e0803a;--refused:#5b7fd4;--error:#c62828}
@media (prefers-color-scheme:dark){:root{--page:#10151c;--card:#182029;--ink:#e6ebf1;--soft:#94a1b2;
--rule:#2a3541;--good:#6fd6a5;--good-bg:#12342a;--bad:#ff8a80;--bad-bg:#3b1a1a;
--paid:#2fa173;--looked:#3d4c5d;--declined:#d978c0;--held:#43c08c;--replayed:#2b6f55;--sold-out:#f09a5a;--refused:#86a5f0;--error:#ff6b6b}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
main{max-width:1180px;margin:0 auto;padding:40px 24px 64px;display:grid;gap:18px;
grid-template-columns:repeat(auto-fit,minmax(min(100%,500px),1fr))}
header,.cards,.wide{grid-column:1/-1}
.over{margin:0;color:var(--soft);font-size:13px}
h1{margin:2px 0 0;font-size:30px;line-height:1.2;letter-spacing:-.01em;overflow-wrap:anywhere}
.sub{margin:6px 0 18px;color:var(--soft)}
.verdict{margin:0;padding:14px 18px;border-radius:10px;font-size:18px;font-weight:600}
.good{background:var(--good-bg);color:var(--good)}
.bad{background:var(--bad-bg);color:var(--bad)}
.cards{margin:0;display:grid;gap:18px;grid-template-columns:repeat(auto-fit,minmax(200px,1fr))}
.card,section{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:16px 18px;min-width:0}
.card dt,.card p{margin:0;color:var(--soft);font-size:13px}
.card dd{margin:2px 0;font-size:26px;font-weight:650;letter-spacing:-.01em;font-variant-numeric:tabular-nums}
h2{margin:0 0 10px;font-size:15px;font-weight:600}
svg{display:block;width:100%;height:auto}
.grid{stroke:var(--rule);stroke-width:1}
.axis{stroke:var(--soft);stroke-width:1}
.tick,.label{fill:var(--soft);font-size:12px;font-variant-numeric:tabular-nums}
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.band{opacity:.9}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 16px;margin:8px 0 0;padding:0;
font-size:13px;color:var(--soft)}
.legend span{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:6px}
table{width:100%;border-collapse:collapse;font-size:14px}
th,td{text-align:left;padding:6px 0;border-top:1px solid var(--rule);font-weight:400;vertical-align:top}
tbody tr:first-child>*{border-top:0}
thead th{color:var(--soft)}
tbody th{color:var(--soft)}
td+td{padding-left:12px}
.num{text-align:right;font-variant-numeric:tabular-nums}
.mono{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12px;overflow-wrap:anywhere}
"""
