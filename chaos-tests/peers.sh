#!/usr/bin/env bash
# Brings newer peers than this Debian installs into target/peers, where `compare` looks first: etcd 3.5 and NATS 2.10 (which
# can sync always) of the next release, Valkey of the backports. Nothing is installed, no setting of apt is changed.
set -euo pipefail
into=${1:-$(dirname "$0")/../target/peers}
mkdir -p "$into"
into=$(cd "$into" && pwd)
sources=/etc/apt/sources.list.d/debian.sources
[ -e $sources ] || { echo "$sources is not there: put etcd, nats-server and valkey-server into $into yourself"; exit 1; }

# Unpacks packages of one suite and copies their programs.
bring() {
    local suite=$1 work
    shift
    work=$(mktemp -d)
    mkdir -p "$work"/{sources,lists,cache/archives/partial,packages,files}
    sed '/^$/q' $sources | sed "s/^Suites:.*/Suites: $suite/" >"$work/sources/peers.sources"
    local options=(-qq -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/sources"
        -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update
    (cd "$work/packages" && apt-get "${options[@]}" download "$@")
    for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$work/files"; done
    # Followed, because valkey-server is a link to the program that does everything.
    find "$work"/files/usr/*bin -name etcd -o -name nats-server -o -name valkey-server |
        while read -r program; do cp -L "$program" "$into/"; done
    rm -rf "$work"
}

release=$(. /etc/os-release && echo "$VERSION_CODENAME")
[ -x "$into/etcd" ] && [ -x "$into/nats-server" ] || bring trixie etcd-server nats-server
[ -x "$into/valkey-server" ] || bring "$release-backports" valkey-server valkey-tools
ls "$into"
