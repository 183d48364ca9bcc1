# Locked install, no root. Build: docker build -t echoingecg .
# A CPU-only image is half the size: --build-arg TORCH_INDEX=<index of CPU wheels>
FROM python:3.11-slim-bookworm AS build
ARG TORCH_INDEX=""
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY data_contracts data_contracts
COPY echoingecg echoingecg
COPY tasks tasks
COPY flows flows
RUN python -m venv /opt/echoingecg \
    && /opt/echoingecg/bin/pip install --no-cache-dir --constraint constraints.txt \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} .

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 10001 echoingecg && install --directory --owner echoingecg /workspace
COPY --from=build /opt/echoingecg /opt/echoingecg
ENV PATH=/opt/echoingecg/bin:$PATH \
    ECHOINGECG_WORKSPACE=/workspace \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1
USER echoingecg
WORKDIR /home/echoingecg
VOLUME /workspace
ENTRYPOINT ["echoingecg"]
CMD ["--help"]
