"use strict";
// Hides, opens and highlights what the page contains; no text is read as HTML. The page is complete without it.
const PAGE = 25;
const LONGEST_SEARCH = 5000;
const byId = id => document.getElementById(id);
const rows = [...byId("list").children];
const texts = new Map();
let limit = PAGE;

const lowerCase = row => {
  if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
  return texts.get(row);
};
const searchWords = () => byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);

function show() {
  const [words, task, outcome] = [searchWords(), byId("task").value, byId("outcome").value];
  const hits = rows.filter(row =>
    (!task || row.dataset.task === task) &&
    (!outcome || row.dataset.outcome === outcome || row.dataset.outcome.startsWith(outcome + " ")) &&
    words.every(word => lowerCase(row).includes(word)));
  const shown = new Set(hits.slice(0, limit));
  for (const row of rows) {
    row.hidden = !shown.has(row);
    row.classList.toggle("first", row === hits[0]);
  }
  const all = hits.length === rows.length ? `${rows.length} rows` : `${hits.length} of ${rows.length} rows`;
  byId("count").textContent = shown.size < hits.length ? `${all}; the first ${shown.size} are shown.` : `${all}.`;
  byId("more").hidden = shown.size === hits.length;
  highlight(words);
}

// Highlights the words in the rows that are open, with ranges instead of new elements.
function highlight(words) {
  if (!window.Highlight) return;
  const matches = new Highlight();
  for (const row of rows.filter(row => words.length && !row.hidden)) {
    const walker = document.createTreeWalker(row.open ? row : row.firstElementChild, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node && matches.size < LONGEST_SEARCH; node = walker.nextNode()) {
      const text = node.data.toLowerCase();
      if (text.length !== node.data.length) continue;
      for (const word of words) {
        for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
          matches.add(new StaticRange({ startContainer: node, startOffset: at, endContainer: node, endOffset: at + word.length }));
        }
      }
    }
  }
  CSS.highlights.set("match", matches);
}

function search() {
  limit = PAGE;
  show();
}

let timer;
byId("words").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 120); });
byId("task").addEventListener("change", search);
byId("outcome").addEventListener("change", search);
byId("more").addEventListener("click", () => { limit += 2 * PAGE; show(); });
document.querySelector("form").addEventListener("submit", event => event.preventDefault());
// In a row that opens, the steps that contain a searched word open, too.
byId("list").addEventListener("toggle", event => {
  const words = searchWords();
  if (!words.length) return;
  if (event.target.open && event.target.matches(".sample")) {
    for (const step of event.target.querySelectorAll(".step")) {
      step.open = words.some(word => step.textContent.toLowerCase().includes(word));
    }
  }
  highlight(words);
}, true);
for (const link of document.querySelectorAll("a[data-reason]")) {
  link.addEventListener("click", () => {
    byId("words").value = "";
    byId("task").value = link.dataset.task;
    byId("outcome").value = `dropped ${link.dataset.reason}`;
    search();
  });
}
document.querySelector("form").hidden = false;
show();
