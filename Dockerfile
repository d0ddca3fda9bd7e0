# The operator's image: docker build -t gantry .
# For another architecture build on a machine that has it (or, slowly, with --platform and an emulator): nothing here
# names one. What is in the image is decided by deploy/image/rootfs.sh, which the tests run too.
ARG RUST=1.95
ARG AUDITABLE=0.7.7
FROM docker.io/library/rust:${RUST}-bookworm AS build
# Writes the list of dependencies into the binary, for scanners.
ARG AUDITABLE
RUN cargo install --locked cargo-auditable@${AUDITABLE}
WORKDIR /src
COPY . .
RUN cargo auditable build --release --locked --package gantry-operator && \
    deploy/image/rootfs.sh /rootfs target/release/gantry-operator

FROM scratch
COPY --from=build /rootfs/ /
LABEL org.opencontainers.image.title="Gantry" \
      org.opencontainers.image.description="Installs Crossplane packages" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/gantry-pkg/gantry"
ENV PATH=/usr/local/bin
# By number, so that a kubelet can tell that it is not root.
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/usr/local/bin/gantry-operator"]
