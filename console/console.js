// The console: reads the API, listens to /v1/stream, and writes text only as text.
"use strict";

const KEPT_VERDICTS = 40;
const KEPT_EVENTS = 30;
const KEPT_RATES = 90;
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

/** An element with a class and children; strings become text nodes, never markup. */
function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function shape(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.append(...children);
  return made;
}

function button(label, action, className) {
  const made = element("button", className, label);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
}

const count = (number) => (typeof number === "number" ? number.toLocaleString("en") : "–");

function decimal(number) {
  if (!Number.isFinite(number)) return "–";
  return number >= 100 ? Math.round(number).toLocaleString("en") : number.toFixed(1);
}

const clock = (time) => new Date(time).toLocaleTimeString();

/** One call of the API; errors carry the API's own words. */
async function call(path, method = "GET", content = undefined) {
  const headers = content === undefined ? {} : { "content-type": "application/json" };
  const token = byId("token").value;
  if (method !== "GET" && token) headers.authorization = `Bearer ${token}`;
  const response = await fetch(path, { method, headers, body: content === undefined ? undefined : JSON.stringify(content) });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) {
    const error = body.error || {};
    throw new Error(`${error.code || response.status}: ${error.message || response.statusText}`);
  }
  return body;
}

/** Runs an operator's action and says how it went. */
async function act(note, action, done) {
  note.textContent = "…";
  try {
    note.textContent = done(await action());
  } catch (error) {
    note.textContent = error.message;
  }
}

function showDetails(title, value, chart) {
  byId("details-title").textContent = title;
  const picture = byId("details-chart");
  picture.hidden = true;
  picture.alt = chart ? `chart of ${title}` : "";
  if (chart) picture.src = chart;
  else picture.removeAttribute("src");
  byId("details-text").textContent = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  byId("details").showModal();
}

async function explain(id) {
  try {
    showDetails(id, await call(`/v1/explain/${encodeURIComponent(id)}`));
  } catch (error) {
    showDetails(id, error.message);
  }
}

// ---- header

const rates = [];
let lastVerdicts = null;

function showStatus(text, kind) {
  const pill = byId("status");
  pill.textContent = text;
  pill.className = `pill ${kind}`;
}

function showNumbers(snapshot, at) {
  const counts = snapshot.counts || {};
  byId("backlog").textContent = count(snapshot.backlog_records);
  byId("stored").textContent = count(counts.stored);
  byId("duplicates").textContent = count(counts.duplicates);
  byId("dead").textContent = count(counts.dead_letters);
  if (typeof counts.stored === "number") {
    const total = counts.stored + counts.duplicates;
    if (lastVerdicts && at > lastVerdicts.at) {
      rates.push(Math.max(0, ((total - lastVerdicts.total) * 1000) / (at - lastVerdicts.at)));
      if (rates.length > KEPT_RATES) rates.shift();
      byId("rate").textContent = decimal(rates[rates.length - 1]);
      drawRates();
    }
    lastVerdicts = { total, at };
  }
  const away = (snapshot.dependencies || []).filter((dependency) => !dependency.healthy);
  if (snapshot.stopping) showStatus("stopping", "warn");
  else if (snapshot.ready) showStatus("ready", "good");
  else showStatus(away.length ? `away: ${away.map((dependency) => dependency.name).join(", ")}` : "not ready", "bad");
}

function drawRates() {
  const most = Math.max(1, ...rates);
  const points = rates.map((rate, index) => `${(index * 120) / (KEPT_RATES - 1)},${31 - (rate / most) * 30}`);
  byId("spark").replaceChildren(shape("polyline", { points: points.join(" ") }));
}

// ---- actors

/** Supervisors and actors in the order of the tree, each with its depth in it. */
function flatten(node, depth = 0) {
  if (Array.isArray(node)) return node.flatMap((child) => flatten(child, depth));
  if (!node || typeof node !== "object") return [];
  if (node.tree || node.actors) return flatten(node.tree || node.actors, depth);
  const children = Array.isArray(node.children) ? node.children : [];
  return [{ node, depth, supervisor: Array.isArray(node.children) }, ...flatten(children, depth + 1)];
}

const restartsOf = (node) => {
  if (typeof node.restarts === "number") return node.restarts;
  return Object.values(node.restarts || {}).reduce((sum, number) => sum + (Number(number) || 0), 0);
};

const handledOf = (node) => {
  const messages = (node.mailbox && node.mailbox.messages) || {};
  return (messages.done || 0) + (messages.dead || 0) + (messages.dropped || 0);
};

const stateKind = (state) => {
  if (state === "running") return "good";
  return state === "backing_off" || state === "stopped" ? "bad" : "warn";
};

let lastActors = new Map();
let lastActorsAt = 0;

function showActors(tree, at) {
  const rows = flatten(tree);
  const seconds = (at - lastActorsAt) / 1000;
  const seen = new Map();
  let restarts = 0;
  const made = rows.map(({ node, depth, supervisor }) => {
    const name = element("td", "", "\u00a0\u00a0".repeat(depth), String(node.name));
    const state = element("td", stateKind(node.state), String(node.state || "").replaceAll("_", " "));
    if (supervisor) {
      const row = element("tr", "supervisor", name, state, element("td", "", String(node.strategy || "").replaceAll("_", " ")));
      row.append(...[0, 1, 2, 3].map(() => element("td", "")));
      return row;
    }
    const now = { handled: handledOf(node), busy: node.busy_seconds || 0 };
    const before = lastActors.get(node.name);
    seen.set(node.name, now);
    const workers = Math.max(1, (node.workers || []).length);
    const rate = before && seconds > 0 ? Math.max(0, now.handled - before.handled) / seconds : NaN;
    const busy = before && seconds > 0 ? (100 * Math.max(0, now.busy - before.busy)) / seconds / workers : NaN;
    restarts += restartsOf(node);
    return element(
      "tr",
      "",
      name,
      state,
      element("td", "", ...mailbox(node)),
      element("td", "number", decimal(rate)),
      element("td", "number", Number.isFinite(busy) ? `${Math.min(100, Math.round(busy))} %` : "–"),
      element("td", "number", count(restartsOf(node))),
      element("td", "", restartButton(node)),
    );
  });
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.actor : undefined;
  byId("actors").replaceChildren(...made);
  if (focused) {
    const again = [...byId("actors").querySelectorAll("button")].find((candidate) => candidate.dataset.actor === focused);
    if (again) again.focus();
  }
  byId("restarts").textContent = count(restarts);
  lastActors = seen;
  lastActorsAt = at;
  drawTopology(rows.filter((row) => !row.supervisor).map((row) => row.node));
}

function mailbox(node) {
  const box = node.mailbox;
  if (!box || !box.capacity) return ["–"];
  const bar = element("meter", "");
  bar.min = 0;
  bar.max = box.capacity;
  bar.low = box.capacity * 0.5;
  bar.high = box.capacity * 0.9;
  bar.optimum = 0;
  bar.value = box.depth;
  bar.setAttribute("aria-label", `mailbox of ${node.name}`);
  return [bar, element("span", "depth", `${count(box.depth)} / ${count(box.capacity)}`)];
}

function restartButton(node) {
  const made = button("Restart", () => {
    const path = `/v1/actors/${encodeURIComponent(node.name)}/restart`;
    call(path, "POST").catch((error) => showDetails(`restart ${node.name}`, error.message));
  });
  made.dataset.actor = node.name;
  made.setAttribute("aria-label", `restart ${node.name}`);
  return made;
}

// ---- topology

let drawn = "";

/** Stages in columns by their distance from the source; redrawn only when something changed. */
function drawTopology(actors) {
  const names = new Set(actors.map((actor) => actor.name));
  const key = JSON.stringify(actors.map((actor) => [actor.name, actor.state, actor.sends_to]));
  if (key === drawn) return;
  drawn = key;
  const column = new Map(actors.map((actor) => [actor.name, 0]));
  for (let round = 0; round < actors.length; round += 1) {
    for (const actor of actors) {
      for (const to of actor.sends_to || []) {
        if (names.has(to)) column.set(to, Math.min(actors.length, Math.max(column.get(to), column.get(actor.name) + 1)));
      }
    }
  }
  const used = [];
  const place = new Map();
  const columns = [...new Set(column.values())].sort((left, right) => left - right);
  for (const actor of actors) {
    const x = columns.indexOf(column.get(actor.name));
    const y = used[x] || 0;
    used[x] = y + 1;
    place.set(actor.name, { x: 8 + x * 168, y: 8 + y * 46 });
  }
  const width = 16 + columns.length * 168;
  const height = 16 + Math.max(1, ...used.map((rows) => rows || 0)) * 46;
  const arrow = shape("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
    shape("path", { d: "M0,0 L8,4 L0,8 z" }));
  const parts = [shape("defs", {}, arrow)];
  for (const actor of actors) {
    for (const to of actor.sends_to || []) {
      if (!place.has(to)) continue;
      const from = place.get(actor.name);
      const target = place.get(to);
      const [x1, y1, x2, y2] = [from.x + 130, from.y + 15, target.x, target.y + 15];
      const middle = (x1 + x2) / 2;
      parts.push(shape("path", { d: `M${x1},${y1} C${middle},${y1} ${middle},${y2} ${x2},${y2}`, "marker-end": "url(#arrow)" }));
    }
  }
  for (const actor of actors) {
    const { x, y } = place.get(actor.name);
    const label = shape("text", { x: x + 65, y: y + 16 }, String(actor.name));
    parts.push(shape("rect", { x, y, width: 130, height: 30, rx: 6, class: stateKind(actor.state) }), label);
  }
  const drawing = byId("topology");
  drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
  drawing.setAttribute("width", width);
  drawing.setAttribute("height", height);
  drawing.replaceChildren(...parts);
}

// ---- documents

const sentimentKind = { positive: "good", negative: "bad", neutral: "" };

function documentItem(id, title, facts) {
  const link = button(title || id, () => explain(id), "link");
  const item = element("li", "", link, element("div", "meta", ...facts));
  item.dataset.id = id;
  return item;
}

function fact(text, kind) {
  return element("span", kind ? `tag ${kind}` : "", text);
}

function verdictItem(event) {
  const facts = [fact(clock(event.at)), fact(event.source), fact(event.verdict, event.verdict === "stored" ? "good" : "warn")];
  if (event.sentiment) facts.push(fact(`${event.sentiment} ${Number(event.score || 0).toFixed(2)}`, sentimentKind[event.sentiment]));
  if (event.duplicate_of) facts.push(fact(`copy of ${event.duplicate_of}`));
  return documentItem(event.document_id, event.title, facts);
}

/** Verdicts may come by the thousand: they are shown once a frame. */
let waiting = [];

function addVerdict(event) {
  waiting.push(event);
  if (waiting.length > KEPT_VERDICTS) waiting.shift();
  if (waiting.length === 1) requestAnimationFrame(showVerdicts);
}

function showVerdicts() {
  const list = byId("latest");
  list.prepend(...waiting.reverse().map(verdictItem));
  waiting = [];
  while (list.children.length > KEPT_VERDICTS) list.lastChild.remove();
}

/** What was judged before the page opened goes below what came live meanwhile. */
async function loadLatest() {
  const page = await call(`/v1/documents?limit=${KEPT_VERDICTS}`);
  const list = byId("latest");
  const shown = new Set([...list.children].map((item) => item.dataset.id));
  list.append(...page.items.filter((item) => !shown.has(item.id)).map((item) => {
    const sentiment = item.analysis.sentiment || {};
    return verdictItem({
      at: item.analysis.processed_at, document_id: item.id, title: item.title || item.text.slice(0, 140), source: item.source,
      verdict: item.verdict, duplicate_of: item.duplicate_of, sentiment: sentiment.label, score: sentiment.score,
    });
  }));
}

async function search(event) {
  event.preventDefault();
  const note = byId("search-note");
  const query = byId("query").value.trim();
  if (!query) return;
  await act(note, () => call(`/v1/search?${new URLSearchParams({ q: query, k: byId("count").value || "10" })}`), (answer) => {
    byId("results").replaceChildren(...answer.results.map((hit) => {
      const sentiment = hit.analysis.sentiment;
      const facts = [fact(hit.similarity.toFixed(3), "tag"), fact(hit.source), fact((hit.analysis.symbols || []).join(" "))];
      if (sentiment) facts.push(fact(sentiment.label, sentimentKind[sentiment.label]));
      return documentItem(hit.id, hit.title || hit.text.slice(0, 200), facts);
    }));
    return answer.results.length ? "" : "nothing found";
  });
}

// ---- graphs

function graphItem(graph) {
  const show = button(graph.repo_url, () => showDetails(graph.repo_url, graph), "link");
  const facts = [
    fact(`${count(graph.files)} files`), fact(`${count(graph.connected_files)} connected`), fact(`${count(graph.edges)} imports`),
    fact(graph.commit.slice(0, 10)), fact(`learned ${new Date(graph.trained_at).toLocaleString()}`),
  ];
  return element("li", "", show, element("div", "meta", ...facts));
}

async function loadGraphs() {
  await act(byId("graphs-note"), () => call("/v1/graphs"), ({ items }) => {
    byId("graphs").replaceChildren(...items.map(graphItem));
    const choice = byId("similar-repo");
    const chosen = choice.value;
    choice.replaceChildren(...items.map((graph) => new Option(graph.repo_url, graph.repo_url, false, graph.repo_url === chosen)));
    byId("similar").hidden = items.length === 0;
    return items.length ? "" : "none learned yet";
  });
}

async function learnRepository(event) {
  event.preventDefault();
  const url = byId("learn-url").value.trim();
  if (!url) return;
  await act(byId("graphs-note"), () => call("/api/v1/ingestion/ingest", "POST", { repo_url: url }), (answer) =>
    `job ${answer.job_id} is number ${answer.queue_position} in the queue`);
}

async function findSimilar(event) {
  event.preventDefault();
  const file = byId("similar-file").value.trim();
  if (!file) return;
  const path = `/v1/graphs/${encodeURIComponent(byId("similar-repo").value)}/similar?${new URLSearchParams({ file })}`;
  await act(byId("similar-note"), () => call(path), ({ results }) => {
    byId("similar-files").replaceChildren(...results.map((near) => {
      const again = button(near.file_path, () => {
        byId("similar-file").value = near.file_path;
        byId("similar").requestSubmit();
      }, "link");
      const facts = [fact(near.similarity.toFixed(3), "tag"), fact(near.language), fact(`imports ${count(near.imports)}`)];
      return element("li", "", again, element("div", "meta", ...facts, fact(`imported by ${count(near.imported_by)}`)));
    }));
    return results.length ? "" : "nothing is near: it neither imports nor is imported";
  });
}

// ---- dead letters

let lettersCursor = null;

function letterItem(letter) {
  const note = element("span", "");
  const path = `/v1/dead-letters/${encodeURIComponent(letter.id)}`;
  const replay = button("Replay", () => act(note, () => call(`${path}/replay`, "POST"), () => "replayed"));
  replay.setAttribute("aria-label", `replay ${letter.id}`);
  const show = button(letter.error, async () => {
    try {
      showDetails(letter.id, await call(path));
    } catch (error) {
      showDetails(letter.id, error.message);
    }
  }, "link");
  const facts = [fact(letter.code, "bad"), fact(letter.stage), fact(`${letter.topic}/${letter.partition}/${letter.offset}`)];
  if (letter.dead_at) facts.push(fact(clock(letter.dead_at)));
  if (letter.replayed_at) facts.push(fact("replayed", "good"));
  return element("li", "", show, element("div", "meta", ...facts, replay, note));
}

async function loadLetters(more) {
  const query = new URLSearchParams({ limit: "20" });
  if (byId("letters-open").checked) query.set("replayed", "false");
  if (more && lettersCursor) query.set("cursor", lettersCursor);
  await act(byId("letters-note"), () => call(`/v1/dead-letters?${query}`), (page) => {
    const items = page.items.map(letterItem);
    if (more) byId("letters").append(...items);
    else byId("letters").replaceChildren(...items);
    lettersCursor = page.next_cursor || null;
    byId("letters-more").hidden = !lettersCursor;
    return byId("letters").children.length ? "" : "none";
  });
}

async function replayAll() {
  await act(byId("letters-note"), () => call("/v1/dead-letters/replay", "POST"), (report) =>
    `${report.replayed} replayed, ${report.failed} failed${report.complete ? "" : ", more to come"}`);
}

// ---- backtests and sweeps

let runsCursor = null;

const percent = (ratio) => (typeof ratio === "number" ? `${(100 * ratio).toFixed(2)} %` : "–");

/** A run's figures; its name opens the chart with everything that came out. */
function runItem(run) {
  const path = `/v1/backtests/${encodeURIComponent(run.id)}`;
  const title = [run.symbol, run.interval, run.strategy].filter(Boolean).join(" ");
  const show = button(title, async () => {
    try {
      showDetails(title, await call(path), `${path}/chart.svg`);
    } catch (error) {
      showDetails(title, error.message);
    }
  }, "link");
  const sharpe = typeof run.sharpe_ratio === "number" ? run.sharpe_ratio.toFixed(2) : "–";
  const facts = [
    fact(clock(run.created_at)), fact(run.kind === "sweep" ? `sweep of ${count(run.sets)}` : run.kind),
    fact(`return ${percent(run.total_return)}`, run.total_return < 0 ? "bad" : "good"),
    fact(`Sharpe ${sharpe}`), fact(`drawdown ${percent(run.max_drawdown)}`), fact(`${count(run.trades_count)} trades`),
  ];
  return element("li", "", show, element("div", "meta", ...facts));
}

async function loadRuns(more) {
  const query = new URLSearchParams({ limit: "20" });
  if (more && runsCursor) query.set("cursor", runsCursor);
  await act(byId("runs-note"), () => call(`/v1/backtests?${query}`), (page) => {
    const items = page.items.map(runItem);
    if (more) byId("runs").append(...items);
    else byId("runs").replaceChildren(...items);
    runsCursor = page.next_cursor || null;
    byId("runs-more").hidden = !runsCursor;
    return byId("runs").children.length ? "" : "none";
  });
}

// ---- live events

function addEvent(text, at, kind) {
  const list = byId("events");
  list.prepend(element("li", "", element("div", "meta", fact(clock(at)), fact(text, kind))));
  while (list.children.length > KEPT_EVENTS) list.lastChild.remove();
}

function listen() {
  const stream = new EventSource("/v1/stream");
  const on = (name, handler) => stream.addEventListener(name, (message) => handler(JSON.parse(message.data)));
  on("metrics", (event) => {
    const at = Date.parse(event.at);
    showNumbers(event.snapshot, at);
    showActors(event.snapshot.actors, at);
  });
  on("verdict", addVerdict);
  on("dead_letter", (event) => addEvent(`dead letter ${event.code} at ${event.stage}: ${event.error}`, event.at, "bad"));
  on("actor_restarted", (event) => addEvent(`${event.actor} restarted: ${event.reason}`, event.at, "warn"));
  on("config_reloaded", (event) => addEvent(`configuration ${event.outcome}`, event.at, event.outcome === "applied" ? "good" : "bad"));
  on("dropped", (event) => addEvent(`this page was too slow and missed ${event.missed} events`, Date.now(), "warn"));
  stream.addEventListener("error", () => showStatus("connection lost, trying again", "bad"));
}

byId("token").value = sessionStorage.getItem("token") || "";
byId("token").addEventListener("input", () => sessionStorage.setItem("token", byId("token").value));
byId("token-form").addEventListener("submit", (event) => event.preventDefault());
byId("search").addEventListener("submit", search);
byId("graphs-reload").addEventListener("click", loadGraphs);
byId("learn").addEventListener("submit", learnRepository);
byId("similar").addEventListener("submit", findSimilar);
byId("letters-reload").addEventListener("click", () => loadLetters(false));
byId("letters-open").addEventListener("change", () => loadLetters(false));
byId("letters-more").addEventListener("click", () => loadLetters(true));
byId("letters-replay").addEventListener("click", replayAll);
byId("runs-reload").addEventListener("click", () => loadRuns(false));
byId("runs-more").addEventListener("click", () => loadRuns(true));
// A run without a chart shows its figures alone.
byId("details-chart").addEventListener("load", () => { byId("details-chart").hidden = false; });
byId("details-close").addEventListener("click", () => byId("details").close());

listen();
loadRuns(false);
loadLatest().catch((error) => addEvent(error.message, Date.now(), "bad"));
loadLetters(false);
loadGraphs();
