// Runs once in each hook's context, before the hook's own source. Its value binds a hook's function to what the engine
// calls. Rules for hooks: the same input gives the same output, whenever and wherever it runs; nothing is reached
// outside of the context.
(() => {
  "use strict";
  const { parse, stringify } = JSON;
  const { freeze } = Object;
  const { isArray } = Array;
  const { construct } = Reflect;
  const { imul } = Math;
  const RealDate = Date;
  let now = 0;
  let chance = 0;

  // The clock stands at the time of the input.
  const FixedDate = new Proxy(RealDate, {
    construct: (target, values, newTarget) => construct(target, values.length === 0 ? [now] : values, newTarget),
    apply: () => new RealDate(now).toString(),
  });
  RealDate.now = () => now;
  RealDate.prototype.constructor = FixedDate;
  globalThis.Date = FixedDate;

  // Chance follows from the saga's id and its number of changes (mulberry32).
  Math.random = () => {
    chance = (chance + 0x6d2b79f5) | 0;
    let mixed = imul(chance ^ (chance >>> 15), 1 | chance);
    mixed = (mixed + imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };

  // What tells of the machine or of the moment.
  for (const name of ["performance", "WeakRef", "FinalizationRegistry", "SharedArrayBuffer", "Atomics"]) {
    delete globalThis[name];
  }

  // Hooks that write lines keep working; nobody reads them.
  const silent = () => {};
  globalThis.console = { debug: silent, error: silent, info: silent, log: silent, trace: silent, warn: silent };

  const isObject = (value) => typeof value === "object" && value !== null;
  const freezeDeep = (value) => {
    if (isObject(value)) {
      for (const key in value) freezeDeep(value[key]);
      freeze(value);
    }
    return value;
  };
  const begin = (at, seed, text) => {
    now = at;
    chance = seed | 0;
    return freezeDeep(parse(text));
  };
  const write = (value, what) => {
    try {
      return stringify(value) ?? `!${what} is nothing that JSON has a text for`;
    } catch (error) {
      return `!${what} cannot be written as JSON: ${error}`;
    }
  };
  const isPromise = (value) => isObject(value) && typeof value.then === "function";
  const PROMISE = "!it returns a promise; a hook must return its result at once";

  // An answer that begins with "!" says what is wrong; no JSON text begins like that.
  const bindPayload = (hook) => (text, at, seed) => {
    const result = hook(begin(at, seed, text));
    if (isPromise(result)) return PROMISE;
    if (!isObject(result)) return "!it returns no object; a hook must return {payload}";
    const payload = result.payload;
    if (isPromise(payload)) return PROMISE;
    if (!isObject(payload) || isArray(payload)) return "!it returns no {payload} with an object as payload";
    const written = write(payload, "its payload");
    return written[0] === "{" || written[0] === "!" ? written : "!its payload is no object as JSON";
  };
  const bindCustomizer = (hook) => (text, at, seed) => {
    const { before, value } = begin(at, seed, text);
    const result = hook(before, value);
    if (result === undefined) return undefined;
    if (isPromise(result)) return PROMISE;
    return write(result, "its result");
  };

  const kinds = { payload: bindPayload, customizer: bindCustomizer };
  return (kind) => {
    const hook = globalThis.__hook;
    delete globalThis.__hook;
    return typeof hook === "function" ? kinds[kind](hook) : undefined;
  };
})();
