// The shape of a conversation, and what follows from it.
//
// A conversation is a tree of turns; a turn is a person's message and the answers to it. Editing a message makes a
// sibling of its turn, so nothing is lost: `chosen` names the turn that is shown after each one ("" before the first).
// Each model beside the others is a lane. An answer is one variant of several; it has steps, more than one where tools
// were called.
//   conversation: {id, title, created, updated, system, lanes: [{id, model, kind}], turns: {id: turn}, chosen}
//   turn:         {id, parent, text, answers: {laneId: {variants: [variant], chosen}}}
//   variant:      {model, kind, steps: [step], finish, error, leftOut, promptTokens, tokens, speed, firstSeconds}
//   step:         {thinking, content, calls: [{id, name, arguments, result}]}
// `kind` of a lane is "chat" or "text": text is continued as it is, without a chat template.

export const newId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(9)), byte => byte.toString(36).padStart(2, "0")).join("");

export function newConversation(lanes) {
  const now = Date.now();
  return {id: newId(), title: "", created: now, updated: now, system: "", lanes: structuredClone(lanes), turns: {},
    chosen: {}};
}

// The shown turns, from the first to the last.
export function path(conversation) {
  const turns = [];
  for (let turn = conversation.turns[conversation.chosen[""]]; turn && turns.length < 10000;) {
    turns.push(turn);
    turn = conversation.turns[conversation.chosen[turn.id]];
  }
  return turns;
}

export function siblings(conversation, turn) {
  return Object.values(conversation.turns).filter(other => other.parent === turn.parent);
}

// Adds a turn after `parent` ("" for the first) and shows it.
export function addTurn(conversation, parent, text) {
  const turn = {id: newId(), parent, text, answers: {}};
  conversation.turns[turn.id] = turn;
  conversation.chosen[parent] = turn.id;
  if (!conversation.title) conversation.title = text.replace(/\s+/g, " ").slice(0, 80);
  return turn;
}

export const newStep = () => ({thinking: "", content: "", calls: []});

// Adds a variant to a lane's answers and shows it.
export function addVariant(turn, lane) {
  const answers = turn.answers[lane.id] ??= {variants: [], chosen: 0};
  const variant = {model: lane.model, kind: lane.kind, steps: [newStep()], finish: "", error: "", leftOut: ""};
  answers.chosen = answers.variants.push(variant) - 1;
  return answers.variants[answers.chosen];
}

// The shown answer of a lane. A lane that came later continues from the first lane's answers.
export function variant(conversation, turn, lane, orElse = true) {
  const of = id => turn.answers[id]?.variants[turn.answers[id].chosen];
  if (of(lane.id) || !orElse) return of(lane.id);
  return conversation.lanes.map(other => of(other.id)).find(Boolean);
}

export const text = answer => answer.steps.map(step => step.content).filter(Boolean).join("\n\n");

// The messages that an answer's steps are sent as.
function stepMessages(step) {
  const message = {role: "assistant", content: step.content || (step.calls.length ? null : "")};
  if (step.thinking) message.reasoning_content = step.thinking;
  if (step.calls.length) {
    message.tool_calls = step.calls.map(call =>
      ({id: call.id, type: "function", function: {name: call.name, arguments: call.arguments}}));
  }
  const results = step.calls.map(call => ({role: "tool", tool_call_id: call.id, content: call.result ?? ""}));
  return [message, ...results];
}

// The messages of the shown turns, up to and with the answer `last`; an answer that was never begun is left out.
export function messages(conversation, lane, turns = path(conversation), last = null) {
  const system = conversation.system.trim();
  const sent = system ? [{role: "system", content: system}] : [];
  turns.forEach((turn, index) => {
    sent.push({role: "user", content: turn.text});
    const answer = index === turns.length - 1 ? last : variant(conversation, turn, lane);
    const steps = answer?.steps.filter(step => step.content || step.calls.length) ?? [];
    sent.push(...steps.flatMap(stepMessages));
  });
  return sent;
}

// The raw text of the shown turns, which a model without a chat template continues.
export function rawText(conversation, lane, turns = path(conversation), last = null) {
  return turns.map((turn, index) => {
    const answer = index === turns.length - 1 ? last : variant(conversation, turn, lane);
    return turn.text + (answer ? answer.steps.map(step => step.content).join("") : "");
  }).join("\n");
}
