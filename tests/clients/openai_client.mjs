// Every endpoint as the official openai package for Node drives it, streamed and not.
//
//     node openai_client.mjs BASE_URL MODEL [GUARDED_URL KEY]
//
// The arguments are those of openai_client.py. One line a check; the first failure ends it with its stack.
// SMOL_NODE_MODULES, where set, is the folder in which the package is found.
import assert from "node:assert/strict";
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";

const modules = process.env.SMOL_NODE_MODULES;
const entry = modules ? pathToFileURL(createRequire(`${modules}/`).resolve("openai")).href : "openai";
const {default: OpenAI} = await import(entry);

const [base, model, guarded, key] = process.argv.slice(2);
const client = new OpenAI({baseURL: `${base}/v1`, apiKey: "any", maxRetries: 0, timeout: 120_000});
const hello = [{role: "user", content: "Once upon a time"}];
const schema = {
  type: "object",
  properties: {age: {type: "integer", minimum: 1, maximum: 99}, kind: {enum: ["cat", "dog"]}},
  required: ["age", "kind"],
  additionalProperties: false,
};
const feed = {type: "function", function: {name: "feed", description: "Feed a pet.", parameters: schema}};
const format = {type: "json_schema", json_schema: {name: "pet", schema, strict: true}};
const chat = more => client.chat.completions.create({model, messages: hello, seed: 7, max_tokens: 24, ...more});
const complete = more => client.completions.create({model, prompt: "Once", seed: 7, max_tokens: 12, ...more});
const fieldsOf = text => Object.keys(JSON.parse(text)).sort();

async function check(name, run) {
  await run();
  console.log("ok node", name);
}
async function joined(stream) {
  const told = {text: {}, finishes: [], usages: []};
  for await (const chunk of stream) {
    if (chunk.usage) told.usages.push(chunk.usage);
    for (const choice of chunk.choices) {
      told.text[choice.index] = (told.text[choice.index] ?? "") + (choice.delta?.content ?? choice.text ?? "");
      if (choice.finish_reason) told.finishes.push(choice.finish_reason);
    }
  }
  return told;
}

await check("models are listed and found", async () => {
  assert.deepEqual((await client.models.list()).data.map(entry => entry.id), [model]);
  assert.equal((await client.models.retrieve(model)).object, "model");
  await assert.rejects(client.models.retrieve("nobody/nowhere"), OpenAI.NotFoundError);
});

await check("chat answers, repeats itself and streams what it answers", async () => {
  const whole = await chat({n: 3});
  const again = await chat({n: 3});
  const texts = Object.fromEntries(whole.choices.map(choice => [choice.index, choice.message.content]));
  assert.deepEqual(again.choices.map(choice => choice.message.content), Object.values(texts));
  const told = await joined(await chat({n: 3, stream: true, stream_options: {include_usage: true}}));
  assert.deepEqual(told.text, texts);
  assert.deepEqual(told.finishes, ["length", "length", "length"]);
  assert.deepEqual(told.usages.map(usage => usage.total_tokens), [whole.usage.total_tokens]);
});

await check("the package's own stream helper gathers the answer", async () => {
  const stream = client.chat.completions.stream({model, messages: hello, seed: 7, max_tokens: 24});
  const whole = await chat();
  assert.equal(await stream.finalContent(), whole.choices[0].message.content);
});

await check("an answer is left in the middle", async () => {
  const stream = await chat({stream: true, max_tokens: 2000, ignore_eos: true});
  for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
  assert.ok((await chat()).choices[0].message.content);
});

await check("chat stops at strings", async () => {
  const text = (await chat({temperature: 0, max_tokens: 60})).choices[0].message.content;
  const stop = text.slice(text.length >> 1, (text.length >> 1) + 3);
  const told = await joined(await chat({temperature: 0, max_tokens: 60, stop: [stop], stream: true}));
  assert.deepEqual([told.text[0], told.finishes], [text.slice(0, text.indexOf(stop)), ["stop"]]);
});

await check("chat reports log-probabilities and keeps to JSON", async () => {
  const {content} = (await chat({logprobs: true, top_logprobs: 3, max_tokens: 8})).choices[0].logprobs;
  assert.ok(content.length === 8 && content.every(token => token.logprob <= 0 && token.top_logprobs.length === 3));
  assert.deepEqual(fieldsOf((await chat({response_format: format, max_tokens: 80})).choices[0].message.content), ["age", "kind"]);
  const told = await joined(await chat({response_format: format, max_tokens: 80, stream: true}));
  assert.deepEqual(fieldsOf(told.text[0]), ["age", "kind"]);
});

await check("chat calls tools", async () => {
  const named = {type: "function", function: {name: "feed"}};
  for (const tool_choice of ["required", named]) {
    const asked = {tools: [feed], tool_choice, parallel_tool_calls: false, max_tokens: 300};
    const {message, finish_reason} = (await chat(asked)).choices[0];
    assert.equal(finish_reason, "tool_calls");
    assert.deepEqual(fieldsOf(message.tool_calls[0].function.arguments), ["age", "kind"]);
    const stream = client.chat.completions.stream({model, messages: hello, seed: 7, ...asked});
    const gathered = (await stream.finalMessage()).tool_calls;
    assert.equal(gathered[0].function.arguments, message.tool_calls[0].function.arguments);
  }
  assert.ok((await chat({tools: [feed], tool_choice: "auto"})).choices[0].finish_reason);
});

await check("completions take every kind of prompt, echo and score", async () => {
  const ids = [1, 403, 407, 261];
  for (const [prompt, count] of [["Once", 1], [["Once", "Lily"], 2], [ids, 1], [[ids, ids.slice(0, 2)], 2]]) {
    const whole = await complete({prompt});
    assert.equal(whole.choices.length, count);
    const told = await joined(await complete({prompt, stream: true}));
    assert.deepEqual(told.text, Object.fromEntries(whole.choices.map(choice => [choice.index, choice.text])));
  }
  const scored = (await complete({prompt: "Once upon", echo: true, logprobs: 1, max_tokens: 0})).choices[0];
  assert.deepEqual([scored.text, scored.logprobs.token_logprobs[0]], ["Once upon", null]);
});

await check("responses answer and call tools", async () => {
  const asked = {model, input: "Once", max_output_tokens: 16, seed: 7};
  const whole = await client.responses.create(asked);
  let text = "";
  for await (const event of await client.responses.create({...asked, stream: true})) {
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  assert.ok(text && text === whole.output_text);
  const tools = [{type: "function", name: "feed", parameters: schema, strict: true}];
  const called = await client.responses.create(
    {model, input: "Feed", tools, tool_choice: "required", parallel_tool_calls: false, max_output_tokens: 300});
  assert.deepEqual(fieldsOf(called.output[0].arguments), ["age", "kind"]);
});

await check("embeddings come as numbers and as base64", async () => {
  const input = ["Once upon a time", "The end"];
  const floats = await client.embeddings.create({model, input, encoding_format: "float"});
  const packed = await client.embeddings.create({model, input});
  floats.data.forEach((one, row) => one.embedding.forEach((number, column) =>
    assert.ok(Math.abs(number - packed.data[row].embedding[column]) < 1e-6)));
});

await check("errors name what is wrong", async () => {
  const refused = async (promise, kind, param) => assert.rejects(promise, error =>
    error instanceof kind && error.param === param && Boolean(error.type) && Boolean(error.requestID));
  await refused(chat({temperature: -1}), OpenAI.BadRequestError, "temperature");
  await refused(chat({no_such_thing: 1}), OpenAI.BadRequestError, "no_such_thing");
  await refused(chat({model: "nobody"}), OpenAI.NotFoundError, "model");
});

if (guarded) {
  await check("keys and full queues are told apart", async () => {
    const ask = (apiKey, more, options) => new OpenAI({baseURL: `${guarded}/v1`, apiKey, maxRetries: 0})
      .chat.completions.create({model, messages: hello, max_tokens: 8, ...more}, options);
    assert.ok(await ask(key));
    await assert.rejects(ask("wrong"), OpenAI.AuthenticationError);
    // Long answers from several sides keep the one place and the queue of one taken.
    const controller = new AbortController();
    const more = {stream: true, n: 16, max_tokens: 2000, ignore_eos: true};
    let full = null;
    for (let tries = 0; tries < 60 && !full; tries++) {
      await ask(key, more, {signal: controller.signal}).catch(error => { full = error; });
    }
    controller.abort();
    assert.ok(full instanceof OpenAI.RateLimitError && Number(full.headers.get("retry-after")) >= 1, String(full));
  });
}
