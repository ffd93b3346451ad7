// What a script sees. Evaluated anew in each run, before the script; what it needs of the language is
// taken here, so that a script that changes the language harms nobody but itself.
(function (native, config) {
  "use strict";
  const { stringify, parse } = JSON;
  const { freeze, defineProperty, getOwnPropertyNames, assign, create, keys, hasOwn } = Object;
  const isArray = Array.isArray;
  const NativePromise = Promise, NativeError = Error, NativeDate = Date, Text = String, Refusals = WeakMap;
  const refusals = new Refusals();
  const refusalOf = Refusals.prototype.get.bind(refusals);
  const isFinite = Number.isFinite;

  // --- no way to make code of text, and nothing to block the thread with
  const forbidden = function () {
    throw new NativeError("code cannot be made of text here");
  };
  for (const sample of [function () {}, async function () {}, function* () {}, async function* () {}]) {
    const prototype = Object.getPrototypeOf(sample);
    defineProperty(prototype, "constructor", { value: forbidden, writable: false, configurable: false });
  }
  forbidden.prototype = Object.getPrototypeOf(function () {});
  defineProperty(globalThis, "Function", { value: forbidden, writable: false, configurable: false });
  for (const name of ["eval", "Atomics", "SharedArrayBuffer", "WebAssembly"]) delete globalThis[name];

  // --- errors
  function failure(code, message) {
    const error = new NativeError(message);
    error.code = code;
    return error;
  }

  function text(value, otherwise) {
    return typeof value === "string" ? value : otherwise;
  }

  // An error as data; whatever is thrown, and whatever its getters do.
  function describe(error) {
    const told = { name: "Error", message: "", stack: "" };
    const part = (name, use) => {
      try {
        use(error[name]);
      } catch {
        // An error that cannot be read tells nothing.
      }
    };
    if (error !== null && (typeof error === "object" || typeof error === "function")) {
      part("name", (name) => (told.name = text(name, "Error")));
      part("message", (message) => (told.message = text(message, "")));
      part("stack", (stack) => (told.stack = text(stack, "")));
      part("code", (code) => (told.code = text(code)));
      part("status", (status) => {
        if (isFinite(status) && status >= 100 && status < 600) told.status = status | 0;
      });
      part("fields", (fields) => {
        if (fields !== undefined) told.fields = parse(stringify(fields));
      });
      told.call = refusalOf(error);
      if (told.message === "") part("toString", () => (told.message = Text(error)));
    } else {
      told.message = Text(error);
    }
    return told;
  }

  // --- calls of the host, answered in the order they are made
  const waiting = create(null);
  let sent = 0;
  let answered = 0;

  function call(request) {
    return new NativePromise((resolve, reject) => {
      if (sent >= config.limits.calls) {
        throw failure("CALL_LIMIT", "a run may make at most " + config.limits.calls + " calls");
      }
      const message = stringify(request);
      if (message.length > config.limits.output) {
        throw failure("REQUEST_TOO_LARGE", "the arguments of the call are too long");
      }
      if (!native.send(message)) throw failure("REQUEST_TOO_LARGE", "too much is waiting to be sent; await calls");
      waiting[sent] = { resolve, reject };
      sent += 1;
    });
  }

  // Gives whether the answer was good.
  function answer(ok, message) {
    const { resolve, reject } = waiting[answered];
    delete waiting[answered];
    const number = answered;
    answered += 1;
    const told = parse(message);
    if (ok) {
      resolve(told);
      return undefined;
    }
    const error = failure(told.code, told.message);
    defineProperty(error, "name", { value: told.name, writable: true, configurable: true });
    if (told.fields !== null && told.fields !== undefined) error.fields = told.fields;
    refusals.set(error, number);
    reject(error);
    return error;
  }

  // --- the API in its spellings
  function needed(name, value) {
    if (typeof value === "number") value = Text(value);
    if (typeof value !== "string" || value === "") throw new TypeError(name + " must be a text");
    return value;
  }

  function record(value) {
    if (value === null || typeof value !== "object" || isArray(value)) {
      throw new TypeError("the data must be an object");
    }
    return value;
  }

  // `(id, data)`, `({ id, ... })`, `(data, { where: { id } })`.
  function change(object, id, data) {
    if (typeof id === "object" && id !== null) {
      const { id: own, ...rest } = id;
      const where = data?.where ?? data?.filter;
      return { method: "update", object, id: needed("id", own ?? where?.id), data: rest };
    }
    return { method: "update", object, id: needed("id", id), data: record(data) };
  }

  function one(object, query) {
    if (typeof query === "string" || typeof query === "number") {
      return { method: "findOne", object, id: needed("id", query) };
    }
    return { method: "findOne", object, query: query ?? {} };
  }

  function removal(object, id) {
    if (typeof id === "object" && id !== null) id = id.id ?? (id.where ?? id.filter)?.id;
    return { method: "delete", object, id: needed("id", id) };
  }

  // A mistake in the arguments rejects, as a refusal does.
  const later = (make) => async (...given) => call(make(...given));
  const named = (make) => later((object, ...rest) => make(needed("object", object), ...rest));

  const find = (object, query) => ({ method: "find", object, query: query ?? {} });
  const count = (object, query) => ({
    method: "count",
    object,
    filter: query?.where ?? query?.filter ?? query ?? {},
  });
  const aggregate = (object, query) => ({ method: "aggregate", object, query: query ?? {} });
  const insert = (object, data) => ({ method: "insert", object, data: record(data) });
  const upsert = (object, data) => ({ method: "upsert", object, data: record(data) });

  const verbs = {
    find,
    findOne: one,
    count,
    aggregate,
    insert,
    create: insert,
    update: change,
    updateById: change,
    upsert,
    delete: removal,
    deleteById: removal,
  };

  function repository(object) {
    object = needed("object", object);
    const bound = create(null);
    for (const name of keys(verbs)) bound[name] = later((...given) => verbs[name](object, ...given));
    return freeze(bound);
  }

  const engine = create(null);
  for (const name of keys(verbs)) engine[name] = named(verbs[name]);
  const data = freeze(assign(create(null), engine, { get: named((object, id) => one(object, needed("id", id))) }));
  freeze(engine);

  // --- the log
  function written(value) {
    if (typeof value === "string") return value;
    if (value instanceof NativeError) return value.name + ": " + value.message;
    try {
      return stringify(value) ?? Text(value);
    } catch {
      return Text(value);
    }
  }

  function line(level) {
    return function (...values) {
      if (!config.log) throw failure("CAPABILITY_DENIED", "the script does not hold the capability log");
      let joined = "";
      for (let at = 0; at < values.length; at += 1) joined += (at > 0 ? " " : "") + written(values[at]);
      native.log(level, joined);
    };
  }

  const info = line("info");
  const logger = freeze(
    assign(info, { info, log: info, debug: line("debug"), warn: line("warn"), error: line("error") }),
  );

  // --- the rest of the context
  function frozen(value) {
    if (value !== null && typeof value === "object") {
      for (const name of getOwnPropertyNames(value)) frozen(value[name]);
      freeze(value);
    }
    return value;
  }

  function hidden(object, name, value) {
    if (value !== undefined && !hasOwn(object, name)) {
      defineProperty(object, name, { value, writable: true, configurable: true, enumerable: false });
    }
  }

  const context = config.context;
  const isMap = (value) => value !== null && typeof value === "object" && !isArray(value);
  const input = context.input ?? {};
  if (isMap(input)) {
    hidden(input, "id", context.recordId ?? undefined);
    if (config.kind === "hook") {
      // Older hooks read the payload as `ctx.input`, newer ones as `ctx.input.data`.
      if (!hasOwn(input, "data")) {
        defineProperty(input, "data", {
          get: () => input,
          set: (value) => {
            if (isMap(value)) assign(input, value);
            else defineProperty(input, "data", { value, writable: true, configurable: true, enumerable: true });
          },
          configurable: true,
          enumerable: false,
        });
      }
    } else {
      hidden(input, "recordId", context.recordId ?? undefined);
    }
  }

  const crypto = freeze({
    randomUUID() {
      if (!config.uuid) {
        throw failure("CAPABILITY_DENIED", "the script does not hold the capability crypto.uuid");
      }
      return native.uuid();
    },
  });
  const now = () => new NativeDate().toISOString();
  const ctx = {
    input,
    previous: frozen(context.previous) ?? undefined,
    result: frozen(context.result) ?? undefined,
    record: frozen(context.record) ?? undefined,
    recordId: context.recordId ?? undefined,
    user: frozen(context.user) ?? undefined,
    session: frozen(context.session) ?? undefined,
    org: frozen(context.org) ?? undefined,
    event: context.event ?? undefined,
    object: context.object ?? undefined,
    api: freeze({ object: repository }),
    data,
    engine,
    ql: freeze(assign(create(null), engine, { object: repository, logger })),
    crypto,
    log: logger,
    logger,
    now,
  };

  return freeze({
    // Runs the script: a promise of what it returns.
    async invoke(script) {
      const made = script(ctx, input, logger, now, crypto);
      // Awaited here: a promise is then asked by the engine itself, whatever the script made of `then`.
      return await (typeof made === "function" ? made(ctx, input) : made);
    },
    answer,
    describe: (error) => stringify(describe(error)),
    value: (value) => stringify(value),
    input: () => stringify(ctx.input),
  });
});
