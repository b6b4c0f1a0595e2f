"""Hooks in the real engine: what they may do, what they may not, and that nothing that they do gets out."""

import base64
import random
from typing import Any

import msgspec
import pytest

from flowmachine.adapters.javascript import JavaScriptHooks
from flowmachine.adapters.javascript.sandbox import CALM_CALLS, TIMEOUTS_MAX, Sandbox
from flowmachine.config.hooks import decode_hook
from flowmachine.config.machine_model import Hook
from flowmachine.core.definition import HookError, Payload, SagaId
from flowmachine.core.merge import UNDEFINED, merge_deep
from tests.support.builders import NOW_MS, SAGA_ID, event, order_machine, saga_after

SAGA = saga_after(
    order_machine(), event("paymentExecuted", {"paid": {"by": "card"}}), metadata={"total": 12.5, "customer": "Ada"}
)
ENDLESS = "export default () => { while (true) {} }"


def run(source: str) -> Payload:
    return JavaScriptHooks().build_payload(source, "prepareOrder")(SagaId(SAGA_ID), SAGA)


@pytest.mark.parametrize(
    ("source", "payload"),
    [
        (
            "export default ({saga, messageLabel}) => ({payload: {id: saga.sagaId, messageLabel}})",
            {"id": SAGA_ID, "messageLabel": "prepareOrder"},
        ),
        (
            "export default function build({ saga: { metadata: { total, ...rest } } }) {"
            " return { payload: { total, names: Object.keys(rest).sort() } } }",
            {"total": 12.5, "names": ["customer", "paid"]},
        ),
        (
            "const vat = (rate) => (total) => total * (1 + rate);\n"
            "class Order { #total; constructor(total) { this.#total = total }"
            " get gross() { return vat(0.2)(this.#total) } }\n"
            "export default ({ saga }) => ({ payload: { gross: new Order(saga.metadata?.total ?? 0).gross } });",
            {"gross": 15.0},
        ),
        (
            "const build = ({saga}) => ({payload: {last: saga.history.events.at(-1).event, state: saga.currentState,"
            " entity: saga.associatedEntityId, isFinal: saga.isFinal, business: saga.businessStateId}});"
            " export { build as default }",
            {
                "last": "paymentExecuted",
                "state": "preparing",
                "entity": "entity-1",
                "isFinal": False,
                "business": 1,
            },
        ),
        (
            "export default ({saga}) => { console.log('building', saga); return {payload: {...saga.metadata, a: 1}} }",
            {"total": 12.5, "customer": "Ada", "paid": {"by": "card"}, "a": 1},
        ),
        (
            "export default () => ({payload: {u: undefined, f() {}, n: NaN, d: new Date(0)}})",
            {"n": None, "d": "1970-01-01T00:00:00.000Z"},
        ),
    ],
)
def test_hook_builds_the_payload(source: str, payload: Payload) -> None:
    assert run(source) == payload


def test_clock_and_chance_are_the_sagas_own() -> None:
    source = (
        "export default () => ({payload: {now: Date.now(), made: new Date().getTime(), again: +new (new Date()"
        ".constructor)(), chance: [Math.random(), Math.random()]}})"
    )
    first, second = run(source), run(source)
    assert first == second
    assert [first["now"], first["made"], first["again"]] == [NOW_MS] * 3
    assert first["chance"][0] != first["chance"][1]
    other = JavaScriptHooks().build_payload(source, "prepareOrder")(SagaId("order-2"), SAGA)
    assert other["chance"] != first["chance"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        pytest.param(
            "export default () => {\n  throw new Error('no stock')\n}",
            "Error: no stock (line 2)",
            id="throws",
        ),
        pytest.param("export default () => { throw 'text' }", "text", id="throws a text"),
        pytest.param(ENDLESS, "longer than 250 ms", id="never returns"),
        pytest.param("export default () => /(a+)+$/.test('a'.repeat(60) + 'b')", "longer than 250 ms", id="regex"),
        pytest.param(
            "export default () => { const a = []; for (;;) a.push(a.length + 'x'.repeat(1e5)) }",
            "32 MB",
            id="memory",
        ),
        pytest.param("export default () => ({payload: {a: 'x'.repeat(1e9)}})", "32 MB", id="memory at once"),
        pytest.param("export default function f() { return f() }", "Maximum call stack", id="recursion"),
        pytest.param("export default () => ({})", "returns no {payload}", id="no payload"),
        pytest.param("export default () => undefined", "returns no object", id="nothing"),
        pytest.param("export default () => ({payload: [1]})", "returns no {payload} with an object", id="array"),
        pytest.param("export default () => ({payload: null})", "returns no {payload} with an object", id="null"),
        pytest.param("export default async () => ({payload: {}})", "returns a promise", id="promise"),
        pytest.param(
            "export default () => ({payload: Promise.resolve({})})",
            "returns a promise",
            id="promised payload",
        ),
        pytest.param(
            "export default () => { const fs = require('fs'); return {payload: {}} }",
            "require is not defined",
            id="require",
        ),
        pytest.param("export default () => fetch('http://localhost')", "fetch is not defined", id="fetch"),
        pytest.param("export default () => setTimeout(() => 1)", "setTimeout is not defined", id="timer"),
        pytest.param("export default () => ({payload: process.env})", "process is not defined", id="environment"),
        pytest.param("export default () => ({payload: {a: 1n}})", "cannot be written as JSON", id="bigint"),
        pytest.param(
            "export default () => { const a = {}; a.a = a; return {payload: a} }",
            "cannot be written",
            id="cycle",
        ),
        pytest.param("export default () => ({payload: {toJSON: () => 'x'}})", "no object as JSON", id="toJSON"),
        pytest.param(
            "export default () => { let a = {}; for (let i = 0; i < 300; i++) a = {a}; return {payload: a} }",
            "levels deep",
            id="depth",
        ),
        pytest.param("export default () => ({payload: {a: '\\ud800'}})", "not JSON", id="half a character"),
        pytest.param("export default ({saga}) => { saga.metadata.total = 1 }", "read-only", id="frozen"),
        pytest.param(
            "export default ({saga}) => { saga.history.events.push(1) }",
            "not extensible",
            id="frozen deep",
        ),
        pytest.param(
            "export default () => { (function f() { Promise.resolve().then(f) })(); return {payload: {}} }",
            "does not end",
            id="endless jobs",
        ),
    ],
)
def test_hook_that_fails_says_why(source: str, reason: str) -> None:
    with pytest.raises(HookError, match=r"^the hook") as caught:
        run(source)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("export default (", "SyntaxError"),
        ("export default 5", "no function as its default export"),
        ("const a = 1", "no function as its default export"),
        ("module.exports = () => 1", "module is not defined"),
        ("const fs = require('fs'); export default () => 1", "require is not defined (line 1)"),
        ("import fs from 'fs'; export default () => 1", "could not load module 'fs'"),
        ("throw new Error('at load')\nexport default () => 1", "Error: at load"),
        ("await new Promise(() => {}); export default () => 1", "no function as its default export"),
        ("while (true) {}\nexport default () => 1", "longer than 250 ms"),
    ],
)
def test_source_that_cannot_be_used_is_refused_when_it_is_compiled(source: str, reason: str) -> None:
    with pytest.raises(HookError) as caught:
        JavaScriptHooks().build_payload(source, "prepareOrder")
    assert reason in str(caught.value)


def test_what_breaks_a_bound_leaves_nothing_behind() -> None:
    source = (
        "const kept = []; export default ({saga}) => { if (saga.sagaId === 'bad') for (;;) kept.push('x'.repeat(1e5) +"
        " kept.length); return {payload: {kept: kept.length}} }"
    )
    build = JavaScriptHooks().build_payload(source, "x")
    assert build(SagaId("good"), SAGA) == {"kept": 0}
    with pytest.raises(HookError):
        build(SagaId("bad"), SAGA)
    assert build(SagaId("good"), SAGA) == {"kept": 0}


def test_hook_that_runs_out_of_time_again_and_again_is_not_called_any_more() -> None:
    sandbox = Sandbox("export default ({endless}) => { while (endless) {} return {payload: {}} }", "payload")
    for _ in range(TIMEOUTS_MAX - 1):
        with pytest.raises(HookError, match="longer than"):
            sandbox.call('{"endless": true}', 0, 0)
    for _ in range(CALM_CALLS):
        assert sandbox.call("{}", 0, 0) == "{}"
    for _ in range(TIMEOUTS_MAX):
        with pytest.raises(HookError, match="longer than"):
            sandbox.call('{"endless": true}', 0, 0)
    with pytest.raises(HookError, match="not called again"):
        sandbox.call("{}", 0, 0)


def test_customizer_merges_as_lodash_lets_it() -> None:
    source = "export default (objValue, srcValue) => Array.isArray(objValue) ? objValue.concat(srcValue) : undefined"
    customize = JavaScriptHooks().build_customizer(source)(SagaId(SAGA_ID), NOW_MS)
    merged = merge_deep({"a": [1], "b": {"c": [1], "d": 1}}, {"a": [2], "b": {"c": [2]}, "e": [1]}, customize)
    assert merged == {"a": [1, 2], "b": {"c": [1, 2], "d": 1}, "e": [1]}


def test_customizer_tells_null_from_nothing() -> None:
    source = "export default (before, value) => before === undefined ? 'new' : before === null ? 'null' : undefined"
    customize = JavaScriptHooks().build_customizer(source)(SagaId(SAGA_ID), NOW_MS)
    assert [customize(UNDEFINED, 1), customize(None, 1), customize(1, 2)] == ["new", "null", UNDEFINED]


@pytest.mark.parametrize("encoding", ["plain", "base64"])
def test_source_is_decoded(encoding: Any) -> None:
    source = "export default () => ({payload: {a: 'ü'}})"
    content = base64.b64encode(source.encode()).decode() if encoding == "base64" else source
    assert run(decode_hook(Hook(encoding=encoding, content=content))) == {"a": "ü"}


def test_what_went_in_stays_as_it_was() -> None:
    metadata = {"numbers": [random.random() for _ in range(3)], "nested": {"a": None}}
    before = msgspec.json.encode(metadata)
    saga = saga_after(order_machine(), metadata=metadata)
    build = JavaScriptHooks().build_payload("export default ({saga}) => ({payload: saga.metadata})", "x")
    assert build(SagaId(SAGA_ID), saga) == metadata
    assert bytes(saga.metadata) == before
