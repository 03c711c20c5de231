# Serves a bundle (docs/shipping.md): onnxruntime and what reads ECGs, neither torch nor a compiler.
#
#   docker build -t ecgcls .
#   docker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:8765:8765 -v "$PWD/bundle:/bundle:ro" ecgcls

FROM python:3.11-slim AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY conf ./conf
COPY ecgcls ./ecgcls
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
COPY docker/requirements.txt constraints.txt /requirements/
RUN python -m pip install --no-cache-dir -r /requirements/requirements.txt -c /requirements/constraints.txt
COPY --from=build /wheels /wheels
# Without its dependencies: torch and Lightning, which train nets, are among them.
RUN python -m pip install --no-cache-dir --no-deps /wheels/*.whl
RUN useradd --system --uid 10001 --create-home ecgcls && mkdir /results && chown ecgcls /results

# A number, so that a cluster can see that it is not root.
USER 10001
WORKDIR /results
ENV PYTHONUNBUFFERED=1 MPLCONFIGDIR=/tmp/matplotlib
EXPOSE 8765
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/healthz', timeout=4)"]

# Inside the container all addresses; who reaches it is decided by `docker run -p`.
ENTRYPOINT ["ecgcls"]
CMD ["serve", "bundle=/bundle", "host=0.0.0.0", "port=8765"]
