#!/bin/sh
# Mends distcc's include server, which fails on every file in Debian 12: pump.sh SOURCE DIR. Leaves the installed one alone.
#
# SOURCE: distcc's source as fetch.sh leaves it. DIR gets a copy of Debian's include server with its extension built anew: with
# PY_SSIZE_T_CLEAN, which Python 3.10 and later demand, and the lengths that go with it of the right type.
set -eu
source=$1
dir=$2
installed=/usr/lib/python3/dist-packages/include_server
module=$source/include_server/c_extensions/distcc_pump_c_extensions_module.c
[ -e "$source/src/config.h" ] || (cd "$source" && ./autogen.sh && ./configure --disable-Werror) >"$source/kiln-bench.log" 2>&1
rm -rf "$dir"
mkdir -p "$dir"
cp "$installed"/*.py "$dir"
{
    echo '#define PY_SSIZE_T_CLEAN'
    sed 's/^  int in_len;/  Py_ssize_t in_len;/; s/^  int len;/  Py_ssize_t len;/' "$module"
} >"$source/include_server/c_extensions/mended.c"
parts="clirpc clinet state srvrpc pump rpc io include_server_if trace snprintf util tempfile filename bulk sendfile compress argutil
 cleanup emaillog timeval netutil"
files=""
for part in $parts; do
    files="$files $source/src/$part.c"
done
# shellcheck disable=SC2046,SC2086
gcc -O2 -w -shared -fPIC -D_GNU_SOURCE -DHAVE_CONFIG_H -DMINILZO_HAVE_CONFIG_H -DLIBDIR='"/usr/lib"' -DSYSCONFDIR='"/etc"' -DPKGDATADIR='"/usr/share/distcc"' \
    -DDOCDIR='"/usr/share/doc/distcc"' -I"$source/src" -I"$source/lzo" $(/usr/bin/python3-config --includes) \
    $files "$source/lzo/minilzo.c" "$source/include_server/c_extensions/mended.c" \
    -o "$dir/$(basename "$installed"/distcc_pump_c_extensions.*.so)"
