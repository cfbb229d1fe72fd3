// Conversations to files and back.
import {messages, path, text, variant} from "./conversation.js";
import {readConversation} from "./imported.js";

export function fileName(conversation, ending) {
  const words = conversation.title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40).replace(/^-|-$/g, "");
  return `${words || "conversation"}.${ending}`;
}

// The shown turns, for people.
export function toMarkdown(conversation) {
  const system = conversation.system.trim();
  const parts = [`# ${conversation.title || "Conversation"}`, ...(system ? [`## System\n\n${system}`] : [])];
  for (const turn of path(conversation)) {
    parts.push(`## You\n\n${turn.text}`);
    for (const lane of conversation.lanes) {
      const answer = variant(conversation, turn, lane, false);
      if (!answer) continue;
      const calls = answer.steps.flatMap(step => step.calls).flatMap(({name, arguments: sent, result}) =>
        [`Call of \`${name}\`: \`${sent}\``, ...(result === undefined ? [] : [`Result: ${result}`])]);
      parts.push([`## ${answer.model}`, ...calls, text(answer)].join("\n\n"));
    }
  }
  return `${parts.join("\n\n")}\n`;
}

// Everything, other variants too; it can be imported again.
export const toJson = conversations => `${JSON.stringify({smolserve: 1, conversations}, null, 1)}\n`;

// JSONL with `messages`, one line for each model that was asked by chat.
export function toRows(conversation) {
  const turns = path(conversation);
  return conversation.lanes.filter(lane => lane.kind === "chat" && turns.length).map(lane => {
    const last = variant(conversation, turns.at(-1), lane);
    return `${JSON.stringify({messages: messages(conversation, lane, turns, last)})}\n`;
  }).join("");
}

// The conversations of a file that was exported as JSON.
export function fromJson(source) {
  let value;
  try {
    value = JSON.parse(source);
  } catch {
    throw new Error("the file is not JSON; import one that was exported here.");
  }
  const list = Array.isArray(value?.conversations) ? value.conversations : [value];
  return list.map(readConversation);
}
