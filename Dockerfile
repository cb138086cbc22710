# syntax=docker/dockerfile:1
# The worker's image: the wheel is built in the first stage, the second holds Python, the venv and nothing to build with.
# tests/packaging/ runs each RUN of it natively and its HEALTHCHECK against a worker.

# 3.11 because the tests ran on it with the versions in constraints.txt.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The packages first: they change less often than the code, so this layer is kept.
COPY pyproject.toml constraints.txt ./
RUN python -m venv /opt/ingest
RUN /opt/ingest/bin/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*project["dependencies"], *project["optional-dependencies"]["pg"], sep="\n")' > requirements.txt
# Only wheels: there is no compiler here, and a package that wants one must fail now and with its name.
RUN /opt/ingest/bin/pip install --only-binary :all: --constraint constraints.txt --requirement requirements.txt
COPY README.md LICENSE ./
COPY ingest ingest
RUN python -m pip wheel --no-deps --wheel-dir wheels .
RUN /opt/ingest/bin/pip install --no-index --no-deps wheels/*.whl
RUN /opt/ingest/bin/pip check

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="ingest" \
      org.opencontainers.image.description="Writes Kafka change-data-capture and event topics into CrateDB." \
      org.opencontainers.image.licenses="Apache-2.0"
# A number, so that a cluster which forbids root can see that it is none. The folder is where sql/ and schemas/ are looked for;
# a volume that is mounted there for the first time takes over its owner.
RUN groupadd --gid 10001 ingest && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /srv/ingest ingest \
    && install --directory --owner ingest --group ingest /srv/ingest
COPY --from=build /opt/ingest /opt/ingest
# In a container 127.0.0.1 is reached by nobody. Whoever reaches this port may unpark: publish it on the loopback only.
ENV PATH=/opt/ingest/bin:$PATH PYTHONDONTWRITEBYTECODE=1 INGEST_HTTP_HOST=0.0.0.0 INGEST_HTTP_PORT=9464
WORKDIR /srv/ingest
USER 10001:10001
EXPOSE 9464
STOPSIGNAL SIGTERM
# /healthz answers 503 when the loop stands still. Not by curl, which the slim image lacks, nor by urllib, which would ask a proxy.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", "import http.client, os, sys; link = http.client.HTTPConnection('127.0.0.1', int(os.environ['INGEST_HTTP_PORT']), timeout=4); link.request('GET', '/healthz'); sys.exit(link.getresponse().status != 200)"]
# ingest is process 1: it handles SIGTERM and SIGINT itself, and reaps the only children there are, its own workers. No tini.
ENTRYPOINT ["ingest"]
CMD ["run"]
