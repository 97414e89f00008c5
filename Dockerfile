# The service (python -m latentsync.server), for CPUs or for CUDA cards:
#
#   docker build --tag latentsync .
#   docker build --tag latentsync:cuda --build-arg TORCH=cuda .
#
# compose.yaml runs it. The image has the demo weights, and neither published weights nor keys: both are mounted.
FROM python:3.12-slim-bookworm

ARG TORCH=cpu
ENV PATH=/app/.venv/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    UV_NO_CACHE=1

# The version of ffmpeg is that of the base image's Debian.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ffmpeg \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 latentsync \
    && install --directory --owner latentsync /app/checkpoints /data

WORKDIR /app

# The packages, in a layer of their own: it is built again only if one of these files changes.
COPY pyproject.toml constraints.txt README.md setup_env.sh ./
COPY latentsync/__init__.py latentsync/
RUN ./setup_env.sh --runtime --torch "$TORCH"

COPY configs configs
COPY scripts scripts
COPY latentsync latentsync
COPY --chown=latentsync checkpoints checkpoints

USER 10001
VOLUME ["/app/checkpoints", "/data"]
EXPOSE 8600
HEALTHCHECK --interval=30s --timeout=10s --start-period=5m \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8600/healthz', timeout=5)"]
ENTRYPOINT ["python", "-m", "latentsync.server"]
CMD ["--work_dir", "/data", "--host", "0.0.0.0", "--port", "8600", "--keys", "/run/secrets/latentsync_keys"]
