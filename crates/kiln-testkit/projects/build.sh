#!/bin/sh
# Builds a project that fetch.sh fetched as its users do, products in place: build.sh [--configure] NAME DIR [-- WORD...].
# Knows the projects' build systems, nothing of what stands in front of their compilers.
#
# The words after `--` go before every build command, as for env(1): `-- CC=clang-19 CXX=clang++-19`, `-- PATH=/masquerade:$PATH`,
# `-- kiln run --`. CFLAGS and CXXFLAGS are `-O2 -g` unless set, JOBS is the number of cores. `build.sh --clean NAME DIR` removes
# all products. `--configure` stops where the project is configured; a build goes on from there. TARGETS are for make or ninja, where not
# all of the project is to be built.
set -eu

die() {
    echo "build.sh: $*" >&2
    exit 1
}

usage='usage: build.sh [--clean | --configure] NAME DIR [-- WORD...]'
clean=no
only=no
case ${1:-} in
    --clean) clean=yes && shift ;;
    --configure) only=yes && shift ;;
esac
[ $# -ge 2 ] || die "$usage"
name=$1
dir=$2
shift 2
if [ $# -gt 0 ]; then
    [ "$1" = -- ] || die "$usage"
    shift
fi
cd "$dir" || die "no directory $dir"
CFLAGS=${CFLAGS--O2 -g}
CXXFLAGS=${CXXFLAGS--O2 -g}
JOBS=${JOBS:-$(nproc)}
TARGETS=${TARGETS-}
export CFLAGS CXXFLAGS

# CC and CXX among the words are for make as well: makefiles that set their own take them from the command line alone.
cc=
cxx=
for word in "$@"; do
    case $word in
        CC=*) cc=${word#CC=} ;;
        CXX=*) cxx=${word#CXX=} ;;
        *=*) ;;
        *) break ;;
    esac
done

need() {
    for tool in "$@"; do
        command -v "$tool" >/dev/null || die "$name needs $tool"
    done
}

# Ends the script where the project was only to be configured.
configured() {
    [ $only = no ] || exit 0
}

# In each function below, $@ are the words that go in front of its commands.
# shellcheck disable=SC2086 # TARGETS and settings are words

build_haproxy() {
    need make
    configured
    env "$@" make -j"$JOBS" ${cc:+"CC=$cc"} TARGET=linux-glibc CPU_CFLAGS="$CFLAGS" DEBUG_CFLAGS=
}

build_zlib() {
    need make
    [ -f zlib.pc ] || env "$@" ./configure
    configured
    env "$@" make -j"$JOBS"
}

# Debian's form of Lua is built with libtool, every file as C and as C++. Its makefile makes one archive twice at a time if it may.
build_lua() {
    need make autoreconf libtoolize
    if [ ! -x debian/libtool/libtool ]; then
        mkdir -p debian/libtool
        cp debian/configure.ac debian/libtool/
        echo '#define DEB_HOST_MULTIARCH "."' >src/lua5.4-deb-multiarch.h
        (cd debian/libtool && LIBTOOLIZE='libtoolize -i' autoreconf -f -i && env "$@" ./configure)
    fi
    configured
    set -- "$@" make LIBTOOL="$PWD/debian/libtool/libtool" V= CC="${cc:-gcc} -std=gnu99" CXX="${cxx:-g++}" \
        MYCFLAGS="$CFLAGS" MYCXXFLAGS="$CXXFLAGS" MYLDFLAGS= DEB_HOST_MULTIARCH=
    env "$@" -C src -j"$JOBS" o SYSCFLAGS=-DLUA_USE_LINUX
    env "$@" -j1 linux
}

# build_cmake SETTINGS WORD...
build_cmake() {
    settings=$1
    shift
    need cmake ninja
    [ -f build/build.ninja ] || env "$@" cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=None $settings
    configured
    env "$@" ninja -C build -j"$JOBS" $TARGETS
}

build_meson() {
    settings=$1
    shift
    need meson ninja
    [ -f build/build.ninja ] || env "$@" meson setup build --buildtype=plain $settings
    configured
    env "$@" ninja -C build -j"$JOBS" $TARGETS
}

build_autotools() {
    settings=$1
    shift
    need make autoreconf libtoolize
    # Once: what it makes depends on what it made before, and `make distclean` leaves all that.
    [ -f .reconfigured ] || autoreconf -f -i
    : >.reconfigured
    [ -f Makefile ] || env "$@" ./configure $settings
    configured
    env "$@" make -j"$JOBS" $TARGETS
}

build_linux() {
    need make flex bison bc
    # The kernel has its own flags, and fixes what else would differ from build to build.
    unset CFLAGS CXXFLAGS
    set -- KBUILD_BUILD_TIMESTAMP=1970-01-01 KBUILD_BUILD_USER=user KBUILD_BUILD_HOST=host "$@"
    [ -f .config ] || env "$@" make ${cc:+"CC=$cc"} tinyconfig
    configured
    env "$@" make -j"$JOBS" ${cc:+"CC=$cc"} $TARGETS
}

harfbuzz='-Dglib=disabled -Dgobject=disabled -Dcairo=disabled -Dchafa=disabled -Dicu=disabled -Dfreetype=disabled -Ddocs=disabled
    -Dintrospection=disabled'

if [ $clean = yes ]; then
    case $name in
        haproxy) make -s clean TARGET=linux-glibc ;;
        zlib) [ ! -f zlib.pc ] || make -s distclean ;;
        lua5.4) rm -rf debian/libtool src/.libs src/*.o src/*.lo src/*.la src/lua src/luac src/lua5.4-deb-multiarch.h ;;
        re2 | fmt | abseil | protobuf-cmake | mbedtls | harfbuzz | dav1d | lighttpd) rm -rf build ;;
        protobuf | libxml2 | libsodium) [ ! -f Makefile ] || make -s distclean ;;
        linux) make -s mrproper ;;
        *) die "no project is called $name" ;;
    esac
    exit 0
fi
case $name in
    haproxy) build_haproxy "$@" ;;
    zlib) build_zlib "$@" ;;
    lua5.4) build_lua "$@" ;;
    re2) build_cmake "-DRE2_BUILD_TESTING=OFF" "$@" ;;
    fmt) build_cmake "-DFMT_TEST=OFF -DFMT_DOC=OFF" "$@" ;;
    protobuf) build_autotools "" "$@" ;;
    libxml2) build_autotools "--without-python --without-lzma" "$@" ;;
    libsodium) build_autotools "" "$@" ;;
    abseil) build_cmake "-DCMAKE_CXX_STANDARD=17" "$@" ;;
    dav1d) build_meson "-Denable_asm=false" "$@" ;;
    mbedtls) build_cmake "-DENABLE_TESTING=OFF" "$@" ;;
    protobuf-cmake) build_cmake "-Dprotobuf_BUILD_TESTS=OFF" "$@" ;;
    lighttpd) build_meson "" "$@" ;;
    harfbuzz) build_meson "$harfbuzz" "$@" ;;
    linux) build_linux "$@" ;;
    *) die "no project is called $name" ;;
esac
