# The image of Fleetfoot. Server, runner and command line are one program, so they are one image:
#
#   make image                                        # fleetfoot:VERSION, with the program of `make build`
#   docker run --rm fleetfoot:0.1.0 --help
#
# docs/operating.md says how a server and its runners are run with it.
# The program is linked with the C library of the machine that built it: the base must not be older.
ARG BASE=debian:stable-slim
FROM ${BASE}

# git fetches repositories and actions, slirp4netns and mkfs.ext4 serve sandboxes.
ARG PACKAGES="ca-certificates e2fsprogs git slirp4netns"
RUN if [ -n "${PACKAGES}" ]; then \
        apt-get update -qq && \
        apt-get install -y -qq --no-install-recommends ${PACKAGES} && \
        rm -rf /var/lib/apt/lists/*; \
    fi

# An ordinary user with a name: ssh and git refuse to work for an id that nobody has. New volumes take
# over whose these directories are.
RUN echo 'fleetfoot:x:1000:1000::/var/lib/fleetfoot:/bin/sh' >>/etc/passwd && \
    echo 'fleetfoot:x:1000:' >>/etc/group && \
    mkdir -p /var/lib/fleetfoot /var/lib/fleetfoot-runner && \
    chown 1000:1000 /var/lib/fleetfoot /var/lib/fleetfoot-runner

COPY fleetfoot /usr/local/bin/fleetfoot

ENV FLEETFOOT_DATA=/var/lib/fleetfoot \
    FLEETFOOT_RUNNER_WORK_DIR=/var/lib/fleetfoot-runner
USER 1000:1000
WORKDIR /var/lib/fleetfoot
# The first SIGTERM drains: `docker stop --time` says for how long.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/fleetfoot"]
