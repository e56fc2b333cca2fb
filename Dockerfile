# OCM as a container: one binary on a base without shell or compiler, as a user without rights.
#
#   docker build -t ocm .        # or: buildah build --format docker -t ocm .
#   docker run -d --name ocm -p 8080:8080 -p 8080:8080/udp -v ocm:/var/lib/ocm \
#     -e OCM_SEED_PEERS=peer.example.org:8080 ocm
#   docker exec ocm /usr/local/bin/ocm status
#   docker stop --time 30 ocm    # SIGTERM: open requests end, the store closes
#
# Identity, store and token lie in the volume; the first start makes them. The API listens on the
# container's own loopback, where `docker exec` and the health check reach it. To reach it from
# outside, give it an address and a token of your own, and publish it on the host's loopback:
#
#   -e OCM_API_LISTEN=0.0.0.0:7845 -p 127.0.0.1:7845:7845
#   -e OCM_API_TOKEN_FILE=/run/secrets/token -v "$PWD/token:/run/secrets/token:ro"
#
# Called by another name than localhost, it wants that name in OCM_API_HOSTS. Every setting is a
# variable (config/ocm.toml). Where no registry is reached: config/container/build.sh.

ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG RUN_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
# The registry and what was compiled are kept between builds: only what changed is compiled again.
# They are in no layer, so what is delivered is taken out within the same step.
ENV CARGO_PROFILE_RELEASE_DEBUG=false \
    CARGO_PROFILE_RELEASE_STRIP=debuginfo
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --bin ocm \
    && install -D -m 755 target/release/ocm /delivered/usr/local/bin/ocm \
    && install -d -m 700 -o 65532 -g 65532 /delivered/var/lib/ocm

# hadolint ignore=DL3006
FROM ${RUN_IMAGE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="OCM" \
      org.opencontainers.image.description="Our Collective Memory: a signed, offline-first logbook that belongs to the people in it" \
      org.opencontainers.image.source="https://github.com/ocm-network/ocm" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /delivered/usr/local/bin/ocm /usr/local/bin/ocm
COPY --from=build --chown=65532:65532 /delivered/var/lib/ocm /var/lib/ocm
ENV OCM_DATA_DIR=/var/lib/ocm \
    OCM_PROFILE=production
USER 65532:65532
VOLUME ["/var/lib/ocm"]
# Federation (TCP, and UDP for QUIC), beacons where they are turned on, the API.
EXPOSE 8080/tcp 8080/udp 8081/udp 7845/tcp
STOPSIGNAL SIGTERM
# Asks the API of this container; needs no peer, and no token. The grace is for a large store that
# is read through at its start.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["/usr/local/bin/ocm", "--api", "127.0.0.1:7845", "health", "--ready", "--timeout", "3"]
ENTRYPOINT ["/usr/local/bin/ocm"]
CMD ["node"]
