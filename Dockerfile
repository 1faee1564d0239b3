# A small image without root: one stage builds the dependencies, the other holds only them and the code.
FROM python:3.12-slim AS build
WORKDIR /weir
# .dockerignore lists the files that are copied.
COPY . .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --constraint constraints.txt '.[otel,rocksdb]'

FROM python:3.12-slim
RUN useradd --system --create-home --uid 10001 weir && install -d -o weir /data
COPY --from=build /venv /venv
USER 10001
WORKDIR /home/weir
ENV PATH=/venv/bin:$PATH WEIR_DATA_DIR=/data PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('RESTAPI_PORT', '8080')}/ping\", timeout=2)"]
# What GET /version says: docker build --build-arg WEIR_COMMIT=$(git rev-parse HEAD) .
ARG WEIR_COMMIT=unknown
ENV WEIR_COMMIT=$WEIR_COMMIT
LABEL org.opencontainers.image.revision=$WEIR_COMMIT
CMD ["faust", "-A", "app", "worker"]
