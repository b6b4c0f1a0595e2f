# One image, two commands: `flowmachine` (the engine) and `flowmachine-operator`.
#
# Made by `make images`, which first puts the locked wheels into build/wheels, so that the build itself needs no network.
# Any base with Python 3.11 or newer will do, if build/wheels was made for its version: `make images BASE=... FOR_PYTHON=...`.
ARG BASE_IMAGE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE_IMAGE} AS install
COPY requirements/image.txt /install/
COPY build/wheels /install/wheels
# pip runs from its wheel and stays behind.
RUN python3 -m venv --without-pip /opt/flowmachine \
 && cd /install \
 && pip="/opt/flowmachine/bin/python3 $(echo wheels/pip-*.whl)/pip install --no-cache-dir --no-index --no-deps --no-compile" \
 && ${pip} --find-links wheels --require-hashes --requirement image.txt \
 && ${pip} wheels/flowmachine_operator-*.whl \
 && rm /opt/flowmachine/bin/[Aa]ctivate*
# The Kubernetes client has a class for every kind and group, 125 MB with their bytecode, and loads each when it is named.
# We name none. Should that change, in our code or in the client's, a file is not found here, or a module does not load.
RUN cd /opt/flowmachine/lib/python3.*/site-packages/kubernetes \
 && rm -r client/api aio/client/api \
 && rm client/models/[!_]*.py aio/client/models/[!_]*.py \
 && /opt/flowmachine/bin/python3 -B -c "import importlib, pkgutil; \
    [importlib.import_module(module.name) for name in ('flowmachine', 'flowmachine_operator') \
     for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f'{name}.')]"
# zstandard has a second build of itself for other Pythons, 12 MB.
RUN rm /opt/flowmachine/lib/python3.*/site-packages/zstandard/_cffi.*.so
# Bytecode is made here, as the root file system is read-only later, and carries no times; one process with fixed hashes
# makes it, so that the same wheels make the same image.
ENV PYTHONHASHSEED=0
RUN python3 -m compileall -q -f -j 1 --invalidation-mode unchecked-hash /opt/flowmachine/lib

FROM ${BASE_IMAGE}
ARG VERSION=0.0.0
LABEL org.opencontainers.image.title="FlowMachine" \
      org.opencontainers.image.description="A saga engine on Kafka and its Kubernetes operator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
# Some bases bring pip, and few the bytecode of Python's own library. The user has a name, since libraries ask for it.
RUN if python3 -m pip --version >/dev/null 2>&1; then python3 -m pip uninstall --yes --quiet --root-user-action ignore pip; fi \
 && library=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))') \
 && rm -rf "${library}/ensurepip" \
 && PYTHONHASHSEED=0 python3 -m compileall -q -f -j 1 --invalidation-mode unchecked-hash "${library}" \
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
