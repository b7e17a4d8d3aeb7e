"""The API's documentation as one page that needs nothing from elsewhere: it reads `/openapi.json` and lays it out."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Doorbuster API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
details { border: 1px solid #8886; border-radius: .4rem; margin: .4rem 0; padding: .3rem .8rem; }
summary { cursor: pointer; } code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; background: #8881; padding: .6rem; border-radius: .3rem; }
b.method { display: inline-block; min-width: 4.5rem; } .muted { opacity: .7; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top; }
</style></head><body>
<h1>Doorbuster API</h1><p id="about"></p>
<p><a href="/openapi.json">openapi.json</a></p><main id="operations">Loading</main>
<script>
const make = (name, text, parent) => {
  const node = document.createElement(name); if (text) node.textContent = text;
  if (parent) parent.append(node); return node;
};
const resolve = (doc, schema, depth = 0) => {
  if (!schema || depth > 8) return schema;
  if (schema.$ref) return resolve(doc, schema.$ref.split("/").slice(1).reduce((at, part) => at[part], doc), depth + 1);
  if (Array.isArray(schema)) return schema.map(each => resolve(doc, each, depth + 1));
  if (typeof schema !== "object") return schema;
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, resolve(doc, value, depth + 1)]));
};
const show = (doc, title, content, parent) => {
  if (!content) return;
  for (const [type, media] of Object.entries(content)) {
    if (!media.schema) continue;
    const box = make("details", "", parent); make("summary", `${title} (${type})`, box);
    make("pre", JSON.stringify(resolve(doc, media.schema), null, 2), box);
  }
};
fetch("/openapi.json").then(answer => answer.json()).then(doc => {
  document.getElementById("about").textContent = doc.info.description;
  const main = document.getElementById("operations"); main.textContent = "";
  const groups = new Map();
  for (const [path, methods] of Object.entries(doc.paths))
    for (const [method, operation] of Object.entries(methods)) {
      const tag = (operation.tags || ["Other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push([method.toUpperCase(), path, operation]);
    }
  for (const [tag, operations] of groups) {
    make("h2", tag, main);
    for (const [method, path, operation] of operations) {
      const box = make("details", "", main), head = make("summary", "", box);
      make("b", method, head).className = "method"; make("code", path, head);
      make("span", "  " + operation.summary, head).className = "muted";
      make("p", operation.description, box);
      for (const each of operation.parameters || [])
        make("p", `${each.name} (${each.in}${each.required ? ", required" : ""}) ${each.description || ""}`, box);
      show(doc, "Request body", (operation.requestBody || {}).content, box);
      const table = make("table", "", box);
      for (const [status, response] of Object.entries(operation.responses)) {
        const row = make("tr", "", table); make("th", status, row); make("td", response.description, row);
        if (status < 300) show(doc, `Answer ${status}`, response.content, box);
      }
    }
  }
});
</script></body></html>
"""


def docs_router() -> APIRouter:
    """Return the router of the page."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs", response_class=HTMLResponse)
    async def docs() -> HTMLResponse:
        return HTMLResponse(_PAGE)

    return router
