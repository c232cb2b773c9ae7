#!/bin/sh
# Builds the dashboard into web/dist, from which the program embeds it: only if
# something changed. Without Node and npm there is nothing to do, and the
# program says how to build the dashboard; with `need` that is an error.
set -eu

want=${1:-try}
web=web
stamp=$web/node_modules/.built

if [ ! -f "$web/package.json" ]; then
    exit 0
fi
if ! command -v npm >/dev/null 2>&1 || ! command -v node >/dev/null 2>&1; then
    if [ "$want" = need ]; then
        echo "error: the dashboard needs Node and npm" >&2
        echo "  next: install nodejs and npm with the package manager of this system, and run \`make web\`" >&2
        exit 1
    fi
    echo "no node and npm here: building without the dashboard" >&2
    exit 0
fi

version=$(node --version | sed 's/^v\([0-9]*\).*/\1/')
if [ "$version" -lt 20 ]; then
    echo "Node $(node --version) is too old for the dashboard (20 is needed): building without it" >&2
    [ "$want" = need ] && exit 1
    exit 0
fi

# Everything that the result depends on.
now=$(
    {
        node --version
        find "$web" docs/openapi.json \( -path "$web/node_modules" -o -path "$web/dist" -o -path "$web/test-results" \) -prune \
            -o -type f -print | LC_ALL=C sort | tr '\n' '\0' | xargs -0 cksum
    } | cksum
)
if [ -f "$web/dist/index.html" ] && [ "$(cat "$stamp" 2>/dev/null || true)" = "$now" ]; then
    exit 0
fi

if ! cmp -s "$web/package-lock.json" "$web/node_modules/.installed.json"; then
    echo "installing what the dashboard is built with (into $web/node_modules)" >&2
    log=$(mktemp)
    # A registry that does not answer once is no reason to give up.
    tries=3
    until (cd "$web" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >"$log" 2>&1; do
        tries=$((tries - 1))
        if [ "$tries" -eq 0 ]; then
            cat "$log" >&2
            rm -f "$log"
            echo "error: what the dashboard is built with could not be installed" >&2
            exit 1
        fi
    done
    rm -f "$log"
    # Last: what is there is whole.
    cp "$web/package-lock.json" "$web/node_modules/.installed.json"
fi

echo "building the dashboard (into $web/dist)" >&2
log=$(mktemp)
if ! (cd "$web" && npm run --silent build) >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    echo "error: the dashboard could not be built" >&2
    exit 1
fi
rm -f "$log"
echo "$now" >"$stamp"
# A build of the program that began before web/dist existed does not watch it.
touch crates/dashboard/build.rs
