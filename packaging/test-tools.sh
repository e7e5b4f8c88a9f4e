#!/bin/bash
# The programs that integration tests place calls with: sipp (Debian package sip-tester) and baresip. Installs what is missing
# where that is possible, else says what is missing and how to get it; then tests skip, except with CI=true: there it is a failure.
set -eu

declare -A package=([sipp]=sip-tester [baresip]=baresip)
missing=()
for program in "${!package[@]}"; do
    command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    as_root=(false)
fi
if command -v apt-get >/dev/null && [ "${as_root[*]}" != false ]; then
    echo "installing ${missing[*]} for the integration tests"
    "${as_root[@]}" apt-get update -q </dev/null || true
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null && exit 0
fi

echo "missing: ${missing[*]}; the tests that need them are skipped. To have them: apt-get install ${missing[*]}" >&2
[ "${CI:-}" != true ]
