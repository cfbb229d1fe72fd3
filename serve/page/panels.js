// The panels at both sides of the conversation, and the theme.
import {$} from "./dom.js";

const PANELS = ["history", "settings"];
// Below this width, in pixels, panels cover the conversation, as the style sheet has it.
const ROOM = 900;
let onOpen = () => {};

export function showPanel(name, isOpen = $(name).hidden) {
  $(name).hidden = !isOpen;
  $(`${name}-toggle`).setAttribute("aria-expanded", String(isOpen));
  if (!isOpen) return;
  closeOverlays(name);
  onOpen();
  $(name).focus();
}

// Closes the panels that cover the conversation, but one.
export function closeOverlays(but) {
  if (innerWidth >= ROOM) return;
  for (const name of PANELS) if (name !== but && !$(name).hidden) showPanel(name, false);
}

// Closes the panel that has the focus; whether there was one.
export function closeFocusedPanel() {
  const name = PANELS.find(name => !$(name).hidden && $(name).contains(document.activeElement));
  if (!name) return false;
  showPanel(name, false);
  $(`${name}-toggle`).focus();
  return true;
}

function setTheme() {
  const theme = $("theme").value;
  if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
  try {
    // As text: `theme.js` reads it before this module is loaded.
    if (theme) localStorage.setItem("smolserve-theme", theme); else localStorage.removeItem("smolserve-theme");
  } catch { /* storage is forbidden */ }
}

// Connects the controls; `opened` is called when a panel has been opened.
export function startPanels(opened) {
  onOpen = opened;
  for (const name of PANELS) $(`${name}-toggle`).addEventListener("click", () => showPanel(name));
  $("theme").value = document.documentElement.dataset.theme ?? "";
  $("theme").addEventListener("change", setTheme);
}
