# TorchServe with what the handler of `ganymede export --torchserve` needs; the archives are mounted at
# /models. TORCH_INDEX is one more package index, for torch: PyTorch's own for a CPU build or CUDA.
FROM python:3.11.15-slim-bookworm
ARG TORCH_INDEX=
LABEL org.opencontainers.image.title="ganymede-torchserve" \
      org.opencontainers.image.description="TorchServe for archives of image generators" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openjdk-17-jre-headless \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /torchserve
COPY constraints.txt deploy/torchserve/requirements.txt deploy/torchserve/requirements-text.txt ./
# TorchServe 0.12.0 is its last release, and needs PyYAML without saying so.
RUN python -m venv --without-pip /opt/torchserve \
    && python -m pip --python /opt/torchserve/bin/python install --no-cache-dir --disable-pip-version-check \
        --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
        --requirement requirements.txt --requirement requirements-text.txt torch torchserve==0.12.0 pyyaml
COPY deploy/torchserve/config.properties deploy/torchserve/metrics.yaml /etc/torchserve/
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin ganymede && mkdir /models
USER 10001:10001
# TorchServe writes its log, its keys and the unpacked archives below /tmp.
WORKDIR /tmp
ENV PATH=/opt/torchserve/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    TEMP=/tmp \
    LOG_LOCATION=/tmp \
    METRICS_LOCATION=/tmp
EXPOSE 8080 8082
# /ping is healthy as long as Java runs; whether every model has a worker that is ready, the management knows.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", \
    "import json, urllib.request as r; \
ask = lambda path: json.load(r.urlopen('http://127.0.0.1:8081' + path, timeout=4)); \
names = [each['modelName'] for each in ask('/models?limit=1000')['models']]; \
models = [each for name in names for each in ask('/models/' + name + '/all')]; \
ready = ['READY' in [worker['status'] for worker in each['workers']] for each in models]; \
raise SystemExit(not ready or not all(ready))"]
CMD ["torchserve", "--start", "--foreground", "--ncs", "--disable-token-auth", \
     "--ts-config", "/etc/torchserve/config.properties"]
