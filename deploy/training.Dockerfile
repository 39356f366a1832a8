# Training and export, from images to a bundle: `docker build -f deploy/training.Dockerfile .`
# TORCH_INDEX is one more package index, for torch: PyTorch's own for a CPU build (far smaller) or CUDA.
FROM python:3.11.15-slim-bookworm AS build
ARG TORCH_INDEX=
WORKDIR /build
RUN python -m venv --without-pip /opt/ganymede
# What it depends on changes seldom: a layer of its own, made from pyproject.toml and nothing else.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = project['optional-dependencies']; wanted = extras['train'] + extras['export'] + extras['cpu']; \
print('\n'.join(project['dependencies'] + [each for each in wanted if not each.startswith('ganymede')]))" \
        > requirements.txt \
    && python -m pip --python /opt/ganymede/bin/python install --no-cache-dir --disable-pip-version-check \
        --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
        --requirement requirements.txt
COPY . .
RUN python -m pip --python /opt/ganymede/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-deps .

FROM python:3.11.15-slim-bookworm
LABEL org.opencontainers.image.title="ganymede-training" \
      org.opencontainers.image.description="Trains image generators and exports them to ONNX bundles" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/ganymede /opt/ganymede
# Runs, models and downloaded data are written here, by whatever user it is started as.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin ganymede \
    && mkdir -p /ganymede/runs /ganymede/models /ganymede/cache \
    && chmod 1777 /ganymede/runs /ganymede/models /ganymede/cache
USER 10001:10001
WORKDIR /ganymede
ENV PATH=/opt/ganymede/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    XDG_CACHE_HOME=/ganymede/cache
ENTRYPOINT ["ganymede"]
CMD ["--help"]
