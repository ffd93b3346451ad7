// Signs in, loads the caller's document and hands it to Swagger UI.
//
// By password the session is a cookie that scripts cannot read. A token or key that was pasted
// lives in this variable only, until the page is left.
"use strict";

(() => {
  const DOCUMENT = "/api/v1/openapi.json";
  const byId = (id) => document.getElementById(id);
  const show = (id, shown) => {
    byId(id).hidden = !shown;
  };
  let token = "";

  const credential = () => (token ? { authorization: `Bearer ${token}` } : {});

  // What a failed answer says, or what can be said of it.
  const reason = async (answer) => {
    const body = await answer.json().catch(() => null);
    return body?.error?.message ?? body?.message ?? `The server answered ${answer.status}.`;
  };

  const problem = (text) => {
    byId("problem").textContent = text;
    show("problem", text !== "");
  };

  const ask = (path, options = {}) =>
    fetch(path, {
      credentials: "same-origin",
      cache: "no-store",
      ...options,
      headers: { accept: "application/json", ...credential(), ...options.headers },
    });

  const post = (path, body) =>
    ask(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });

  const signedOut = () => {
    token = "";
    for (const id of ["who", "download", "sign-out", "explorer"]) show(id, false);
    byId("explorer").replaceChildren();
    byId("password").value = "";
    byId("token").value = "";
    show("sign-in", true);
    byId("email").focus();
  };

  const whoAmI = async () => {
    const answer = await ask("/api/v1/auth/get-session").catch(() => null);
    const session = answer?.ok ? await answer.json().catch(() => null) : null;
    return session?.user?.email ?? (token ? "API key" : "");
  };

  // Shows the explorer; false when nobody is signed in.
  const load = async () => {
    show("loading", true);
    try {
      const answer = await ask(DOCUMENT);
      if (answer.status === 401) return false;
      if (!answer.ok) throw new Error(await reason(answer));
      const spec = await answer.json();
      // Calls go where the page came from, whatever name others reach the server by.
      spec.servers = [{ url: "/" }];
      for (const service of spec["x-unavailable"] ?? []) {
        problem(`${service} does not answer; what it serves is missing here.`);
      }
      byId("who").textContent = await whoAmI();
      show("sign-in", false);
      for (const id of ["who", "sign-out", "explorer"]) show(id, true);
      // A link carries no pasted token.
      show("download", token === "");
      explore(spec);
      return true;
    } finally {
      show("loading", false);
    }
  };

  const explore = (spec) => {
    SwaggerUIBundle({
      spec,
      domNode: byId("explorer"),
      deepLinking: true,
      docExpansion: "none",
      defaultModelsExpandDepth: 0,
      displayRequestDuration: true,
      filter: true,
      tagsSorter: "alpha",
      tryItOutEnabled: true,
      validatorUrl: null,
      // Signing in is this page's own; the dialog would ask again for what is there already.
      plugins: [() => ({ wrapComponents: { authorizeBtn: () => () => null, authorizeOperationBtn: () => () => null } })],
      requestInterceptor: (request) => {
        if (new URL(request.url, location.href).origin === location.origin) {
          Object.assign(request.headers, credential());
        }
        return request;
      },
    });
  };

  const enter = async (event, signIn) => {
    event.preventDefault();
    problem("");
    const buttons = event.target.querySelectorAll("button");
    for (const button of buttons) button.disabled = true;
    try {
      await signIn(new FormData(event.target));
      if (!(await load())) throw new Error("The credential is not good.");
    } catch (error) {
      token = "";
      problem(error.message);
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  };

  byId("by-password").addEventListener("submit", (event) =>
    enter(event, async (fields) => {
      const answer = await post("/api/v1/auth/sign-in/email", {
        email: fields.get("email"),
        password: fields.get("password"),
      });
      byId("password").value = "";
      if (!answer.ok) throw new Error(await reason(answer));
    }),
  );

  byId("by-token").addEventListener("submit", (event) =>
    enter(event, async (fields) => {
      token = fields.get("token").trim();
    }),
  );

  byId("sign-out").addEventListener("click", async () => {
    problem("");
    try {
      // A pasted credential is only forgotten: it may be in use elsewhere.
      if (!token) {
        const answer = await post("/api/v1/auth/sign-out", {});
        if (!answer.ok) throw new Error(await reason(answer));
      }
      signedOut();
    } catch (error) {
      problem(error.message);
    }
  });

  load().then(
    (signedIn) => signedIn || signedOut(),
    (error) => {
      signedOut();
      problem(error.message);
    },
  );
})();
