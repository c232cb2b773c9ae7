#!/bin/sh
# Installs the Python programs that tests use into target/python: only if they
# are missing or the wanted version changed.
set -eu

# Judges manifests by the published schemas of Kubernetes, which it brings along.
wanted=kubernetes-validate==1.37.0
to=target/python

if [ "$(cat "$to/installed" 2>/dev/null || true)" = "$wanted" ]; then
    exit 0
fi
echo "installing $wanted for the tests (into $to)" >&2
rm -rf "$to"
mkdir -p "$to"
# An index that does not answer once is no reason to give up.
tries=3
until python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$to/lib" "$wanted" >"$to/install.log" 2>&1; do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ]; then
        cat "$to/install.log" >&2
        echo "error: $wanted could not be installed" >&2
        exit 1
    fi
done
# Last: what is there is whole.
echo "$wanted" >"$to/installed"
