# The image: one executable, flock(1), the C libraries that the two need. No shell, no package manager, nothing else.
#
#     docker buildx build --platform=linux/amd64,linux/arm64 --build-arg=SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) \
#       --build-arg=SOURCE_REVISION=$(git rev-parse HEAD) --build-arg=VERSION=0.1.0 .
#
# node scripts/image.ts does it with buildah and writes an archive that is the same each time.

# An index of amd64 and arm64. Its Node, libc and flock are what the image gets. Look the digest up at the registry when a release is made (docs/security.md).
ARG BUILDER=docker.io/library/node:24.21.0-bookworm-slim@sha256:0e0ff40c39bc087845bfb27465a0df4ea419520094bc35842ff83dd8cbe6f9b6

FROM ${BUILDER} AS build
# A base that brings /src/node_modules is built on with INSTALL=true, where no registry can be reached.
ARG INSTALL="npm ci --ignore-scripts --no-audit --no-fund"
# Where such a base has another architecture's Node, libc and flock, beside its own that the build runs on.
ARG SYSTEM=/
ARG SOURCE_DATE_EPOCH
ARG SOURCE_REVISION
WORKDIR /src
COPY package.json package-lock.json ./
RUN ${INSTALL}
COPY LICENSE ./
COPY scripts scripts
COPY src src
RUN node scripts/image-root.ts /image "${SYSTEM}"

FROM scratch
ARG VERSION
ARG SOURCE_REVISION
ARG SOURCE_URL
COPY --from=build /image/ /
# One arena for malloc: Node's threads would have one each, of memory that stays empty. What the start needed and rest does not is given back.
ENV PATH=/bin MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=65536
LABEL org.opencontainers.image.title="pod-checkpointer" \
      org.opencontainers.image.description="Brings a self-hosted Kubernetes control plane back after a reboot" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${SOURCE_REVISION}" \
      org.opencontainers.image.source="${SOURCE_URL}"
ENTRYPOINT ["/checkpointer"]
CMD ["--help"]
