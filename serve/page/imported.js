// Reads a conversation of a file: the known fields, each of its type. Everything else is left out, and what a
// conversation cannot be without is made.
import {newId} from "./conversation.js";

const string = value => typeof value === "string" ? value : "";
const number = value => Number.isFinite(value) ? value : undefined;
const list = value => Array.isArray(value) ? value : [];
const entries = value => Object.entries(value && typeof value === "object" ? value : {});
const kind = value => value === "text" ? "text" : "chat";

function call(value) {
  const read = {id: string(value?.id), name: string(value?.name), arguments: string(value?.arguments)};
  return typeof value?.result === "string" ? {...read, result: value.result} : read;
}

function step(value) {
  return {thinking: string(value?.thinking), content: string(value?.content), calls: list(value?.calls).map(call)};
}

function variant(value) {
  return {model: string(value?.model), kind: kind(value?.kind), steps: list(value?.steps).map(step),
    finish: string(value?.finish), error: string(value?.error), leftOut: string(value?.leftOut),
    promptTokens: number(value?.promptTokens), tokens: number(value?.tokens), speed: number(value?.speed),
    firstSeconds: number(value?.firstSeconds)};
}

function answers(value) {
  const variants = list(value?.variants).map(variant).filter(one => one.steps.length);
  const last = variants.length - 1;
  return {variants, chosen: Number.isInteger(value?.chosen) ? Math.min(Math.max(0, value.chosen), last) : last};
}

function turn(id, value) {
  const ofLanes = entries(value?.answers).map(([lane, item]) => [lane, answers(item)]);
  return {id, parent: string(value?.parent), text: string(value?.text),
    answers: Object.fromEntries(ofLanes.filter(([, item]) => item.variants.length))};
}

function lane(value) {
  return {id: string(value?.id) || newId(), model: string(value?.model), kind: kind(value?.kind)};
}

// A conversation with a name of its own, so that it replaces none.
export function readConversation(value) {
  if (!value || typeof value !== "object" || !value.turns || typeof value.turns !== "object") {
    throw new Error("the file has no conversation of this page; import one that was exported as JSON.");
  }
  const now = Date.now(), lanes = list(value.lanes).map(lane);
  const turns = Object.fromEntries(entries(value.turns).map(([id, item]) => [id, turn(id, item)]));
  const chosen = entries(value.chosen).filter(([, id]) => typeof id === "string" && Object.hasOwn(turns, id));
  return {id: newId(), title: string(value.title).slice(0, 200), created: number(value.created) ?? now, updated: now,
    system: string(value.system), lanes: lanes.length ? lanes : [lane({})], turns,
    chosen: Object.fromEntries(chosen)};
}
