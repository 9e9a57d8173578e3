# The control plane. Build it from the checkout:  docker build -t fairlead .
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY protos ./protos
# The package holds the examples by a link.
COPY examples ./examples
COPY xds ./xds
RUN pip wheel --no-cache-dir --wheel-dir /wheels '.[redis]'

FROM python:3.13-slim
# The wheels are mounted, not copied: no layer of the image keeps them.
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels 'fairlead[redis]' \
    && useradd --system --create-home fairlead
USER fairlead
ENTRYPOINT ["fairlead"]
CMD ["serve", "/etc/fairlead"]
