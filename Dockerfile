# The portal's image: web, ingest, archiver, loader and beat, by what it is told to start. No PostgreSQL, Redis or S3 is in it.
# docs/deploy.md tells how it is used, and what of it was tried.

FROM python:3.11-slim AS build
WORKDIR /portal
RUN python -m venv /venv
COPY requirements.txt .
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt
COPY client client
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-build-isolation --no-deps ./client
COPY manage.py .
COPY vibetel vibetel
COPY ingest ingest
COPY analytics analytics
# No server is asked, and none of these values is in what it writes. Who checks out with umask 077 has files of root alone.
RUN SECRET_KEY=unused IDENTITY_HASH_KEY=unused REDIS_URL=redis://unused DATABASE_URL=postgresql://unused \
    ARCHIVE_BUCKET=unused STATIC_ROOT=/portal/static /venv/bin/python manage.py collectstatic --noinput \
    && /venv/bin/python -m compileall -q vibetel ingest analytics \
    && chmod -R a+rX .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home portal
COPY --from=build /venv /venv
COPY --from=build /portal /portal
WORKDIR /portal
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 STATIC_ROOT=/portal/static
USER portal
EXPOSE 8000 8001
# Of web; compose.yaml has those of the others.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "vibetel.start", "web", "--host", "0.0.0.0"]
