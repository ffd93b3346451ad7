// A stock Better Auth client against the mesh: who signs up can sign in, read the session, sign out
// and is then nobody; with a cookie jar as a browser has one, with the bearer token as a program
// has it; and an administrator administers users by the admin plugin.
//
//   better_auth.mjs ADMIN_EMAIL ADMIN_PASSWORD ORIGIN…
//
// Calls take turns between the origins, the replicas of one mesh; the first is its public URL.
import assert from "node:assert/strict";

import { createAuthClient } from "better-auth/client";
import { adminClient } from "better-auth/client/plugins";

const [adminEmail, adminPassword, ...origins] = process.argv.slice(2);
const publicUrl = origins[0];
const password = "correct horse battery";
let turn = 0;

// What a proxy before the replicas does: the client knows one address.
function anyReplica(input, init) {
  const url = new URL(input instanceof Request ? input.url : input);
  const replica = new URL(origins[turn++ % origins.length]);
  url.host = replica.host;
  return fetch(url, init);
}

// What a browser does and node's fetch does not: keep cookies, send them, and name its origin.
class Browser {
  cookies = new Map();

  fetch = async (input, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set("origin", publicUrl);
    if (this.cookies.size > 0) {
      const pairs = [...this.cookies].map(([name, value]) => `${name}=${value}`);
      headers.set("cookie", pairs.join("; "));
    }
    const response = await anyReplica(input, { ...init, headers });
    // Debian's node has no `getSetCookie`; where a cookie begins, a name and "=" follow the comma.
    const lines = response.headers.get("set-cookie")?.split(/, (?=[^;, ]+=)/) ?? [];
    for (const line of lines) {
      const [pair, ...attributes] = line.split("; ");
      const at = pair.indexOf("=");
      const name = pair.slice(0, at);
      if (attributes.includes("Max-Age=0")) this.cookies.delete(name);
      else this.cookies.set(name, pair.slice(at + 1));
    }
    return response;
  };
}

function client(fetchOptions) {
  return createAuthClient({
    baseURL: `${publicUrl}/api/v1/auth`,
    plugins: [adminClient()],
    fetchOptions,
  });
}

function inBrowser() {
  const browser = new Browser();
  return { browser, auth: client({ customFetchImpl: browser.fetch }) };
}

// As Better Auth's documentation says for its bearer plugin.
function withBearer() {
  const held = { token: "" };
  const auth = client({
    customFetchImpl: anyReplica,
    auth: { type: "Bearer", token: () => held.token },
    onSuccess: (context) => {
      const token = context.response.headers.get("set-auth-token");
      if (token) held.token = token;
    },
  });
  return { held, auth };
}

// The data of a call that succeeded.
async function data(call) {
  const answer = await call;
  assert.equal(answer.error, null, JSON.stringify(answer.error));
  return answer.data;
}

// Status and code of a call that was refused.
async function refusal(call) {
  const { data, error } = await call;
  assert.equal(data, null, JSON.stringify(data));
  assert.equal(typeof error.message, "string");
  return [error.status, error.code];
}

function isUser(user, email) {
  assert.equal(user.email, email);
  assert.equal(typeof user.id, "string");
  assert.equal(user.emailVerified, false);
  assert.ok("image" in user);
  // The client makes dates of what looks like one.
  assert.ok(user.createdAt instanceof Date, user.createdAt);
  assert.ok(user.updatedAt instanceof Date, user.updatedAt);
}

async function cookies() {
  const email = "cookie@example.com";
  const { browser, auth } = inBrowser();
  assert.equal(await data(auth.getSession()), null);
  const signedUp = await data(auth.signUp.email({ name: "Cora Cookie", email, password }));
  isUser(signedUp.user, email);
  assert.equal(typeof signedUp.token, "string");
  assert.ok(browser.cookies.has("better-auth.session_token"), [...browser.cookies.keys()]);
  await data(auth.signOut());
  assert.equal(browser.cookies.size, 0);
  assert.equal(await data(auth.getSession()), null);

  assert.deepEqual(await refusal(auth.signIn.email({ email, password: "wrong password" })), [
    401,
    "INVALID_EMAIL_OR_PASSWORD",
  ]);
  assert.deepEqual(await refusal(auth.signUp.email({ name: "Cora", email, password })), [
    422,
    "USER_ALREADY_EXISTS",
  ]);
  const tooShort = { name: "Cora", email: "short@example.com", password: "short" };
  assert.deepEqual(await refusal(auth.signUp.email(tooShort)), [400, "PASSWORD_TOO_SHORT"]);

  const signedIn = await data(auth.signIn.email({ email, password }));
  assert.equal(signedIn.redirect, false);
  assert.equal(signedIn.user.id, signedUp.user.id);
  const current = await data(auth.getSession());
  isUser(current.user, email);
  assert.equal(current.session.userId, signedUp.user.id);
  assert.equal(current.session.token, signedIn.token);
  assert.ok(current.session.expiresAt > new Date());

  assert.deepEqual(await data(auth.updateUser({ name: "Cora Changed" })), { status: true });
  assert.equal((await data(auth.getSession())).user.name, "Cora Changed");

  const elsewhere = inBrowser();
  await data(elsewhere.auth.signIn.email({ email, password }));
  const sessions = await data(auth.listSessions());
  assert.equal(sessions.length, 2);
  const other = sessions.find((session) => session.id !== current.session.id);
  assert.deepEqual(await data(auth.revokeSession({ token: other.token })), { status: true });
  assert.equal(await data(elsewhere.auth.getSession()), null);

  const newPassword = "another correct horse";
  const change = { currentPassword: password, newPassword, revokeOtherSessions: true };
  await data(auth.changePassword(change));
  assert.equal((await data(auth.getSession())).user.email, email);
  assert.deepEqual(await data(auth.revokeOtherSessions()), { status: true });
  assert.deepEqual(await data(auth.signOut()), { success: true });
  assert.equal(await data(auth.getSession()), null);
  assert.deepEqual(await refusal(auth.signIn.email({ email, password })), [
    401,
    "INVALID_EMAIL_OR_PASSWORD",
  ]);
  await data(auth.signIn.email({ email, password: newPassword, rememberMe: false }));
  assert.deepEqual(await data(auth.revokeSessions()), { status: true });
  assert.equal(await data(auth.getSession()), null);
}

async function bearer() {
  const email = "bearer@example.com";
  const { held, auth } = withBearer();
  const signedUp = await data(auth.signUp.email({ name: "Bea Bearer", email, password }));
  assert.ok(held.token.startsWith(signedUp.token), "the header names the token");
  assert.equal((await data(auth.getSession())).user.id, signedUp.user.id);
  const spent = held.token;
  await data(auth.signOut());
  assert.equal(held.token, spent, "no other token came");
  assert.equal(await data(auth.getSession()), null);
  assert.equal((await refusal(auth.listSessions()))[0], 401);
  await data(auth.signIn.email({ email, password }));
  assert.notEqual(held.token, spent);
  assert.equal((await data(auth.getSession())).user.email, email);
}

async function administration() {
  const { auth } = inBrowser();
  await data(auth.signIn.email({ email: adminEmail, password: adminPassword }));
  const email = "made@example.com";
  // Rights come from permission sets; a role that is no right here is not taken and forgotten.
  const withRole = { name: "Mo Made", email, password, role: "admin" };
  assert.deepEqual(await refusal(auth.admin.createUser(withRole)), [400, "VALIDATION_ERROR"]);
  const { user } = await data(auth.admin.createUser({ name: "Mo Made", email, password }));
  isUser(user, email);
  const page = await data(
    auth.admin.listUsers({ query: { limit: 10, offset: 0, searchValue: "made@", searchField: "email" } }),
  );
  assert.deepEqual(
    page.users.map((found) => found.id),
    [user.id],
  );
  assert.equal(page.total, 1);
  assert.equal(page.limit, 10);

  const theirs = inBrowser();
  await data(theirs.auth.signIn.email({ email, password }));
  assert.equal((await refusal(theirs.auth.admin.listUsers({ query: {} })))[0], 403);
  const ban = { userId: user.id, banReason: "Spam", banExpiresIn: 3600 };
  const banned = await data(auth.admin.banUser(ban));
  assert.equal(banned.user.banned, true);
  assert.equal(banned.user.banReason, "Spam");
  assert.equal(await data(theirs.auth.getSession()), null);
  assert.deepEqual(await refusal(theirs.auth.signIn.email({ email, password })), [
    403,
    "BANNED_USER",
  ]);
  const unbanned = await data(auth.admin.unbanUser({ userId: user.id }));
  assert.equal(unbanned.user.banned, false);
  await data(theirs.auth.signIn.email({ email, password }));

  const newPassword = "set by somebody else";
  assert.deepEqual(await data(auth.admin.setUserPassword({ userId: user.id, newPassword })), {
    status: true,
  });
  await data(theirs.auth.signIn.email({ email, password: newPassword }));
  assert.deepEqual(await data(auth.admin.removeUser({ userId: user.id })), { success: true });
  assert.equal(await data(theirs.auth.getSession()), null);
}

await cookies();
await bearer();
await administration();
console.log(JSON.stringify({ calls: turn }));
