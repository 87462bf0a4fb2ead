# The image: the binary, the system's root certificates, and nobody with privileges.
# `scripts/check-dockerfile` runs these commands in order in a clean directory.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
# What etcd speaks is compiled from its descriptions.
RUN command -v protoc || (apt-get update && apt-get install -y --no-install-recommends protobuf-compiler libprotobuf-dev)
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY benches benches
RUN cargo build --release --locked --features etcd --bin subrosa

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 65532 --no-create-home --shell /usr/sbin/nologin subrosa
# data: sealed records. keys: private, for this container only. certs: public, may be mounted by runners.
RUN install -d -o 65532 -g 65532 -m 0700 /data /keys && install -d -o 65532 -g 65532 -m 0755 /certs
COPY --from=build /build/target/release/subrosa /usr/local/bin/subrosa
# Paths in the config are relative: data, keys and certs are these volumes.
WORKDIR /
VOLUME ["/data", "/keys", "/certs"]
# On any address but loopback every client needs a runner's token, unless proxy.anonymous says otherwise.
ENV SUBROSA_PROXY__LISTEN=0.0.0.0:8080
EXPOSE 8080
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["subrosa", "health"]
ENTRYPOINT ["subrosa"]
CMD ["serve"]
