# The service with its starter model; no torch. `docker build -f deploy/service.Dockerfile .` is for the
# CPU; `--build-arg RUNTIME=gpu` brings CUDA's libraries (gigabytes), and needs NVIDIA's container toolkit.
# `--build-arg EXTRAS="remote otel"` brings these extras too; what only they need is not pinned.
# `--target sbom --output dist` makes no image: it writes the list of the Python packages that are in it.
FROM python:3.11.15-slim-bookworm AS build
ARG RUNTIME=cpu
ARG EXTRAS=
WORKDIR /build
RUN python -m venv --without-pip /opt/ganymede
# What it depends on changes seldom: a layer of its own, made from pyproject.toml and nothing else.
# onnxruntime-gpu is of the version at which onnxruntime is pinned.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print('\n'.join(project['dependencies'] + project['optional-dependencies']['$RUNTIME']))" > requirements.txt \
    && sed -i 's/^\(onnxruntime\)\(==.*\)/&\n\1-gpu\2/' constraints.txt \
    && python -m pip --python /opt/ganymede/bin/python install --no-cache-dir --disable-pip-version-check \
        --constraint constraints.txt --requirement requirements.txt
# By themselves: s3fs needs another python-dateutil than the one that training is pinned at.
RUN python -c "import tomllib; extras = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']; \
print('\n'.join(each for name in '$EXTRAS'.split() for each in extras[name]))" > extras.txt \
    && { [ -z "$EXTRAS" ] || python -m pip --python /opt/ganymede/bin/python install --no-cache-dir \
        --disable-pip-version-check --requirement extras.txt; }
COPY . .
RUN python -m pip --python /opt/ganymede/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-deps .

FROM build AS listing
RUN python -m venv /opt/cyclonedx \
    && /opt/cyclonedx/bin/pip install --no-cache-dir --disable-pip-version-check cyclonedx-bom==7.5.0 \
    && version=$(/opt/ganymede/bin/python -c "import service; print(service.__version__)") \
    && sed -i "s/^dynamic = .*/version = \"$version\"/" pyproject.toml \
    && /opt/cyclonedx/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
        --output-file /service.cdx.json /opt/ganymede/bin/python

FROM scratch AS sbom
COPY --from=listing /service.cdx.json /

FROM python:3.11.15-slim-bookworm
LABEL org.opencontainers.image.title="ganymede" \
      org.opencontainers.image.description="Serves image generators over REST, from ONNX bundles" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/ganymede /opt/ganymede
COPY deploy/starter /starter
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin ganymede \
    && mkdir /models /state && chown ganymede:ganymede /state
USER 10001:10001
ENV PATH=/opt/ganymede/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GANYMEDE_HOST=0.0.0.0 \
    GANYMEDE_PORT=8000 \
    GANYMEDE_MODELS=/starter:/models \
    GANYMEDE_DEFAULT_MODEL=fashion \
    GANYMEDE_STATE_FILE=/state/ganymede.json \
    GANYMEDE_REMOTE_CACHE=/state/models
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['GANYMEDE_PORT'] + '/health/ready', timeout=4)"]
CMD ["ganymede", "serve"]
