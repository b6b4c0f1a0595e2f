"""The webhook's own certificate: one that a client accepts, and when it is renewed."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta

from flowmachine_operator.certificates import LIFETIME, Certificate, is_good, make_certificate, use_certificate

NAMES = ("operator.ns.svc",)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_made_certificate_is_good_until_a_third_of_its_life_is_left() -> None:
    made = make_certificate(NAMES, NOW)
    assert is_good(made, NAMES, NOW)
    assert is_good(made, NAMES, NOW + LIFETIME * 0.66)
    assert not is_good(made, NAMES, NOW + LIFETIME * 0.67)
    assert not is_good(made, ("another.ns.svc",), NOW)
    assert not is_good(Certificate("", ""), NAMES, NOW)
    assert not is_good(Certificate(made.chain, "no key", made.authorities), NAMES, NOW)
    assert made.key not in repr(made)


def test_the_one_before_stays_trusted() -> None:
    old = make_certificate(NAMES, NOW)
    new = make_certificate(NAMES, NOW + timedelta(days=61), before=old.chain)
    assert old.chain in new.authorities
    assert new.chain in new.authorities
    assert not is_good(Certificate(new.chain, new.key, old.authorities), NAMES, NOW)


async def test_clients_that_trust_it_are_served() -> None:
    now = datetime.now(UTC)
    made = make_certificate(NAMES, now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    use_certificate(context, made)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        trusting = ssl.create_default_context(cadata=made.authorities)
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname=NAMES[0])
        writer.close()
