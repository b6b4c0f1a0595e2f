// What a saga.json means to Flow Manager, written a second time and independently of the engine: states, first-level or
// deep merge, hooks called with the saga itself. It is what `flowmachine import --compare` compares the engine with.
// Payload schemas are judged outside; `state` says where each saga is.
(() => {
  "use strict";
  const sagas = new Map();

  // lodash 4.17 `mergeWith`, reduced to what JSON can hold.
  const isObject = (value) => typeof value === "object" && value !== null;
  const read = (object, key) =>
    key === "__proto__" || (key === "constructor" && typeof object[key] === "function") ? undefined : object[key];
  const assign = (object, key, value) => {
    if (value === undefined ? key in object : Object.is(object[key], value)) return;
    if (key === "__proto__") Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
    else object[key] = value;
  };
  const base = (before, value) => {
    if (Array.isArray(value)) {
      if (Array.isArray(before)) return before;
      return isObject(before) && Number.isSafeInteger(before.length) && before.length >= 0 ? Array.from(before) : [];
    }
    return isObject(before) ? before : {};
  };
  const mergeWith = (object, source, customize) => {
    for (const key in source) {
      const before = read(object, key);
      const value = read(source, key) ?? (isObject(source[key]) ? undefined : source[key]);
      let taken = customize ? customize(before, value) : undefined;
      if (taken === undefined) taken = isObject(value) ? mergeWith(base(before, value), value, customize) : value;
      assign(object, key, taken);
    }
    return object;
  };

  const send = (hooks, callHook, saga, state) => {
    const commands = [state.outputCommand, ...(state.sideEffects ?? [])].filter((command) => command);
    for (const [index, command] of commands.entries()) {
      const isSide = index > 0 || !state.outputCommand;
      const hook = hooks[`${state.id}/${isSide ? index - (state.outputCommand ? 1 : 0) : "main"}`];
      try {
        let payload = saga.metadata;
        if (hook !== undefined) {
          const { commands: _, ...stored } = saga;
          const made = JSON.parse(callHook(hook, JSON.stringify({ saga: stored, messageLabel: command.label })));
          payload = made.payload;
          saga.metadata = made.metadata; // a hook may have changed what it was given
        }
        saga.commands.push({ channel: command.channel, label: command.label, payload: JSON.parse(JSON.stringify(payload)) });
      } catch (error) {
        saga.commands.push({ channel: command.channel, label: command.label, failed: String(error) });
      }
    }
  };
  const enter = (machine, hooks, callHook, saga, event, id) => {
    const state = machine.states.find((each) => each.id === id);
    const business = machine.businessStates.find((each) => each.id === state.businessStateId);
    saga.currentState = id;
    saga.latestEvent = event;
    saga.isFinal = state.isFinal;
    saga.businessStateId = state.businessStateId;
    saga.businessStateDescription = business.description ?? "";
    saga.history.states.push({ state: id, businessStateId: saga.businessStateId });
    saga.history.events.push({ event });
    send(hooks, callHook, saga, state);
  };

  return (configuration, hooks, callHook) => {
    const merge = (before, value) =>
      JSON.parse(callHook(hooks.customizer, JSON.stringify({ pair: [before, value].map((each) => (each === undefined ? [] : [each])) }))).taken;
    const customizer = hooks.customizer === undefined ? undefined : merge;
    const machine = configuration.machineDefinition;
    const { enabled = false } = configuration.settings?.deepMergeMetadata ?? {};
    const find = (id) => machine.states.find((each) => each.id === id);
    return {
      create: (sagaId, { associatedEntityId, metadata }) => {
        if (sagas.has(sagaId)) return;
        const saga = { sagaId, associatedEntityId, metadata, history: { states: [], events: [] }, commands: [] };
        sagas.set(sagaId, saga);
        enter(machine, hooks, callHook, saga, machine.creationEvent ?? "__created__", machine.initialState);
      },
      transition: (sagaId, label) =>
        find(sagas.get(sagaId)?.currentState)?.outgoingTransitions?.find((each) => each.inputEvent === label),
      apply: (sagaId, transition, payload) => {
        const saga = sagas.get(sagaId);
        if (enabled) mergeWith(saga.metadata, payload, customizer);
        else Object.assign(saga.metadata, payload);
        enter(machine, hooks, callHook, saga, transition.inputEvent, transition.targetState);
      },
      saga: (sagaId) => sagas.get(sagaId),
    };
  };
})();
