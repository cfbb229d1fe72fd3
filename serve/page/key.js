// Where the API key is: in this tab's session, and in the browser's storage only where the person says so. It is in no
// conversation and in no export.
import {$} from "./dom.js";

const KEY = "smolserve-key";

export const key = () => $("key").value.trim();

function save() {
  try {
    for (const [storage, keeps] of [[sessionStorage, true], [localStorage, $("keep").checked]]) {
      if (key() && keeps) storage.setItem(KEY, key()); else storage.removeItem(KEY);
    }
  } catch { /* storage is forbidden: the key lasts until the page is left */ }
}

// Fills the fields; `onChange` is called when the person has changed the key.
export function startKey(onChange) {
  try {
    $("keep").checked = localStorage.getItem(KEY) !== null;
    $("key").value = sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? "";
  } catch { /* storage is forbidden */ }
  $("key").addEventListener("change", () => { save(); onChange(); });
  $("keep").addEventListener("change", save);
  $("forget").addEventListener("click", () => {
    $("key").value = "";
    $("keep").checked = false;
    save();
    onChange();
  });
}
