// The page: what is open, what runs, and which key or button does what. A chat with models of this server; everything
// is kept in this browser.
import {$, alertError, announce, download, store, stored} from "./dom.js";
import {answer, isCut} from "./answering.js";
import {addTurn, newConversation, path, text, variant} from "./conversation.js";
import {fileName, toJson, toMarkdown, toRows} from "./export.js";
import {loadConversation, onOtherTab, saveConversation} from "./history.js";
import {startKey} from "./key.js";
import {newLane, repairLanes, showLanes} from "./lanes.js";
import {showGrowth, turnElements} from "./messages.js";
import {updateMeter} from "./meter.js";
import {closeFocusedPanel, closeOverlays, showPanel, startPanels} from "./panels.js";
import {settings, startSettings} from "./samplers.js";
import {models as loadModels} from "./server.js";
import {showHistory, startHistory} from "./sidebar.js";

const LANES = "smolserve-lanes";
const SAVE_EVERY = 2000; // milliseconds, while an answer is written
let models = [];
let conversation = newConversation(startLanes());
let editing = null;  // the parent of the turn that is being edited; "" is the first one's
let running = null;  // the AbortController of the answers that are being written

function startLanes() {
  const kept = stored(LANES);
  return Array.isArray(kept) && kept.length ? kept : [newLane("")];
}

// -- showing --
const options = () => ({markdown: $("markdown").checked});
const isAtEnd = () => $("main").scrollHeight - $("main").scrollTop - $("main").clientHeight < 60;
const toEnd = () => { $("main").scrollTop = $("main").scrollHeight; };

function show() {
  const focused = document.activeElement?.dataset?.focus;
  const hadFocus = $("talk").contains(document.activeElement);
  const empty = document.createElement("div");
  empty.id = "empty";
  empty.append(Object.assign(document.createElement("b"), {textContent: "Start a conversation"}),
    "Enter sends, Shift+Enter starts a new line, Esc stops.");
  const turns = turnElements(conversation, Boolean(running), options(), actions);
  $("talk").replaceChildren(...(turns.length ? turns : [empty]));
  $("talk").classList.toggle("wide", conversation.lanes.length > 1);
  // A button that is shown again keeps the focus; otherwise it goes to the message field, not to the top of the page.
  if (hadFocus) ((focused && $("talk").querySelector(`[data-focus="${CSS.escape(focused)}"]`)) || $("input")).focus();
  $("stop").hidden = !running;
  $("send").hidden = Boolean(running);
  $("send").textContent = editing === null ? "Send" : "Send edited";
  $("system").value = conversation.system;
  document.title = conversation.title ? `${conversation.title} – smolserve` : "smolserve";
  showLanes(conversation.lanes, models, Boolean(running), lanesChanged);
  count();
}

const count = () => { if (!running) updateMeter(conversation, models, $("input").value.trim()); };
const listHistory = () => $("history").hidden ? null : showHistory(conversation.id, actions);
const hasTurns = (which = conversation) => Object.keys(which.turns).length > 0;

async function save(which = conversation) {
  try {
    if (hasTurns(which)) await saveConversation(which);
  } catch (error) {
    alertError(error.message);
  }
  listHistory();
}

function lanesChanged() {
  store(LANES, conversation.lanes);
  show();
  save();
}

// -- answers --
// Whether a request can be made; otherwise the field that is wrong is shown.
function settingsAreRight(lanes) {
  try {
    for (const lane of lanes) settings(lane.kind);
    alertError();
    return true;
  } catch (error) {
    alertError(error.message);
    showPanel("settings", true);
    $(error.field)?.focus();
    return false;
  }
}

// Answers the last turn in these lanes, side by side.
async function run(lanes, isMore) {
  if (running || !settingsAreRight(lanes)) return;
  running = new AbortController();
  const drawn = new Set(), written = conversation;
  const grow = shown => {
    if (drawn.has(shown)) return;
    drawn.add(shown);
    requestAnimationFrame(() => {
      drawn.delete(shown);
      const follow = isAtEnd();
      if (shown.isWriting) showGrowth(shown, options().markdown);
      if (follow) toEnd();
    });
  };
  announce("Answering");
  const turn = path(written).at(-1);
  const answers = lanes.map(lane => answer(written, lane, isMore, running.signal, grow));
  show();
  toEnd();
  const timer = setInterval(() => save(written), SAVE_EVERY);
  await Promise.allSettled(answers);
  clearInterval(timer);
  running = null;
  const follow = isAtEnd();
  show();
  if (follow) toEnd();
  announce(lanes.map(lane => variant(written, turn, lane, false)).filter(Boolean)
    .map(shown => shown.error || `Answer of ${shown.model}: ${text(shown).slice(0, 2000)}`).join("\n"));
  await save(written);
}

function send() {
  const message = $("input").value.trim();
  if (!message || running || !settingsAreRight(conversation.lanes)) return;
  addTurn(conversation, editing ?? path(conversation).at(-1)?.id ?? "", message);
  editing = null;
  $("input").value = "";
  sizeInput();
  place();
  save();
  run(conversation.lanes, false);
}

const stop = () => running?.abort();
const lastTurn = () => path(conversation).at(-1);

// Buttons of the conversation and of the history.
const actions = {
  retry: lane => run([lane], false),
  more: lane => run([lane], true),
  edit(turn) {
    editing = turn.parent;
    $("input").value = turn.text;
    sizeInput();
    show();
    $("input").focus();
  },
  chooseTurn(turn, other) { conversation.chosen[turn.parent] = other.id; show(); save(); },
  chooseVariant(answers, index) { answers.chosen = index; show(); save(); },
  open(id) { closeOverlays(); open(id); },
  async rename(id, title) {
    const renamed = id === conversation.id ? conversation : await loadConversation(id);
    renamed.title = title;
    await saveConversation(renamed);
    show();
    listHistory();
  },
  removed(id) { if (!id || id === conversation.id) startNew(); else listHistory(); },
};

// -- which conversation is open --
// The address names the conversation, so that reloading shows it again.
function place() {
  const hash = hasTurns() ? `#${conversation.id}` : "";
  if (location.hash !== hash) window.history.pushState(null, "", location.pathname + location.search + hash);
}

function startNew() {
  closeOverlays();
  stop();
  editing = null;
  conversation = newConversation(startLanes());
  repairLanes(conversation.lanes, models);
  place();
  show();
  listHistory();
  $("input").focus();
}

async function open(id) {
  const loaded = id && await loadConversation(id);
  if (!loaded) return startNew();
  stop();
  editing = null;
  conversation = loaded;
  for (const turn of Object.values(loaded.turns)) {
    // The page was left while they were written.
    for (const one of Object.values(turn.answers).flatMap(answers => answers.variants).filter(one => one.isWriting)) {
      delete one.isWriting;
      one.finish = "stopped";
    }
  }
  repairLanes(conversation.lanes, models);
  place();
  show();
  toEnd();
  listHistory();
}

// -- panels, keys and buttons --
function sizeInput() {
  $("input").style.height = "auto";
  $("input").style.height = `${$("input").scrollHeight}px`;
}

function onInputKey(event) {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  } else if (event.key === "ArrowUp" && !$("input").value && lastTurn() && !running) {
    event.preventDefault();
    actions.edit(lastTurn());
  }
}

function escape() {
  if (closeFocusedPanel()) return;
  if (running) {
    stop();
  } else if (editing !== null) {
    editing = null;
    $("input").value = "";
    sizeInput();
    show();
  }
}

const SHORTCUTS = {
  KeyN: startNew,
  KeyH: () => showPanel("history"),
  KeyS: () => showPanel("settings"),
  KeyR: () => lastTurn() && run(conversation.lanes, false),
  KeyC() {
    const turn = lastTurn();
    const cut = conversation.lanes.filter(lane => turn && isCut(variant(conversation, turn, lane, false)));
    if (cut.length) run(cut, true);
  },
};

function onKey(event) {
  if (event.key === "Escape") return escape();
  const act = event.altKey && !event.ctrlKey && !event.metaKey && !event.shiftKey && SHORTCUTS[event.code];
  if (!act) return;
  event.preventDefault();
  act();
}

async function refreshModels() {
  try {
    models = await loadModels();
    alertError();
  } catch (error) {
    models = [];
    alertError(error.message);
  }
  repairLanes(conversation.lanes, models);
  show();
}

function connect() {
  $("form").addEventListener("submit", event => { event.preventDefault(); send(); });
  $("input").addEventListener("keydown", onInputKey);
  $("input").addEventListener("input", () => { sizeInput(); count(); });
  $("stop").addEventListener("click", stop);
  $("new").addEventListener("click", startNew);
  $("system").addEventListener("input", () => { conversation.system = $("system").value; count(); });
  $("system").addEventListener("change", () => save());
  $("markdown").addEventListener("change", () => { store("smolserve-markdown", $("markdown").checked); show(); });
  $("markdown").checked = stored("smolserve-markdown") ?? true;
  const exported = (ending, type, make) => () => download(fileName(conversation, ending), type, make(conversation));
  $("export-markdown").addEventListener("click", exported("md", "text/markdown", toMarkdown));
  $("export-json").addEventListener("click", exported("json", "application/json", one => toJson([one])));
  $("export-rows").addEventListener("click", exported("jsonl", "application/jsonl", toRows));
  document.addEventListener("keydown", onKey);
  window.addEventListener("popstate", () => open(location.hash.slice(1)));
  onOtherTab(id => { if (id === conversation.id && !running) open(id); else listHistory(); });
}

connect();
startPanels(listHistory);
startKey(refreshModels);
startSettings(() => alertError());
startHistory(() => conversation.id, actions);
await refreshModels();
if (location.hash.length > 1) await open(location.hash.slice(1));
