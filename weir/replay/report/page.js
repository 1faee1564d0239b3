"use strict";
// The table of requests. Texts are only ever set as text, never as markup: they are whatever people and models wrote.
(() => {
  const PER_PAGE = 50;
  const WORDS_MAX = 1200; // per text: marking what differs takes the product of both lengths
  const NONE = "-";
  const $ = (id) => document.getElementById(id);

  // -- data: the order of fields is that of page.py

  const outcome = ([model, status, finish, error, attempts, latency, ttft, input, output, cost, chars]) => ({
    model, status, finish, error, attempts, latency, ttft, input, output, cost, chars,
  });
  const rows = JSON.parse($("data").textContent).map(
    ([of, uid, tenant, then, now, similarity, identical, thenText, nowText]) => ({
      of, uid, tenant, then: outcome(then), now: outcome(now), similarity, identical, thenText, nowText,
    }),
  );
  for (const row of rows) {
    const { then, now } = row;
    row.ended = `${then.status} → ${now.status}`;
    const known = [row.of, row.uid, row.tenant, then.model, now.model, then.error, now.error, row.thenText, row.nowText];
    row.words = known.filter(Boolean).join("\n").toLowerCase();
  }

  // -- figures

  const grouped = new Intl.NumberFormat("en-US");
  const tenths = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const count = (value) => grouped.format(value);
  const ms = (value) => (value >= 10000 ? `${tenths.format(value / 1000)}\u00a0s` : `${grouped.format(Math.round(value))}\u00a0ms`);
  const usd = (value) => {
    const digits = value >= 1 || value <= 0 ? 2 : Math.max(2, 1 - Math.floor(Math.log10(value)));
    return `$${value.toFixed(Math.min(digits, 12))}`;
  };
  const shown = (value, format) => (value === null ? NONE : format(value));
  const change = (then, now) => {
    if (then === null || now === null || then === 0) return "";
    const percent = Math.round((100 * (now - then)) / then);
    return percent === 0 ? "±0 %" : `${percent > 0 ? "+" : "−"}${grouped.format(Math.abs(percent))} %`;
  };

  const element = (tag, kind, ...children) => {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    made.append(...children);
    return made;
  };

  // -- columns: each is sorted by its difference, which is what one looks for

  const less = (then, now) => (then === null || now === null ? null : now - then);
  const figures = (name, format, lessIsBetter) => (row) => {
    const [then, now] = [row.then[name], row.now[name]];
    const difference = less(then, now);
    const kind = !lessIsBetter || !difference ? "" : difference < 0 ? "good" : "bad";
    return element("td", `number ${name}`,
      element("span", "pair", `${shown(then, format)} → ${shown(now, format)}`),
      element("span", `change ${kind}`, change(then, now)));
  };
  const by = (name) => (row) => less(row.then[name], row.now[name]);
  const columns = [
    { title: "Request", key: (row) => row.of, cell: requestCell },
    { title: "Ended", key: (row) => (row.then.status === row.now.status ? ` ${row.ended}` : row.ended), cell: endCell },
    { title: "Latency", kind: "latency", key: by("latency"), cell: figures("latency", ms, true), difference: true },
    { title: "TTFT", kind: "ttft", key: by("ttft"), cell: figures("ttft", ms, true), difference: true },
    { title: "Output tokens", kind: "output", key: by("output"), cell: figures("output", count, false), difference: true },
    { title: "Cost", kind: "cost", key: by("cost"), cell: figures("cost", usd, true), difference: true },
    { title: "Similarity", kind: "similarity", key: (row) => row.similarity, cell: likenessCell },
  ];

  function requestCell(row) {
    const open = element("button", "open", row.of);
    open.type = "button";
    open.setAttribute("aria-expanded", "false");
    open.addEventListener("click", () => toggle(row, open));
    return element("td", "request", open, element("span", "tenant", row.tenant));
  }

  function endCell(row) {
    const { then, now } = row;
    const same = then.status === now.status;
    const text = same ? now.status : row.ended;
    const good = now.status === "completed";
    const cell = element("td", "ended", element("span", same && good ? "quiet" : `badge ${good ? "good" : "bad"}`, text));
    if (now.error) cell.append(element("span", "tenant", now.error));
    return cell;
  }

  function likenessCell(row) {
    if (row.similarity === null) return element("td", "number similarity", NONE);
    const bar = document.createElement("meter");
    bar.value = row.similarity;
    const text = row.identical ? "identical" : row.similarity.toFixed(2);
    return element("td", "number similarity", element("span", "pair", text), bar);
  }

  // -- a row that is open

  const DETAILS = [
    ["Model", "model", String], ["Status", "status", String], ["Finish reason", "finish", String],
    ["Error", "error", String], ["LLM calls", "attempts", count], ["Latency", "latency", ms],
    ["Time to first token", "ttft", ms], ["Input tokens", "input", count], ["Output tokens", "output", count],
    ["Cost", "cost", usd], ["Characters", "chars", count],
  ];

  function toggle(row, button) {
    const line = button.closest("tr");
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) line.nextElementSibling.remove();
    else line.after(details(row));
  }

  function details(row) {
    const head = element("tr", "", element("th", ""), element("th", "", "Original"), element("th", "", "Replay"));
    const lines = [["Uid", row.of, row.uid]];
    for (const [title, name, format] of DETAILS) {
      if (row.then[name] === null && row.now[name] === null) continue;
      lines.push([title, shown(row.then[name], format), shown(row.now[name], format)]);
    }
    const body = lines.map(([title, ...values]) =>
      element("tr", "", element("th", "", title), ...values.map((value) => element("td", "", value))));
    const inside = [element("table", "figures", element("thead", "", head), element("tbody", "", ...body))];
    if (row.thenText !== null || row.nowText !== null) inside.push(texts(row));
    const cell = element("td", "", ...inside);
    cell.colSpan = columns.length;
    return element("tr", "details", cell);
  }

  function texts(row) {
    const [then, now] = marked(row.thenText ?? "", row.nowText ?? "");
    const side = (title, text, parts) =>
      element("section", "", element("h4", "", title), text === null ? element("p", "nothing", "No text.") : element("div", "text", ...parts));
    return element("div", "texts", side("Original", row.thenText, then), side("Replay", row.nowText, now));
  }

  // Both texts in pieces; words that are not in the longest common subsequence are marked.
  function marked(one, other) {
    const [left, right] = [one, other].map((text) => text.match(/\s+|\S+/g) ?? []);
    if (one === other || left.length > 2 * WORDS_MAX || right.length > 2 * WORDS_MAX) return [[one], [other]];
    const width = right.length + 1;
    const longest = new Uint16Array((left.length + 1) * width);
    for (let i = left.length - 1; i >= 0; i--) {
      for (let j = right.length - 1; j >= 0; j--) {
        longest[i * width + j] = left[i] === right[j]
          ? longest[(i + 1) * width + j + 1] + 1
          : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
      }
    }
    const sides = [[], []];
    const mark = (side, word) => sides[side].push(/\S/.test(word) ? element("mark", "", word) : word);
    let [i, j] = [0, 0];
    while (i < left.length || j < right.length) {
      if (i < left.length && j < right.length && left[i] === right[j]) {
        sides[0].push(left[i++]);
        sides[1].push(right[j++]);
      } else if (j >= right.length || (i < left.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1])) {
        mark(0, left[i++]);
      } else {
        mark(1, right[j++]);
      }
    }
    return sides;
  }

  // -- what is shown

  const state = { column: columns.at(-1), down: false, first: 0 }; // the least similar first
  let found = rows;

  const ALIKE = {
    "": () => true,
    same: (row) => row.identical && row.similarity !== null,
    differ: (row) => !row.identical && row.similarity !== null,
    none: (row) => row.similarity === null,
  };

  function choose() {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const ended = $("ended").value;
    const alike = ALIKE[$("alike").value] ?? ((row) => row.similarity !== null && row.similarity < Number($("alike").value));
    const wanted = (row) => ended === "" || (ended === "other" ? row.then.status !== row.now.status : row.ended === ended);
    found = rows.filter((row) => wanted(row) && alike(row) && words.every((word) => row.words.includes(word)));
    sort(found, state.column.key, state.down);
    state.first = 0;
    draw();
  }

  // What is not known comes last, whichever way one sorts.
  function sort(some, key, down) {
    const sign = down ? -1 : 1;
    some.sort((left, right) => {
      const [a, b] = [key(left), key(right)];
      if (a === null || b === null) return (a === null) - (b === null);
      return a < b ? -sign : a > b ? sign : 0;
    });
  }

  function draw() {
    const shownRows = found.slice(state.first, state.first + PER_PAGE);
    $("rows").replaceChildren(...shownRows.map((row) => element("tr", "", ...columns.map((column) => column.cell(row)))));
    const last = state.first + shownRows.length;
    $("where").textContent = found.length ? `${count(state.first + 1)} to ${count(last)} of ${count(found.length)}` : "none";
    $("back").disabled = state.first === 0;
    $("on").disabled = last >= found.length;
    columns.forEach((column, n) => {
      const sorted = column !== state.column ? "none" : state.down ? "descending" : "ascending";
      $("head").children[n].setAttribute("aria-sort", sorted);
    });
  }

  function sortBy(column) {
    if (state.column === column) state.down = !state.down;
    else [state.column, state.down] = [column, Boolean(column.difference)];
    choose();
  }

  function turn(pages) {
    state.first += pages * PER_PAGE;
    draw();
    $("requests").scrollIntoView();
  }

  function show(row) {
    for (const id of ["search", "ended", "alike"]) $(id).value = "";
    $("search").value = row.uid;
    choose();
    $("rows").querySelector("button.open")?.click();
    $("requests").scrollIntoView();
  }

  // -- begin

  $("head").append(...columns.map((column) => {
    const button = element("button", "", column.title);
    button.type = "button";
    button.title = column.difference ? "Sort by the difference" : "Sort";
    button.addEventListener("click", () => sortBy(column));
    const head = element("th", column.kind ? `number ${column.kind}` : "", button);
    head.scope = "col";
    return head;
  }));
  for (const ended of [...new Set(rows.map((row) => row.ended))].sort()) {
    const option = element("option", "", ended);
    option.value = ended;
    $("ended").append(option);
  }
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  $("search").addEventListener("input", choose);
  $("ended").addEventListener("change", choose);
  $("alike").addEventListener("change", choose);
  $("back").addEventListener("click", () => turn(-1));
  $("on").addEventListener("click", () => turn(1));
  document.addEventListener("click", (event) => {
    if (event.target.matches?.("circle.point")) show(rows[Number(event.target.dataset.row)]);
  });
  $("table").hidden = false;
  choose();
})();
