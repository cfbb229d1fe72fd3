// Conversations in the browser's database, one record each, so that two tabs do not overwrite one another.

const NAME = "smolserve", TABLE = "conversations";
// Where the browser forbids a database, conversations last until the page is left.
const inMemory = new Map();
const channel = "BroadcastChannel" in window ? new BroadcastChannel(NAME) : null;
let database = null;

function finished(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function opened() {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(TABLE, {keyPath: "id"});
  return finished(request);
}

async function table(mode, use, instead) {
  try {
    database ??= opened();
    const transaction = (await database).transaction(TABLE, mode);
    return await finished(use(transaction.objectStore(TABLE)));
  } catch (error) {
    if (error.name === "QuotaExceededError") {
      throw new Error("The browser's storage is full; export conversations and delete them here.");
    }
    return instead();
  }
}

// All conversations, the newest first.
export async function allConversations() {
  const all = await table("readonly", store => store.getAll(), () => [...inMemory.values()]);
  return all.sort((a, b) => b.updated - a.updated);
}

export function loadConversation(id) {
  return table("readonly", store => store.get(id), () => inMemory.get(id));
}

export async function saveConversation(conversation) {
  conversation.updated = Date.now();
  const copy = structuredClone(conversation);
  await table("readwrite", store => store.put(copy), () => inMemory.set(copy.id, copy));
  channel?.postMessage(conversation.id);
}

export async function deleteConversation(id) {
  await table("readwrite", store => store.delete(id), () => inMemory.delete(id));
  channel?.postMessage(id);
}

export async function deleteAll() {
  await table("readwrite", store => store.clear(), () => inMemory.clear());
  channel?.postMessage("");
}

// Calls when another tab has changed a conversation ("" for all).
export function onOtherTab(changed) {
  channel?.addEventListener("message", event => changed(event.data));
}
