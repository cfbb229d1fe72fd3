// The conversation as it is shown: turns, answers side by side, thoughts, calls, and what can be done with each.
import {button, copy, element} from "./dom.js";
import {note, isCut} from "./answering.js";
import {path, siblings, text, variant} from "./conversation.js";
import {MarkdownView, codeBlock, plain} from "./markdown.js";

// A step keeps its elements, so that what is open or selected stays when the rest is shown again.
const views = new WeakMap();

class StepView {
  body = element("div", {className: "body"});
  thoughts = element("div", {className: "plain"});
  thinking = element("details", {className: "thinking", hidden: true}, element("summary"), this.thoughts);
  content = new MarkdownView();
  calls = element("div", {className: "calls"});
  element = element("div", {className: "step"}, this.thinking, this.body, this.calls);

  show(step, isWriting, asMarkdown, onResults) {
    this.thinking.hidden = !step.thinking;
    this.thinking.firstChild.textContent = isWriting && !step.content ? "Thinking …" : "Thought";
    this.thoughts.textContent = plain(step.thinking);
    if (asMarkdown) {
      this.content.show(step.content, isWriting);
      this.body.replaceChildren(this.content.element);
    } else {
      this.body.replaceChildren(element("div", {className: "plain", dir: "auto", textContent: plain(step.content)}));
    }
    this.body.classList.toggle("writing", Boolean(isWriting));
    if (!isWriting || step.calls.length !== this.calls.childElementCount) this.#showCalls(step, onResults);
  }

  // Nothing here runs a tool: the person writes what it returned.
  #showCalls(step, onResults) {
    const cards = step.calls.map(call => {
      const result = element("textarea", {rows: 2, value: call.result ?? ""});
      result.addEventListener("input", () => { call.result = result.value; });
      return element("div", {className: "call", role: "group", "aria-label": `Call of ${plain(call.name)}`},
        element("strong", {textContent: `Call: ${plain(call.name)}`}), codeBlock(plain(pretty(call.arguments)), "json"),
        onResults ? element("label", {className: "field"}, "What the tool returned", result)
          : codeBlock(plain(call.result ?? ""), "result"));
    });
    const send = onResults && step.calls.length ? [button("Send results", onResults, {className: "main"})] : [];
    this.calls.replaceChildren(...cards, ...send);
  }
}

function pretty(json) {
  try { return JSON.stringify(JSON.parse(json), null, 2); } catch { return json; }
}

function view(step) {
  if (!views.has(step)) views.set(step, new StepView());
  return views.get(step);
}

// "‹ 2/3 ›" between versions of a message or variants of an answer.
function chooser(what, index, count, choose, where) {
  if (count < 2) return null;
  const step = (label, name, to) => button(label, () => choose((to + count) % count),
    {"aria-label": `${name} ${what}`, "data-focus": `${where}-${name}`});
  return element("span", {className: "chooser", role: "group", "aria-label": `${what} ${index + 1} of ${count}`},
    step("‹", "Previous", index - 1), `${index + 1}/${count}`, step("›", "Next", index + 1));
}

function userArticle(conversation, turn, isRunning, actions) {
  const all = siblings(conversation, turn), where = turn.id;
  const below = isRunning ? [] : [
    button("Copy", event => copy(turn.text, event.target), {"data-focus": `${where}-copy`}),
    button("Edit", () => actions.edit(turn), {"data-focus": `${where}-edit`}),
    chooser("version", all.indexOf(turn), all.length, to => actions.chooseTurn(turn, all[to]), where)];
  return element("article", {className: "user", "aria-label": "You"},
    element("div", {className: "plain", dir: "auto", textContent: turn.text}),
    element("div", {className: "below"}, ...below));
}

function answerArticle(shown, turn, lane, state) {
  const {isLast, isRunning, options, actions} = state;
  const answers = turn.answers[lane.id], where = `${turn.id}-${lane.id}`;
  const steps = (shown?.steps ?? []).map((step, index, all) => {
    const isEnd = index === all.length - 1;
    const onResults = isEnd && isLast && !isRunning ? () => actions.more(lane) : null;
    view(step).show(step, shown.isWriting && isEnd, options.markdown && shown.kind === "chat", onResults);
    return view(step).element;
  });
  const act = (label, act) => button(label, act, {"data-focus": `${where}-${label}`});
  const below = isRunning ? [] : [
    shown && button("Copy", event => copy(text(shown), event.target), {"data-focus": `${where}-copy`}),
    isLast && act(shown ? "Retry" : "Answer", () => actions.retry(lane)),
    isLast && isCut(shown) && act("Continue", () => actions.more(lane)),
    answers && chooser("answer", answers.chosen, answers.variants.length,
      to => actions.chooseVariant(answers, to), where),
    shown && element("span", {className: "note", textContent: note(shown)})].filter(Boolean);
  const model = shown?.model || lane.model;
  return element("article", {className: "assistant", "aria-label": `Answer of ${model}`,
    "aria-busy": String(Boolean(shown?.isWriting))},
    options.named ? element("div", {className: "name", textContent: model}) : null, ...steps,
    shown?.error ? element("div", {className: "error", role: "alert", textContent: shown.error}) : null,
    element("div", {className: "below"}, ...below));
}

// The elements of the shown turns. `options`: {markdown}; `actions` are called by the buttons.
export function turnElements(conversation, isRunning, options, actions) {
  const turns = path(conversation);
  const shown = turns.flatMap(turn => conversation.lanes.map(lane => variant(conversation, turn, lane, false)));
  const named = conversation.lanes.length > 1 || new Set(shown.filter(Boolean).map(({model}) => model)).size > 1;
  return turns.flatMap((turn, index) => {
    const state = {isLast: index === turns.length - 1, isRunning, options: {...options, named}, actions};
    const articles = conversation.lanes.map(lane =>
      answerArticle(variant(conversation, turn, lane, false), turn, lane, state));
    const answers = element("div", {className: "answers"}, ...articles);
    answers.style.setProperty("--lanes", articles.length);
    return [userArticle(conversation, turn, isRunning, actions), answers];
  });
}

// Shows what an answer has grown by.
export function showGrowth(shown, markdown) {
  const step = shown.steps.at(-1);
  view(step).show(step, shown.isWriting, markdown && shown.kind === "chat", null);
}
