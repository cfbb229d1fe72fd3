// The list of conversations: search, open, rename, delete, import, export.
import {$, alertError, button, download, element} from "./dom.js";
import {text} from "./conversation.js";
import {fromJson, toJson} from "./export.js";
import {allConversations, deleteAll, deleteConversation, saveConversation} from "./history.js";

let all = [];

function found(conversation, words) {
  const texts = Object.values(conversation.turns).flatMap(turn =>
    [turn.text, ...Object.values(turn.answers).flatMap(({variants}) => variants.map(text))]);
  const whole = [conversation.title, ...texts].join("\n").toLowerCase();
  return words.every(word => whole.includes(word));
}

function item(conversation, currentId, actions) {
  const title = conversation.title || "Untitled";
  const open = button(title, () => actions.open(conversation.id), {className: "open", dir: "auto",
    title: new Date(conversation.updated).toLocaleString(),
    ...(conversation.id === currentId && {"aria-current": "true"})});
  const rename = button("Rename", async () => {
    const name = prompt("Title of the conversation", title)?.trim();
    if (!name) return;
    await actions.rename(conversation.id, name);
  }, {"aria-label": `Rename ${title}`});
  const remove = button("Delete", async () => {
    if (!confirm(`Delete "${title}"?`)) return;
    await deleteConversation(conversation.id);
    actions.removed(conversation.id);
  }, {"aria-label": `Delete ${title}`});
  return element("li", {}, open, element("span", {className: "row"}, rename, remove));
}

function show(currentId, actions) {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = words.length ? all.filter(conversation => found(conversation, words)) : all;
  const hint = words.length ? "No conversation contains these words." : "No conversations yet.";
  $("conversations").replaceChildren(...(shown.length ? shown.map(one => item(one, currentId, actions))
    : [element("li", {className: "hint", textContent: hint})]));
}

// Reads the list again and shows it.
export async function showHistory(currentId, actions) {
  all = await allConversations();
  show(currentId, actions);
}

// Connects the panel's controls; `current` returns the id of the open conversation.
export function startHistory(current, actions) {
  $("search").addEventListener("input", () => show(current(), actions));
  $("import").addEventListener("click", () => $("import-file").click());
  $("import-file").addEventListener("change", async () => {
    try {
      const read = fromJson(await $("import-file").files[0].text());
      for (const conversation of read) await saveConversation(conversation);
      actions.open(read.at(-1).id);
      alertError();
    } catch (error) {
      alertError(`Import: ${error.message}`);
    }
    $("import-file").value = "";
  });
  $("export-all").addEventListener("click", async () =>
    download("smolserve-conversations.json", "application/json", toJson(await allConversations())));
  $("delete-all").addEventListener("click", async () => {
    if (!confirm(`Delete all ${all.length} conversations?`)) return;
    await deleteAll();
    actions.removed("");
  });
}
