#!/bin/sh
# Installs what building (`build`) or testing (`test`) needs, quietly and only
# if it is missing. Never touches what is there.
set -eu

want=${1:-build}
missing=
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need cc gcc
need pkg-config pkg-config
need git git
need curl curl
if [ "$want" = test ]; then
    need python3 python3
    python3 -m pip --version >/dev/null 2>&1 || missing="$missing python3-pip"
    need node nodejs
    need npm npm
    # Tests of the dashboard drive it.
    need chromium chromium
    # Private networks of sandboxes, and their workspaces of limited size.
    need slirp4netns slirp4netns
    PATH="$PATH:/usr/sbin:/sbin" need mkfs.ext4 e2fsprogs
    # Private container engines of the tests; none of them is started or used as a service.
    if [ "$(uname -s)" = Linux ]; then
        PATH=$PATH:/usr/sbin:/sbin
        need dockerd docker.io
        need docker docker.io
        need docker-compose docker-compose
        need systemd-analyze systemd
        need podman podman
        need runc runc
        need runsc runsc
        need conmon conmon
        need /usr/lib/podman/netavark netavark
        need /usr/lib/podman/aardvark-dns aardvark-dns
        need iptables iptables
        need busybox busybox-static
        need tar tar
        # An engine of an ordinary user, and networks of tests.
        need newuidmap uidmap
        need setpriv util-linux
        need ip iproute2
    fi
fi

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "error: missing:$missing" >&2
        echo "  hint: install these with the package manager of this system, and try again" >&2
        exit 1
    fi
    root=
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null 2>&1; then
            echo "error: missing:$missing, and installing them needs root" >&2
            echo "  next: as root, apt-get install$missing" >&2
            exit 1
        fi
        root=sudo
    fi
    echo "installing$missing" >&2
    # shellcheck disable=SC2086 # a list of packages
    if ! { $root env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
        $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing ca-certificates; } >/tmp/fleetfoot-apt.$$ 2>&1; then
        cat /tmp/fleetfoot-apt.$$ >&2
        rm -f /tmp/fleetfoot-apt.$$
        echo "error:$missing could not be installed" >&2
        exit 1
    fi
    rm -f /tmp/fleetfoot-apt.$$
fi

# The version that the workspace asks for.
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
if ! command -v cargo >/dev/null 2>&1; then
    echo "installing Rust with rustup (into ~/.cargo and ~/.rustup)" >&2
    if ! curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y -q --profile minimal -c rustfmt -c clippy --no-modify-path >&2; then
        echo "error: Rust could not be installed" >&2
        echo "  hint: install Rust $wanted or newer from https://rustup.rs, and try again" >&2
        exit 1
    fi
fi
found=$(cargo --version | sed 's/^cargo \([0-9.]*\).*/\1/')
if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
    echo "error: Rust $found is too old; $wanted or newer is needed" >&2
    if command -v rustup >/dev/null 2>&1; then
        echo "  next: rustup update stable" >&2
    else
        echo "  hint: install a newer one from https://rustup.rs" >&2
    fi
    exit 1
fi
if [ "$want" = test ]; then
    for component in rustfmt:cargo-fmt clippy:cargo-clippy; do
        if ! command -v "${component#*:}" >/dev/null 2>&1; then
            rustup component add -q "${component%%:*}" >&2
        fi
    done
    scripts/npm-tools.sh
    scripts/python-tools.sh
fi
