// A client typed by openapi-typescript from an administrator's openapi.json, used on the example
// app. That this file compiles strictly, against types generated a moment ago, is half of the test.
//
//   node from_openapi.js ORIGIN EMAIL PASSWORD
import createClient from "openapi-fetch";

import type { components, paths } from "./api.js";

declare const process: { argv: string[] };

type Ticket = components["schemas"]["SupportTicket"];

const [, , baseUrl = "", email = "", password = ""] = process.argv;
let calls = 0;

function same<T>(found: T, expected: T): void {
  if (found !== expected) {
    throw new Error(`${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`);
  }
}

// The data of a call that succeeded.
async function data<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  calls += 1;
  const { data, error, response } = await call;
  if (data === undefined) throw new Error(`${response.status}: ${JSON.stringify(error)}`);
  return data;
}

const client = createClient<paths>({ baseUrl });
const session = await data(client.POST("/api/v1/auth/sign-in/email", { body: { email, password } }));
client.use({
  onRequest({ request }) {
    request.headers.set("authorization", `Bearer ${session.token}`);
    return request;
  },
});
const current = await data(client.GET("/api/v1/auth/get-session"));
same(current?.user?.email, email);

const customer = await data(
  client.POST("/api/v1/data/customer", { body: { name: "Typed Ltd", email: "typed@example.com" } }),
);
const created: Ticket = await data(
  client.POST("/api/v1/data/support_ticket", {
    body: { subject: "By typed code", customer: customer.id, priority: "high", tags: ["a", "b"] },
  }),
);
same(created.priority, "high");
same(created.status, "open");

const page = await data(
  client.GET("/api/v1/data/support_ticket", {
    params: { query: { where: JSON.stringify({ subject: { $eq: "By typed code" } }), limit: 5 } },
  }),
);
same(page.items?.length, 1);
const [listed] = page.items ?? [];
same(listed?.id, created.id);
same(page.total, 1);

const path = "/api/v1/data/support_ticket/{id}" as const;
const id = created.id;
const changed = await data(
  client.PATCH(path, {
    params: { path: { id }, header: { "If-Match": "1" } },
    // With the moment, which a flow would fill in else, and change the version meanwhile.
    body: { status: "resolved", resolved_at: new Date().toISOString(), satisfaction: 5 },
  }),
);
same(changed.status, "resolved");
const late = await client.PATCH(path, {
  params: { path: { id }, header: { "If-Match": "1" } },
  body: { status: "closed" },
});
same(late.response.status, 409);
same(late.error?.error.code, "CONCURRENT_UPDATE");

const expanded = await data(client.GET(path, { params: { path: { id }, query: { expand: "customer" } } }));
const target = expanded.customer;
same(typeof target === "object" ? target?.name : target, "Typed Ltd");

// What the types forbid, the server refuses, too.
const refused = await client.POST("/api/v1/data/support_ticket", {
  // @ts-expect-error: no such priority
  body: { subject: "By careless code", customer: customer.id, priority: "dreadful" },
});
same(refused.response.status, 400);
same(refused.error?.error.code, "VALIDATION_ERROR");

const gone = await data(
  client.DELETE(path, { params: { path: { id }, header: { "If-Match": "2" } } }),
);
same(gone.success, true);
const missing = await client.GET(path, { params: { path: { id } } });
same(missing.response.status, 404);
await data(client.POST("/api/v1/auth/sign-out", { body: {} }));
console.log(JSON.stringify({ calls }));
