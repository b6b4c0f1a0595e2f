# One image, two commands: `flowmachine` (the engine) and `flowmachine-operator`.
#
# Made by `make images`, which first puts the locked wheels into build/wheels, so that the build itself needs no network.
# Any base with Python 3.11 or newer will do, if build/wheels was made for its version: `make images BASE=... FOR_PYTHON=...`.
ARG BASE_IMAGE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE_IMAGE} AS install
COPY requirements/image.txt /install/
COPY build/wheels /install/wheels
# pip runs from its wheel and stays behind. The bytecode is made here, as the root file system is read-only later, and
# carries no times; one process with fixed hashes makes it, so that the same wheels make the same image.
RUN python3 -m venv --without-pip --copies /opt/flowmachine \
 && cd /install \
 && pip="/opt/flowmachine/bin/python3 $(echo wheels/pip-*.whl)/pip install --no-cache-dir --no-index --no-deps --no-compile" \
 && ${pip} --find-links wheels --require-hashes --requirement image.txt \
 && ${pip} wheels/flowmachine_operator-*.whl \
 && rm /opt/flowmachine/bin/[Aa]ctivate* \
 && PYTHONHASHSEED=0 /opt/flowmachine/bin/python3 -m compileall -q -j 1 --invalidation-mode unchecked-hash /opt/flowmachine/lib

FROM ${BASE_IMAGE}
ARG VERSION=0.0.0
LABEL org.opencontainers.image.title="FlowMachine" \
      org.opencontainers.image.description="A saga engine on Kafka and its Kubernetes operator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
# Some bases bring pip. The user has a name, since libraries ask for it.
RUN if python3 -m pip --version >/dev/null 2>&1; then python3 -m pip uninstall --yes --quiet --root-user-action ignore pip; fi \
 && echo 'flowmachine:x:65532:65532::/tmp:/usr/sbin/nologin' >>/etc/passwd \
 && echo 'flowmachine:x:65532:' >>/etc/group
COPY --from=install /opt/flowmachine /opt/flowmachine
ENV PATH=/opt/flowmachine/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /tmp
# In Flow Manager's place it finds its configuration in CONFIGURATIONS_FILE_PATH; a pod of the operator says what it runs.
ENV HTTP_HOST=0.0.0.0
CMD ["flowmachine", "run"]
