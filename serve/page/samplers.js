// The settings of an answer: how tokens are chosen, the format of the text, and tools. They are the fields that the
// server honors (docs/request-fields.md); an empty one is not sent.
import {$, element, store, stored} from "./dom.js";

const STORE = "smolserve-settings";
const id = name => `set-${name}`;
const at = name => $(id(name));
// Raw completions end after 16 tokens otherwise.
const RAW_MAX_TOKENS = 256;

const number = (low, high) => text => {
  const value = Number(text.replace(",", "."));
  if (Number.isFinite(value) && value >= low && value <= high) return value;
  throw new Error(`is not a number from ${low} to ${high}`);
};
const integer = low => text => {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= low) return value;
  throw new Error(`is not an integer from ${low}`);
};
const json = (isRight, expected) => text => {
  let value;
  try { value = JSON.parse(text); } catch (error) { throw new Error(`is not JSON: ${error.message}`); }
  if (isRight(value)) return value;
  throw new Error(`is not ${expected}`);
};
const isObject = value => value !== null && typeof value === "object" && !Array.isArray(value);
const lines = text => text.split("\n").filter(Boolean).map(line => line.replace(/\\([nt\\])/g, (_, letter) =>
  ({n: "\n", t: "\t", "\\": "\\"})[letter]));

// name of the request, label, what is shown when it is empty, how it is read.
const SAMPLERS = [
  ["temperature", "Temperature", "1", number(0, 2)],
  ["top_k", "Top k", "all", integer(-1)],
  ["top_p", "Top p", "1", number(0, 1)],
  ["min_p", "Min p", "0", number(0, 1)],
  ["repetition_penalty", "Repetition penalty", "1", number(0.01, 100)],
  ["presence_penalty", "Presence penalty", "0", number(-2, 2)],
  ["frequency_penalty", "Frequency penalty", "0", number(-2, 2)],
  ["seed", "Seed", "random", integer(-Number.MAX_SAFE_INTEGER)],
  ["max_tokens", "Max tokens", "the context", integer(1)],
  ["min_tokens", "Min tokens", "0", integer(0)],
  ["stop", "Stop strings, one a line; \\n is a line end", "none", lines, "textarea"],
  ["stop_token_ids", "Stop token ids", "none", text => text.split(/[\s,]+/).filter(Boolean).map(integer(0))],
  ["logit_bias", "Logit bias by token id, JSON", "{\"42\": -100}", json(isObject, "an object"), "textarea"],
  ["ignore_eos", "Continue after the end token", "", Boolean, "checkbox"],
];
const CONSTRAINTS = {
  json_object: ["any JSON object", () => ({response_format: {type: "json_object"}})],
  guided_json: ["a JSON schema", text => ({guided_json: json(isObject, "a schema")(text)})],
  guided_choice: ["one of these lines", text => ({guided_choice: lines(text)})],
  guided_regex: ["a regular expression", text => ({guided_regex: text})],
  guided_grammar: ["a Lark grammar", text => ({guided_grammar: text})],
};
const FORMATS = [
  ["constraint", "Constrain the text to", ["", "nothing"],
    Object.entries(CONSTRAINTS).map(([name, [label]]) => [name, label])],
  ["constraint_text", "The schema, lines, expression or grammar", "", text => text, "textarea"],
  ["reasoning_effort", "Reasoning effort", ["", "default"],
    ["none", "minimal", "low", "medium", "high", "xhigh"].map(name => [name, name])],
  ["chat_template_kwargs", "Variables of the chat template, JSON", "{\"enable_thinking\": false}",
    json(isObject, "an object"), "textarea"],
  ["tools", "Tools, a JSON array as OpenAI has it", "[{\"type\": \"function\", \"function\": {...}}]",
    json(Array.isArray, "an array"), "textarea"],
  ["tool_choice", "Tools are called", ["", "when the model decides"], [["required", "always"], ["none", "never"]]],
];
const CHAT_ONLY = ["reasoning_effort", "chat_template_kwargs", "tools", "tool_choice"];
const ALL = [...SAMPLERS, ...FORMATS];

function field([name, label, empty, read, kind = "input"]) {
  if (kind === "checkbox") {
    return element("label", {className: "check wide"}, element("input", {id: id(name), type: "checkbox"}), ` ${label}`);
  }
  if (Array.isArray(read)) {
    const options = [empty, ...read].map(([value, text]) => element("option", {value, textContent: text}));
    return element("label", {className: "field wide"}, label, element("select", {id: id(name)}, ...options));
  }
  const properties = {id: id(name), placeholder: empty, autocomplete: "off", spellcheck: false};
  return element("label", {className: kind === "textarea" ? "field wide" : "field"}, label,
    element(kind, kind === "textarea" ? {...properties, rows: 2} : {...properties, inputMode: "decimal"}));
}

// Spaces count in lines.
function value(name) {
  const field = at(name);
  if (field.type === "checkbox") return field.checked ? "true" : "";
  return field.tagName === "TEXTAREA" ? field.value.replace(/^\n+|\n+$/g, "") : field.value.trim();
}

// Builds the fields, fills them with what was stored, and stores what changes.
export function startSettings(onChange) {
  $("samplers").append(...SAMPLERS.map(field));
  $("formats").append(...FORMATS.map(field));
  const kept = stored(STORE) ?? {};
  const fill = from => ALL.forEach(([name]) => {
    if (at(name).type === "checkbox") at(name).checked = from[name] === "true";
    else at(name).value = typeof from[name] === "string" ? from[name] : "";
  });
  const changed = () => {
    const needsText = value("constraint") && value("constraint") !== "json_object";
    at("constraint_text").parentElement.hidden = !needsText;
    store(STORE, Object.fromEntries(ALL.map(([name]) => [name, value(name)])));
    onChange();
  };
  fill(kept);
  for (const [name] of ALL) at(name).addEventListener("change", changed);
  $("reset").addEventListener("click", () => {
    for (const [name] of SAMPLERS) if (at(name).type === "checkbox") at(name).checked = false; else at(name).value = "";
    changed();
  });
  changed();
}

// The fields of a request to a lane of this kind. A value that cannot be read is an error with the field's `id`.
export function settings(kind) {
  const body = {};
  for (const [name, label, , read] of ALL) {
    at(name).removeAttribute("aria-invalid");
    if (!value(name) || name.startsWith("constraint") || (kind === "text" && CHAT_ONLY.includes(name))) continue;
    body[name] = Array.isArray(read) ? value(name) : checked(name, label, () => read(value(name)));
  }
  if (value("constraint")) {
    const [label, make] = CONSTRAINTS[value("constraint")];
    if (value("constraint") !== "json_object" && !value("constraint_text")) {
      checked("constraint_text", label, () => { throw new Error("is empty"); });
    }
    Object.assign(body, checked("constraint_text", label, () => make(value("constraint_text"))));
  }
  if (!body.tools) delete body.tool_choice;
  if (kind === "text") body.max_tokens ??= RAW_MAX_TOKENS;
  return body;
}

function checked(name, label, read) {
  try {
    return read();
  } catch (error) {
    at(name).setAttribute("aria-invalid", "true");
    throw Object.assign(new Error(`${label}: "${value(name).slice(0, 80)}" ${error.message}.`), {field: id(name)});
  }
}
