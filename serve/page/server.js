// What is asked of the server: models, token counts, and the events of an answer.
import {key} from "./key.js";

function headers() {
  return {"content-type": "application/json", ...(key() && {authorization: `Bearer ${key()}`})};
}

async function errorText(response) {
  let message = "";
  try { message = (await response.json()).error?.message ?? ""; } catch { /* no JSON */ }
  if (response.status === 401) return `The server requires an API key; enter it in Settings. ${message}`.trim();
  const wait = response.headers.get("retry-after");
  return `${message || `The server returned status ${response.status}.`}${wait ? ` Try again in ${wait} s.` : ""}`;
}

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, {headers: headers(), ...options});
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error("Cannot reach the server.");
  }
  if (!response.ok) throw new Error(await errorText(response));
  return response;
}

function post(path, body, signal) {
  return call(path, {method: "POST", body: JSON.stringify(body), signal});
}

// The served models: {name, context}, the context in tokens.
export async function models() {
  const list = await (await call("v1/models")).json();
  return list.data.map(model => ({name: model.id, context: model.max_model_len ?? 0}));
}

// The number of tokens of a conversation (`messages`) or of a raw text (`prompt`).
export async function countTokens(body, signal) {
  return (await (await post("tokenize", body, signal)).json()).count;
}

// Starts an answer. Returns what the server left out of the request, and the events.
export async function startAnswer(path, body, signal) {
  const response = await post(path, body, signal);
  return {leftOut: response.headers.get("x-smolserve-left-out") ?? "", events: events(response.body)};
}

// The events of a stream, wherever its bytes are cut; `[DONE]` ends it.
export async function* events(stream) {
  const decoder = new TextDecoder();
  let rest = "";
  for (const reader = stream.getReader(); ;) {
    const {value, done} = await reader.read();
    rest += done ? decoder.decode() + "\n" : decoder.decode(value, {stream: true});
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
    if (done) return;
  }
}
