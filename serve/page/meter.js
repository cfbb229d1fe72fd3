// How much of each model's context the conversation and the message being written take.
import {$, element} from "./dom.js";
import {messages, path, rawText, variant} from "./conversation.js";
import {countTokens} from "./server.js";

const PAUSE = 500; // milliseconds without a key press
let timer = 0, controller = null;

// The request for the count: the shown turns, their last answers, and the draft.
function body(conversation, lane, draft) {
  const turns = path(conversation), last = turns.length ? variant(conversation, turns.at(-1), lane) : null;
  if (lane.kind === "text") {
    const written = [rawText(conversation, lane, turns, last), draft].filter(Boolean).join("\n");
    return written ? {model: lane.model, prompt: written} : null;
  }
  const sent = messages(conversation, lane, turns, last);
  if (draft) sent.push({role: "user", content: draft});
  return sent.length ? {model: lane.model, messages: sent} : null;
}

function meter(lane, used, context, isNamed) {
  const share = context ? Math.min(1, used / context) : 0;
  const fill = element("span", {className: share > 0.9 ? "fill full" : "fill"});
  fill.style.width = `${(share * 100).toFixed(1)}%`;
  const text = `${used.toLocaleString("en")} of ${context.toLocaleString("en")} tokens`;
  return element("span", {className: "meter"}, isNamed ? `${lane.model} ` : "",
    element("span", {className: "bar", role: "meter", "aria-label": `Context of ${lane.model}`, "aria-valuemin": 0,
      "aria-valuemax": context, "aria-valuenow": used, "aria-valuetext": text}, fill), ` ${text}`);
}

async function update(conversation, models, draft, signal) {
  const meters = await Promise.all(conversation.lanes.map(async lane => {
    const context = models.find(model => model.name === lane.model)?.context ?? 0;
    const asked = body(conversation, lane, draft);
    const used = asked ? await countTokens(asked, signal) : 0;
    return context ? meter(lane, used, context, conversation.lanes.length > 1) : null;
  }));
  $("context").replaceChildren(...meters.filter(Boolean));
}

// Counts again, once the person pauses; a count that fails shows nothing.
export function updateMeter(conversation, models, draft) {
  clearTimeout(timer);
  controller?.abort();
  timer = setTimeout(() => {
    controller = new AbortController();
    update(conversation, models, draft, controller.signal).catch(error => {
      if (error.name !== "AbortError") $("context").replaceChildren();
    });
  }, PAUSE);
}
