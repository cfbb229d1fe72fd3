// The models of a conversation, side by side: one picker for each, in the header.
import {$, button, element} from "./dom.js";
import {newId} from "./conversation.js";

const MAX_LANES = 4;

// A model that was never trained on conversations is given text. Its name is the only sign of it.
const usualKind = name => /(^|[^a-z])(base|pretrain(ed)?|pt)([^a-z]|$)/i.test(name) ? "text" : "chat";

export function newLane(model) {
  return {id: newId(), model, kind: usualKind(model)};
}

// Gives a lane whose model is not served another one.
export function repairLanes(lanes, models) {
  for (const lane of lanes) {
    if (models.length && !models.some(model => model.name === lane.model)) {
      Object.assign(lane, {model: models[0].name, kind: usualKind(models[0].name)});
    }
  }
}

function picker(lane, index, lanes, models, changed) {
  const options = models.length ? models : [{name: lane.model || "no model"}];
  const select = element("select", {"aria-label": `Model ${index + 1}`, onchange: () => {
    Object.assign(lane, {model: select.value, kind: usualKind(select.value)});
    changed();
  }}, ...options.map(({name}) => element("option", {value: name, textContent: name})));
  select.value = lane.model;
  const kind = element("select", {"aria-label": `How model ${index + 1} is asked`, className: "kind",
    title: "chat uses the model's chat template; text continues what is written, for base models",
    onchange: () => { lane.kind = kind.value; changed(); }},
    element("option", {value: "chat", textContent: "chat"}), element("option", {value: "text", textContent: "text"}));
  kind.value = lane.kind;
  const remove = lanes.length > 1 && button("×", () => { lanes.splice(index, 1); changed(); },
    {"aria-label": `Remove model ${index + 1}, ${lane.model}`});
  return element("span", {className: "lane"}, select, kind, ...(remove ? [remove] : []));
}

// Shows the pickers. `changed` is called when a person has changed a lane.
export function showLanes(lanes, models, isRunning, changed) {
  const unused = models.find(model => !lanes.some(lane => lane.model === model.name)) ?? models[0];
  const add = models.length && lanes.length < MAX_LANES
    ? [button("+", () => { lanes.push(newLane(unused.name)); changed(); },
      {"aria-label": "Add a model beside", title: "Add a model beside", className: "add"})] : [];
  $("lanes").replaceChildren(...lanes.map((lane, index) => picker(lane, index, lanes, models, changed)), ...add);
  for (const control of $("lanes").querySelectorAll("select, button")) control.disabled = isRunning;
}
