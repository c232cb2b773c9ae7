#!/bin/sh
# Makes the image of the program with the engine that is there:
#
#   scripts/image.sh target/release/fleetfoot fleetfoot:0.1.0
#
# BASE and PACKAGES say what it is built on, where that is not Debian from its
# own mirrors; ENGINE names the command line of the engine (docker, podman).
set -eu

binary=$1 tag=$2
engine=${ENGINE:-}
if [ -z "$engine" ]; then
    for each in docker podman; do
        if command -v "$each" >/dev/null 2>&1 && "$each" version >/dev/null 2>&1; then
            engine=$each
            break
        fi
    done
fi
if [ -z "$engine" ]; then
    echo "error: no container engine answers here" >&2
    echo "  hint: start Docker or Podman, or name the command line of another engine in ENGINE" >&2
    exit 1
fi

# Nothing but the program goes to the engine.
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "$binary" "$context/fleetfoot"
set -- build --tag "$tag" --file Dockerfile
# Without a value the Dockerfile's own stands.
[ -z "${BASE+set}" ] || set -- "$@" --build-arg "BASE=$BASE"
[ -z "${PACKAGES+set}" ] || set -- "$@" --build-arg "PACKAGES=$PACKAGES"
"$engine" "$@" "$context"
echo "$tag is built"
echo "  next         $engine run --rm $tag --help"
