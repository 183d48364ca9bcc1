# Locked install, no root. A CPU image, or one with CUDA:
#   docker build -t echoingecg:cpu .
#   docker build -t echoingecg:cuda --build-arg VARIANT=cuda .
FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS build
ARG VARIANT=cpu
WORKDIR /src
RUN python -m venv /opt/echoingecg
COPY constraints.txt ./
# PyPI's wheels of torch bring CUDA; those of the CPU are half the size and come from PyTorch's own index.
RUN case "$VARIANT" in \
        cpu) /opt/echoingecg/bin/pip install --no-cache-dir --no-deps --constraint constraints.txt \
            --index-url https://download.pytorch.org/whl/cpu torch torchvision ;; \
        cuda) ;; \
        *) echo "VARIANT is cpu or cuda, not $VARIANT" >&2; exit 1 ;; \
    esac
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY data_contracts data_contracts
COPY echoingecg echoingecg
COPY tasks tasks
COPY flows flows
RUN /opt/echoingecg/bin/pip install --no-cache-dir --constraint constraints.txt '.[all]'

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d
RUN useradd --create-home --uid 10001 echoingecg && install --directory --owner echoingecg /workspace \
    && install --directory --owner echoingecg --mode 0700 /tls
COPY --from=build /opt/echoingecg /opt/echoingecg
COPY prefect.yaml /opt/project/
COPY flows /opt/project/flows
ENV PATH=/opt/echoingecg/bin:$PATH \
    ECHOINGECG_HOME=/opt/project \
    ECHOINGECG_WORKSPACE=/workspace \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1
USER 10001:10001
WORKDIR /home/echoingecg
VOLUME /workspace
ENTRYPOINT ["echoingecg"]
CMD ["--help"]
