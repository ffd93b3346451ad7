// The AI SDK's own client against the mesh: its transport posts what its chat component would post,
// and its stream reader checks every event against its schema and puts the message together.
//
//   ai_sdk.mjs TOKEN ORIGIN
import assert from "node:assert/strict";

import { DefaultChatTransport, readUIMessageStream } from "ai";

const [token, origin] = process.argv.slice(2);
const api = `${origin}/api/v1/ai/chat/stream`;
const headers = { authorization: `Bearer ${token}` };
let answers = 0;

function ask(text) {
  return { id: `m${answers}`, role: "user", parts: [{ type: "text", text }] };
}

// Everything that one question brings, as the SDK sees it: its chunks and the last message.
async function chat(messages, body = {}) {
  answers += 1;
  let status;
  const transport = new DefaultChatTransport({
    api,
    headers,
    body,
    fetch: async (input, init) => {
      const response = await fetch(input, init);
      status = response.headers;
      return response;
    },
  });
  const stream = await transport.sendMessages({
    chatId: "chat-1",
    trigger: "submit-message",
    messageId: undefined,
    messages,
    abortSignal: undefined,
  });
  const [seen, read] = stream.tee();
  const chunks = [];
  const collecting = (async () => {
    for await (const chunk of seen) chunks.push(chunk);
  })();
  const errors = [];
  let message;
  for await (message of readUIMessageStream({
    stream: read,
    onError: (error) => errors.push(error),
  }));
  await collecting;
  return { chunks, errors, headers: status, message };
}

const said = (message) =>
  message.parts.filter((part) => part.type === "text").map((part) => part.text).join("");

// Plain text.
{
  const { chunks, errors, headers, message } = await chat([ask("good morning")]);
  assert.equal(headers.get("content-type"), "text/event-stream");
  assert.equal(headers.get("x-vercel-ai-ui-message-stream"), "v1");
  assert.deepEqual(errors, []);
  assert.equal(message.role, "assistant");
  assert.match(said(message), /good morning/);
  assert.equal(chunks[0].type, "start");
  assert.deepEqual(chunks.at(-1), { type: "finish", finishReason: "stop" });
}

// A tool that reads: the SDK sees its input and its output.
{
  const input = { objectName: "ticket", where: { status: "open" } };
  const { errors, message } = await chat([ask(`call query_records ${JSON.stringify(input)}`)]);
  assert.deepEqual(errors, []);
  const tool = message.parts.find((part) => part.type === "tool-query_records" || part.toolName === "query_records");
  assert.ok(tool, JSON.stringify(message.parts));
  assert.equal(tool.state, "output-available");
  assert.deepEqual(tool.input, input);
  assert.equal(tool.output.total, 1);
  assert.ok(message.parts.some((part) => part.type === "text"));
}

// A tool that would change something proposes it.
{
  const input = { objectName: "ticket", data: { subject: "from the SDK" } };
  const { errors, message } = await chat([ask(`call create_record ${JSON.stringify(input)}`)]);
  assert.deepEqual(errors, []);
  const pending = message.parts.find((part) => part.type === "data-pending-action");
  assert.ok(pending, JSON.stringify(message.parts));
  assert.match(pending.data.id, /^[0-9A-Z]{26}$/);
}

// Without the right there is no stream: an error with the envelope.
{
  const refused = await fetch(api, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: "Bearer nobody" },
    body: JSON.stringify({ messages: [ask("hello")] }),
  });
  assert.equal(refused.status, 401);
  assert.equal((await refused.json()).error.code, "UNAUTHENTICATED");
}

console.log(JSON.stringify({ answers }));
