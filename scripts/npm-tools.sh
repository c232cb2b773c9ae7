#!/bin/sh
# Installs the JavaScript clients against which the services for actions are
# tested, at the versions of the lock file, into target/npm: only if they are
# missing or the lock file changed. Without npm there is nothing to do: the
# tests that need them say that they are skipped.
set -eu

from=crates/services/tests/npm
to=target/npm
if cmp -s "$from/package-lock.json" "$to/installed.json"; then
    exit 0
fi
if ! command -v npm >/dev/null 2>&1 || ! command -v node >/dev/null 2>&1; then
    echo "no node and npm here: the tests with the JavaScript clients are skipped" >&2
    exit 0
fi
echo "installing the JavaScript clients for the tests (into $to)" >&2
mkdir -p "$to"
rm -rf "$to/node_modules" "$to/installed.json"
cp "$from/package.json" "$from/package-lock.json" "$to/"
# A registry that does not answer once is no reason to give up.
tries=3
until (cd "$to" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >"$to/install.log" 2>&1; do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ]; then
        cat "$to/install.log" >&2
        echo "error: the JavaScript clients could not be installed" >&2
        exit 1
    fi
done
# Last: what is there is whole.
cp "$from/package-lock.json" "$to/installed.json"
