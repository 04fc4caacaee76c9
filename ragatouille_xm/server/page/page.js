// The search page. All that comes from an index is put into the page as text, never as markup.

const $ = (id) => document.getElementById(id);
const KEY = "ragatouille-xm-key"; // of sessionStorage: forgotten with the tab
const NEIGHBOURS = 2;
const RANGE_ENDS = { $gte: "from", $lte: "to" };

let latest = 0; // number of the last search: an answer to an earlier one is dropped

async function ask(path, body) {
  const headers = { "Content-Type": "application/json" };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  let answer;
  try {
    answer = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
  } catch {
    throw new Error("The service cannot be reached. Is it running?");
  }
  const found = await answer.json().catch(() => ({}));
  if (answer.ok) return found;
  $("key-form").hidden = answer.status !== 401;
  throw new Error(found.detail ?? `The service answers with status ${answer.status}.`);
}

function say(message, isError = false) {
  $("status").textContent = message;
  $("status").classList.toggle("error", isError);
}

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

// ---- the state of the page is its address

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  $("query").value = given.get("query") ?? "";
  $("k").value = given.get("k") ?? 10;
  $("language").value = given.get("language") ?? "";
  $("hybrid").checked = given.has("hybrid");
  $("group").checked = given.has("group");
  return given;
}

function writeAddress() {
  const state = new URLSearchParams();
  for (const name of ["query", "language"]) if ($(name).value) state.set(name, $(name).value);
  if ($("index").selectedIndex > 0) state.set("index", $("index").value);
  if ($("k").value !== "10") state.set("k", $("k").value);
  for (const name of ["hybrid", "group"]) if ($(name).checked) state.set(name, "1");
  for (const field of $("fields").querySelectorAll("[data-field]")) {
    if (field.value) state.set(field.dataset.op ? `${field.name}.${field.dataset.op}` : field.name, field.value);
  }
  const hash = `#${state}`;
  if (hash !== location.hash) history.pushState(null, "", hash);
}

// ---- filters

async function loadIndex(given) {
  const name = $("index").value;
  const described = await ask(`v1/indexes/${encodeURIComponent(name)}`);
  const language = $("language").value || given?.get("language") || "";
  const known = Object.entries(described.languages);
  $("language").replaceChildren(new Option("detect", ""), ...known.map(([code]) => new Option(nameOf(code), code)));
  $("language").value = language;
  $("hybrid-label").hidden = !described.lexical;
  const { fields } = await ask(`v1/indexes/${encodeURIComponent(name)}/fields`);
  const languageField = { name: "passage.language", label: "language", values: known.map(([value, n]) => [value, n]) };
  const controls = [...(known.length > 1 ? [chooser(languageField)] : []), ...fields.flatMap(controlsOf)];
  $("fields").replaceChildren(...controls);
  $("filters").hidden = controls.length === 0;
  for (const field of $("fields").querySelectorAll("[data-field]")) {
    const value = given?.get(field.dataset.op ? `${field.name}.${field.dataset.op}` : field.name);
    if (value) {
      field.value = value;
      $("filters").open = true;
    }
  }
}

function controlsOf(field) {
  const values = field.values.map(({ value, passages }) => [value, passages]);
  if (field.distinct <= field.values.length) return [chooser({ ...field, label: field.name, values })];
  if (field.least === null) return [];
  return Object.entries(RANGE_ENDS).map(([op, word]) => {
    const input = document.createElement("input");
    Object.assign(input, { type: "number", step: "any", name: `metadata.${field.name}` });
    input.placeholder = op === "$gte" ? field.least : field.greatest;
    Object.assign(input.dataset, { field: field.name, op });
    return labelled(`${field.name} ${word}`, input);
  });
}

function chooser({ name, label, values }) {
  const select = document.createElement("select");
  select.name = name.startsWith("passage.") ? name : `metadata.${name}`;
  select.dataset.field = name;
  select.append(new Option("any", ""));
  for (const [value, n] of values) select.append(new Option(`${shown(value)} (${n})`, JSON.stringify(value)));
  return labelled(label, select);
}

function labelled(text, control) {
  const label = element("label", `${text} `);
  label.append(control);
  return label;
}

function filter() {
  const conditions = {};
  for (const field of $("fields").querySelectorAll("[data-field]")) {
    if (!field.value) continue;
    if (field.dataset.op) (conditions[field.name] ??= {})[field.dataset.op] = Number(field.value);
    else conditions[field.name] = { $eq: JSON.parse(field.value) };
  }
  return Object.keys(conditions).length ? conditions : null;
}

// ---- searching

async function search() {
  if (!$("index").value) return; // the page is not ready, and will search once it is
  const query = $("query").value;
  const mine = ++latest;
  const conditions = filter();
  if (!query.trim() && !conditions) {
    $("results").replaceChildren();
    say("");
    return;
  }
  say("Searching…");
  const asked = { query, k: Number($("k").value), explain: Boolean(query.trim()), filter: conditions, context: NEIGHBOURS };
  if ($("language").value) asked.language = $("language").value;
  if ($("hybrid").checked) asked.hybrid = true;
  if ($("group").checked) asked.group_by_document = true;
  try {
    const start = performance.now();
    const { results } = await ask(`v1/indexes/${encodeURIComponent($("index").value)}/search`, asked);
    if (mine !== latest) return;
    const took = Math.round(performance.now() - start);
    $("results").replaceChildren(...results.map(show));
    const language = results[0]?.query_language;
    const through = language ? `, through the adapter of ${nameOf(language)}` : "";
    say(results.length ? `${results.length} results in ${took} ms${through}` : "Nothing was found.");
    document.title = query ? `${query} – Search` : "Search";
  } catch (error) {
    if (mine !== latest) return;
    $("results").replaceChildren();
    say(error.message, true);
  }
}

function show(result) {
  const item = $("result").content.firstElementChild.cloneNode(true);
  const part = (name) => item.querySelector(`.${name}`);
  part("document").textContent = result.document_id;
  part("language").textContent = nameOf(result.language);
  item.querySelector("meter").value = result.relevance;
  part("relevance").textContent = `${Math.round(100 * result.relevance)} %`;
  item.querySelector("meter").title = `relevance ${result.relevance.toFixed(2)}, score ${result.score.toFixed(2)}`;
  part("text").lang = result.language;
  part("text").replaceChildren(...highlighted(result));
  for (const [name, value] of Object.entries(result.document_metadata ?? {})) {
    const pair = document.createElement("div");
    pair.append(element("dt", name), element("dd", shown(value)));
    part("metadata").append(pair);
  }
  const others = result.other_passages ?? [];
  part("others").hidden = others.length === 0;
  part("others").querySelector("summary").textContent = `${others.length} more of this document`;
  part("others").querySelector("ul").replaceChildren(...others.map((other) => {
    const entry = document.createElement("li");
    entry.dir = "auto";
    entry.append(...highlighted(other));
    return entry;
  }));
  if (result.context_before.length + result.context_after.length === 0) part("neighbours").remove();
  else part("neighbours").addEventListener("click", () => showNeighbours(result, item));
  return item;
}

function highlighted({ content, evidence }) {
  const characters = Array.from(content); // offsets count code points, strings of JavaScript count halves of some
  const pieces = [];
  let end = 0;
  for (const span of evidence?.highlights ?? []) {
    pieces.push(characters.slice(end, span.start).join(""));
    const mark = element("mark", characters.slice(span.start, span.end).join(""));
    mark.title = `similarity ${span.similarity.toFixed(2)}`;
    pieces.push(mark);
    end = span.end;
  }
  return [...pieces, characters.slice(end).join("")];
}

function showNeighbours(result, item) {
  const beside = (texts) => texts.map((text) => element("span", text, "beside"));
  const [before, after] = [beside(result.context_before), beside(result.context_after)];
  const pieces = [...before.flatMap((piece) => [piece, "\n"]), ...highlighted(result)];
  item.querySelector(".text").replaceChildren(...pieces, ...after.flatMap((piece) => ["\n", piece]));
  item.querySelector(".neighbours").remove();
}

function shown(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function nameOf(code) {
  try {
    return new Intl.DisplayNames([navigator.language, "en"], { type: "language" }).of(code) ?? code;
  } catch {
    return code;
  }
}

// ---- keyboard: "/" to the question, arrows from result to result

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input, select, textarea");
  if (event.key === "/" && !isTyping) {
    event.preventDefault();
    $("query").select();
    return;
  }
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || (isTyping && event.target !== $("query"))) return;
  const items = [...$("results").children];
  const now = items.indexOf(document.activeElement);
  const next = now + step;
  if (next < 0) $("query").focus();
  else items[next]?.focus();
  event.preventDefault();
});

// ---- beginning

async function begin() {
  const given = readAddress();
  const searches = latest;
  try {
    const { indexes } = await ask("v1/indexes");
    $("key-form").hidden = true;
    $("index").replaceChildren(...indexes.map(({ name, passages }) => new Option(`${name} (${passages})`, name)));
    $("index-label").hidden = indexes.length < 2;
    if (given.has("index")) $("index").value = given.get("index");
    await loadIndex(given);
    if (searches === latest) await search(); // nobody was quicker
  } catch (error) {
    say(error.message, true);
  }
}

function changed() {
  writeAddress();
  search();
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); changed(); });
$("form").addEventListener("change", async (event) => {
  if (event.target === $("query")) return;
  if (event.target === $("index")) await loadIndex().catch((error) => say(error.message, true));
  changed();
});
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value);
  begin();
});
addEventListener("popstate", begin);
begin();
