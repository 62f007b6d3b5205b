#!/bin/sh
# Fetches and unpacks a real project as its Debian source package: fetch.sh NAME DIR. Knows nothing of how it is built.
#
# NAME: haproxy zlib lua5.4 re2 fmt protobuf protobuf-cmake libxml2 libsodium abseil mbedtls dav1d harfbuzz lighttpd linux
# distcc. DIR must not exist; the project's top directory becomes DIR.
# Needs apt-get and dpkg-source (dpkg-dev), a network or a proxy as apt is set up for, and no rights: lists and packages
# are kept in a directory of its own (KILN_PROJECTS_CACHE, default ~/.cache/kiln-projects) and fetched once.
set -eu

die() {
    echo "fetch.sh: $*" >&2
    exit 1
}

[ $# -eq 2 ] || die "usage: fetch.sh NAME DIR"
name=$1
dir=$2
[ ! -e "$dir" ] || die "$dir is there already"
cache=${KILN_PROJECTS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kiln-projects}

case $name in
    haproxy | zlib | lua5.4 | re2 | protobuf | libxml2 | libsodium | abseil | mbedtls | dav1d | harfbuzz | lighttpd | distcc) package=$name ;;
    fmt) package=fmtlib ;;
    protobuf-cmake) package=protobuf ;;
    linux) package=linux-source-6.1 ;;
    *) die "no project is called $name" ;;
esac
for tool in apt-get dpkg-source dpkg-deb tar xz; do
    command -v "$tool" >/dev/null || die "$tool is missing (packages apt, dpkg-dev, tar, xz-utils)"
done

# The machine's own sources of its own release, binary and source packages alike; other people's archives are left out.
write_sources() {
    # shellcheck disable=SC1091
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [ -n "$codename" ] || die "/etc/os-release names no release"
    : >"$cache/sources.list"
    : >"$cache/sources.list.d/own.sources"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] || continue
        sed -n 's/[[:space:]]*#.*//; s/^deb\(-src\)\{0,1\}[[:space:]]\{1,\}//p' "$file" | while read -r line; do
            case " $line " in
                *" $codename "* | *" $codename-"*) printf 'deb %s\ndeb-src %s\n' "$line" "$line" ;;
            esac
        done >>"$cache/sources.list"
    done
    sort -u -o "$cache/sources.list" "$cache/sources.list"
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        awk -v codename="$codename" 'BEGIN { RS = ""; FS = "\n" }
            $0 ~ "(^|\n)Suites:([^\n]*[ \t])?" codename "(-[a-z]+)?([ \t\n]|$)" && $0 !~ /(^|\n)Enabled:[ \t]*no/ {
                sub(/(^|\n)Types:[^\n]*/, "\nTypes: deb deb-src")
                sub(/^\n/, "")
                print $0 "\n"
            }' "$file" >>"$cache/sources.list.d/own.sources"
    done
    [ -s "$cache/sources.list" ] || [ -s "$cache/sources.list.d/own.sources" ] || die "no apt source of $codename is set up"
}

# private_apt COMMAND ARGUMENTS...: apt-get or apt-cache without the machine's lists, packages and settings of sources.
private_apt() {
    tool=$1
    shift
    "$tool" -qq -o Dir::State="$cache/state" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$cache/cache" \
        -o Dir::Etc::SourceList="$cache/sources.list" -o Dir::Etc::SourceParts="$cache/sources.list.d" \
        -o Dir::Log="$cache/state" -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

# fetch_once KIND APT-ARGUMENTS...: leaves the directory in $packages; downloads $package, the newest version that the archive still has, unless it is here.
# KIND is Sources or Packages, as in apt's own tables.
fetch_once() {
    kind=$1
    shift
    packages=$cache/packages/$package
    [ ! -e "$packages/.complete" ] || return 0
    mkdir -p "$cache/state/lists/partial" "$cache/cache/archives/partial" "$cache/sources.list.d" "$packages"
    write_sources
    private_apt apt-get update >&2 || die "apt cannot read the machine's sources"
    versions=$(private_apt apt-cache madison "$package" | awk -F ' *[|] *' -v kind="$kind" '$3 ~ kind { print $2 }')
    for version in $versions; do
        rm -f "$packages"/*
        if (cd "$packages" && private_apt apt-get "$@" "$package=$version" >&2); then
            : >"$packages/.complete"
            return 0
        fi
    done
    die "apt cannot fetch $package in any of its versions: ${versions:-none}"
}

unpack_source() {
    fetch_once Sources source --download-only
    dpkg-source --no-check -q -x "$packages"/*.dsc "$work/source" >&2 || die "$package cannot be unpacked"
}

# Debian leaves out re2's generated tables; they are made anew from its package of Unicode's data.
make_re2_tables() {
    package=unicode-data
    fetch_once Packages download
    dpkg-deb -x "$packages"/unicode-data_*.deb "$work/unicode"
    mkdir "$work/tables"
    cp "$work"/source/re2/*unicode*.py "$work/tables"
    sed "s|/usr/share/unicode|$work/unicode/usr/share/unicode|" "$work/source/re2/unicode.py" >"$work/tables/unicode.py"
    for table in casefold groups; do
        (cd "$work/source" && python3 "$work/tables/make_unicode_$table.py") >"$work/source/re2/unicode_$table.cc"
    done
    (cd "$work/source" && perl re2/make_perl_groups.pl) >"$work/source/re2/perl_groups.cc"
}

mkdir -p "$cache" "$(dirname "$dir")"
work=$(mktemp -d "$(dirname "$dir")/.kiln-fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
case $name in
    linux)
        if [ -f /usr/src/linux-source-6.1.tar.xz ]; then
            archive=/usr/src/linux-source-6.1.tar.xz
        else
            fetch_once Packages download
            dpkg-deb -x "$packages"/linux-source-6.1_*.deb "$work"
            archive=$work/usr/src/linux-source-6.1.tar.xz
        fi
        tar -C "$work" -xf "$archive"
        mv "$work/linux-source-6.1" "$dir"
        ;;
    re2)
        command -v python3 >/dev/null && command -v perl >/dev/null || die "re2 needs python3 and perl for its tables"
        unpack_source
        make_re2_tables
        mv "$work/source" "$dir"
        ;;
    distcc)
        # Only upstream's part is of use here, and mirrors were seen that have no other.
        packages=$cache/packages/$package
        if ! (fetch_once Sources source --download-only); then
            [ -f "$(echo "$packages"/*.orig.tar.gz)" ] || exit 1
            echo "fetch.sh: distcc's upstream part is here, and no more is needed" >&2
        fi
        mkdir "$work/source"
        tar -C "$work/source" --strip-components=1 -xf "$packages"/*.orig.tar.gz
        mv "$work/source" "$dir"
        ;;
    *)
        unpack_source
        mv "$work/source" "$dir"
        ;;
esac
