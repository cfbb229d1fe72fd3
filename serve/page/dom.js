// Small helpers over the document: elements, buttons, copying, downloads, announcements.

export const $ = id => document.getElementById(id);

// Makes an element. Names with a hyphen, and `role`, are attributes; others are properties.
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (key === "role" || key.includes("-")) made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}

export function button(label, onclick, properties = {}) {
  return element("button", {type: "button", textContent: label, onclick, ...properties});
}

// Copies a text and says so on the button.
export async function copy(text, target) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https there is no clipboard API; the older command still works.
    const area = element("textarea", {value: text, className: "unseen"});
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    target.focus();
  }
  const label = target.textContent;
  target.textContent = "Copied";
  announce("Copied");
  setTimeout(() => { target.textContent = label; }, 1200);
}

export function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], {type}));
  element("a", {href: address, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

// Tells screen readers; the text is not seen.
export function announce(text) {
  $("status").textContent = text;
}

// Shows an error above the message field, or removes it.
export function alertError(text = "") {
  $("alert").textContent = text;
  $("alert").hidden = !text;
}

// Reads and writes small settings; a browser may forbid both.
export function stored(name) {
  try { return JSON.parse(localStorage.getItem(name)); } catch { return null; }
}

export function store(name, value) {
  try { localStorage.setItem(name, JSON.stringify(value)); } catch { /* full or forbidden */ }
}
