# The control plane. Build it from the checkout:  docker build -t fairlead .
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY protos ./protos
COPY xds ./xds
RUN pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.13-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-index --find-links /wheels fairlead && rm -r /wheels \
    && useradd --system --create-home fairlead
USER fairlead
ENTRYPOINT ["fairlead"]
CMD ["serve", "/etc/fairlead"]
