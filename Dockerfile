# The images of `make image`, for those who have a container engine:
#   docker build --target bullpen --build-arg REVISION=$(git rev-parse HEAD) \
#     --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) .
# Their files are made by the same script, on the builder's own architecture for the one that is asked for.
FROM --platform=$BUILDPLATFORM docker.io/library/rust:1.95-bookworm AS build
ARG TARGETARCH
ARG REVISION
ARG SOURCE_DATE_EPOCH=0
RUN apt-get update && apt-get install --yes --no-install-recommends python3-pip && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN tools/packaging/image.sh --root "$TARGETARCH" && mkdir /roots && \
    for image in bullpen bullpen-simcloud; do mv "target/image/root-$image-$TARGETARCH" "/roots/$image" || exit; done

# What the images have in common.
FROM scratch AS base
ARG REVISION
LABEL org.opencontainers.image.licenses=Apache-2.0 org.opencontainers.image.revision=$REVISION
WORKDIR /
USER 65532:65532

FROM base AS bullpen-simcloud
COPY --from=build /roots/bullpen-simcloud/ /
LABEL org.opencontainers.image.title=bullpen-simcloud
ENTRYPOINT ["/bullpen-simcloud"]

# The last one is what is built if no target is named.
FROM base AS bullpen
COPY --from=build /roots/bullpen/ /
LABEL org.opencontainers.image.title=bullpen
ENTRYPOINT ["/bullpen"]
