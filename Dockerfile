# syntax=docker/dockerfile:1

# Both stages are of the same Debian release, so that the binary finds the glibc it was built for.
FROM rust:1-slim-trixie AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo ./.cargo
COPY migrations ./migrations
COPY src ./src
COPY tests ./tests
COPY deploy/build-profiled.sh ./deploy/
# "yes" as in releases: less time for each request, and three times as long to build.
ARG PROFILED=no
# The caches survive a change of the sources; the binary must leave them to get into the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    if [ "$PROFILED" = yes ]; then \
        rustup component add llvm-tools && binary=$(deploy/build-profiled.sh); \
    else \
        cargo build --release --locked && binary=target/release/uni-api; \
    fi && cp "$binary" /usr/local/bin/uni-api

FROM debian:trixie-slim
# The gateway has the certificates of its providers' CAs built in; these are for everything else in
# the container. A fresh volume at /home/data takes over the owner of the folder that it covers.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --home-dir /home --no-create-home uni-api \
    && install --directory --owner=uni-api --group=uni-api /home/data
COPY --from=build /usr/local/bin/uni-api /usr/local/bin/uni-api

# api.yaml is looked for here, and the statistics go to data/ below.
WORKDIR /home
USER uni-api
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["uni-api", "health"]
# Answers that are under way may end: give it longer than SHUTDOWN_TIMEOUT (docker stop --time 40).
STOPSIGNAL SIGTERM
# Without a shell in between, so that signals reach the gateway.
ENTRYPOINT ["uni-api"]
