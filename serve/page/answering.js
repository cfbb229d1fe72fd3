// One answer of one lane: its request, its stream, and what is measured of it.
import {addVariant, messages, newStep, path, rawText, variant} from "./conversation.js";
import {settings} from "./samplers.js";
import {startAnswer} from "./server.js";

// Counts arrive with every event, so that an answer that is stopped has them, too.
const STREAMED = {include_usage: true, continuous_usage_stats: true};

// The path and the body of a request that answers the last turn. With `last` that answer is continued: within its text,
// or after the results of its calls.
function request(conversation, lane, turns, last) {
  const shared = {model: lane.model, stream: true, stream_options: STREAMED, ...settings(lane.kind)};
  if (lane.kind === "text") return ["v1/completions", {...shared, prompt: rawText(conversation, lane, turns, last)}];
  const body = {...shared, messages: messages(conversation, lane, turns, last)};
  if (last && !last.steps.at(-1).calls.length) {
    Object.assign(body, {add_generation_prompt: false, continue_final_message: true});
  }
  return ["v1/chat/completions", body];
}

// Adds an event's parts to a step.
function extend(step, choice) {
  const delta = choice.delta ?? {content: choice.text};
  step.content += delta.content ?? "";
  step.thinking += delta.reasoning_content ?? "";
  for (const part of delta.tool_calls ?? []) {
    const call = step.calls[part.index] ??= {id: "", name: "", arguments: ""};
    call.id ||= part.id ?? "";
    call.name ||= part.function?.name ?? "";
    call.arguments += part.function?.arguments ?? "";
  }
}

// Answers the last shown turn; `isMore` continues the shown answer. `onChange` is called with the answer as it grows.
export async function answer(conversation, lane, isMore, signal, onChange) {
  const turns = path(conversation), turn = turns.at(-1);
  const earlier = isMore ? variant(conversation, turn, lane, false) : null;
  const [address, body] = request(conversation, lane, turns, earlier);
  const shown = earlier ?? addVariant(turn, lane);
  if (earlier?.steps.at(-1).calls.length) shown.steps.push(newStep());
  Object.assign(shown, {error: "", finish: "", isWriting: true});
  const step = shown.steps.at(-1), began = performance.now(), tokensBefore = shown.tokens ?? 0;
  let first = 0, usage = null;
  onChange(shown);
  try {
    const {leftOut, events} = await startAnswer(address, body, signal);
    shown.leftOut = leftOut;
    for await (const event of events) {
      if (event.error) throw new Error(event.error.message ?? "The server stopped with an error.");
      usage = event.usage ?? usage;
      const choice = event.choices?.[0];
      if (!choice) continue;
      const {content, reasoning_content, tool_calls} = choice.delta ?? {};
      if (content || reasoning_content || tool_calls || choice.text) first ||= performance.now();
      extend(step, choice);
      shown.finish = choice.finish_reason ?? shown.finish;
      onChange(shown);
    }
    if (!shown.finish) throw new Error("The connection closed before the end of the answer.");
  } catch (error) {
    if (error.name === "AbortError") shown.finish = "stopped";
    else if (error instanceof TypeError) shown.error = "The connection broke before the end of the answer.";
    else shown.error = error.message;
  }
  delete shown.isWriting;
  if (usage) {
    const seconds = (performance.now() - first) / 1000;
    Object.assign(shown, {promptTokens: usage.prompt_tokens, tokens: tokensBefore + usage.completion_tokens});
    if (first && usage.completion_tokens > 1 && seconds > 0) shown.speed = (usage.completion_tokens - 1) / seconds;
  }
  if (first) shown.firstSeconds = (first - began) / 1000;
  onChange(shown);
}

// What is said below an answer.
export function note(shown) {
  const parts = [];
  if (shown.tokens !== undefined) parts.push(`${shown.promptTokens} + ${shown.tokens} tokens`);
  if (shown.speed) parts.push(`${shown.speed.toFixed(1)} tokens/s`);
  if (shown.firstSeconds) parts.push(`first token after ${shown.firstSeconds.toFixed(2)} s`);
  if (shown.finish === "length") parts.push("cut at max tokens");
  if (shown.finish === "stopped") parts.push("stopped");
  if (shown.leftOut) parts.push(`left out: ${shown.leftOut}`);
  return parts.join(" · ");
}

// Whether "Continue" has a text to continue.
export function isCut(shown) {
  const last = shown?.steps.at(-1);
  if (!last?.content || last.calls.length) return false;
  return ["length", "stopped"].includes(shown.finish) || Boolean(shown.error);
}
