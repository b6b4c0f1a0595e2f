"""The validating webhook: POST /validate over HTTPS. Every operator serves it, whether it acts or stands by.

Its certificate comes from a folder, or is made, renewed and told to the API server here.
"""

import asyncio
import base64
import binascii
import logging
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, Protocol

from aiohttp import web

from flowmachine.config.documents import as_array, as_object
from flowmachine.errors import ConfigurationError
from flowmachine_operator.build.identity import MANAGER
from flowmachine_operator.build.subject import Manifest
from flowmachine_operator.certificates import Certificate, is_good, make_certificate, use_certificate
from flowmachine_operator.errors import ApiRefusedError, ApiUnavailableError
from flowmachine_operator.kinds import SECRET, WEBHOOK_CONFIGURATION
from flowmachine_operator.kube_api import KubeApi
from flowmachine_operator.metrics import Metrics
from flowmachine_operator.plan.admission import plan_admission
from flowmachine_operator.settings import Settings

PATH: Final = "/validate"
BODY_BYTES_MAX: Final = 8 * 1024 * 1024
"""etcd takes objects of 1.5 MiB; an update carries two of them."""

CHECK_SECONDS: Final = 10.0
"""How often the certificate is looked at: a mounted one may change, a made one may have to be renewed."""

_RETRY_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


class CertificateSource(Protocol):
    """Where the certificate comes from."""

    async def get(self) -> Certificate:
        """The one to use now."""
        ...


class MountedCertificate:
    """`tls.crt` and `tls.key` in a folder."""

    def __init__(self, settings: Settings) -> None:
        assert settings.webhook_cert_dir is not None, "asked for only when there is a folder"
        self._folder = settings.webhook_cert_dir

    async def get(self) -> Certificate:
        """What the files hold now. Raises ConfigurationError when they cannot be read."""
        try:
            chain = await asyncio.to_thread((self._folder / "tls.crt").read_text, "utf-8")
            key = await asyncio.to_thread((self._folder / "tls.key").read_text, "utf-8")
        except (OSError, UnicodeDecodeError) as error:
            text = f"tls.crt and tls.key are needed there: {error}"
            raise ConfigurationError.of("FLOWMACHINE_OPERATOR_WEBHOOK_CERT_DIR", "unreadable", text) from None
        return Certificate(chain, key)


class OwnCertificate:
    """A made certificate in a Secret; the first operator makes it, all use it."""

    def __init__(self, api: KubeApi, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        service, namespace = settings.webhook_service, settings.namespace
        self._names = (f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local", service)

    async def get(self) -> Certificate:
        """The one in the Secret, made or renewed where that is due; the API server trusts it afterwards."""
        namespace, name = self._settings.namespace, self._settings.webhook_secret
        found = await self._api.get(SECRET.path(namespace, name))
        certificate = _decode(found)
        now = datetime.now(UTC)
        if not is_good(certificate, self._names, now):
            certificate = make_certificate(self._names, now, before=certificate.chain)
            await self._keep(found, certificate)
            _log.info("the webhook has a new certificate", extra={"secret": f"{namespace}/{name}"})
        await self._tell(certificate)
        return certificate

    async def _keep(self, found: Manifest | None, certificate: Certificate) -> None:
        """Another operator that is faster makes this fail; then its certificate is found next time."""
        namespace, name = self._settings.namespace, self._settings.webhook_secret
        texts = {"tls.crt": certificate.chain, "tls.key": certificate.key, "ca.crt": certificate.authorities}
        data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
        if found is not None:
            await self._api.replace(SECRET.path(namespace, name), {**found, "data": data})
            return
        manifest: Manifest = {
            "apiVersion": SECRET.api_version,
            "kind": SECRET.kind,
            "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": MANAGER}},
            "type": "kubernetes.io/tls",
            "data": data,
        }
        await self._api.create(SECRET.path(namespace), manifest)

    async def _tell(self, certificate: Certificate) -> None:
        """The webhook's configuration trusts it; the chart makes the configuration, so it may come later."""
        path = WEBHOOK_CONFIGURATION.path(None, self._settings.webhook_configuration)
        found = await self._api.get(path)
        bundle = base64.b64encode(certificate.authorities.encode()).decode()
        webhooks = [as_object(item) for item in as_array((found or {}).get("webhooks"))]
        if all(as_object(webhook.get("clientConfig")).get("caBundle") == bundle for webhook in webhooks):
            return
        trusted = [{"name": webhook["name"], "clientConfig": {"caBundle": bundle}} for webhook in webhooks]
        manifest: Manifest = {
            "apiVersion": WEBHOOK_CONFIGURATION.api_version,
            "kind": WEBHOOK_CONFIGURATION.kind,
            "metadata": {"name": self._settings.webhook_configuration},
            "webhooks": trusted,
        }
        await self._api.apply(path, manifest, manager=MANAGER)


@asynccontextmanager
async def run_webhook(api: KubeApi, settings: Settings, metrics: Metrics) -> AsyncGenerator[None]:
    """Serve for as long as the context is open, if the settings ask for it."""
    if not settings.webhook:
        yield
        return
    source: CertificateSource = (
        MountedCertificate(settings) if settings.webhook_cert_dir else OwnCertificate(api, settings)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    used = await _use_first(source, context)
    renewing = asyncio.create_task(_run_renewals(source, context, used), name="certificate")

    async def validate(request: web.Request) -> web.Response:
        review = as_object(await request.json())
        answer = await asyncio.to_thread(plan_admission, review)  # a large machine takes a while
        metrics.admissions.labels(str(as_object(answer["response"])["allowed"]).lower()).inc()
        return web.json_response(answer)

    application = web.Application(client_max_size=BODY_BYTES_MAX)
    application.add_routes([web.post(PATH, validate)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=settings.webhook_port, ssl_context=context).start()
        yield
    finally:
        renewing.cancel()
        await runner.cleanup()


async def _use_first(source: CertificateSource, context: ssl.SSLContext) -> Certificate:
    while True:
        certificate = await _use(source, context, None)
        if certificate is not None:
            return certificate
        await asyncio.sleep(_RETRY_SECONDS)


async def _run_renewals(source: CertificateSource, context: ssl.SSLContext, used: Certificate) -> None:
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        used = await _use(source, context, used) or used


async def _use(source: CertificateSource, context: ssl.SSLContext, used: Certificate | None) -> Certificate | None:
    """Use the certificate of now; None when there is none that can be used."""
    try:
        certificate = await source.get()
        if certificate != used:
            use_certificate(context, certificate)
    except (ApiRefusedError, ApiUnavailableError, ConfigurationError, ssl.SSLError) as error:
        _log.warning("the webhook's certificate cannot be used", extra={"reason": str(error)})
        return None
    return certificate


def _decode(secret: Manifest | None) -> Certificate:
    data = as_object((secret or {}).get("data"))
    try:
        chain, key, authorities = (
            base64.b64decode(str(data.get(name) or "")).decode() for name in ("tls.crt", "tls.key", "ca.crt")
        )
    except (binascii.Error, UnicodeDecodeError):
        return Certificate("", "")
    return Certificate(chain, key, authorities)
