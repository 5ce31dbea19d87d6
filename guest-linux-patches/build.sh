#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Builds the patched Linux kernel: build/vmlinux (stripped), build/bzImage (the same kernel, for a native boot) and
# build/modules (lib/modules/RELEASE).
#
# The result is kept outside the tree under a key made of everything that decides it, so a second clone, or a branch
# that one returns to, does not build it again.  `PARAVANE_CACHE` names another place for it.  What a new key has in
# common with an older one comes out of ccache, where that is installed.
#
# usage: build.sh [--also FRAGMENT] [OUTPUT_FOLDER]
#   FRAGMENT       of a configuration, in this folder, on top of paravane.config
#   OUTPUT_FOLDER  default: build
set -euo pipefail

also=
[[ ${1:-} == --also ]] && { also=$2; shift 2; }

here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
out=${1:-$top/build}
root=${PARAVANE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/paravane}
cache=$root/linux
tarball=${LINUX_TARBALL:-/usr/src/linux-source-6.12.tar.xz}
fragments=("$here/paravane.config")
[[ -n $also ]] && fragments+=("$here/$also")
abi=$top/hypercall-abi/include/paravane
# Laid into the kernel's drivers/paravane.
drivers=("$top/frontend-drivers" "$top/backend-drivers" "$top/tests/linux-drivers")
# The store's messages, and what encodes them: beside the driver that speaks to it.
messages=("$top/hypercall-abi/store.proto" "$top/hypercall-abi/store.options")
nanopb=$top/third_party/nanopb
results=(vmlinux bzImage System.map config modules.tar)

say() { printf '  LINUX %s\n' "$*"; }
die() { printf 'linux: %s\n' "$*" >&2; exit 1; }

patches=()
if [[ -f $here/series ]]; then
    while read -r line; do
        line=${line%%#*}
        read -r patch _ <<<"$line" || true
        [[ -n $patch ]] && patches+=("$patch")
    done <"$here/series"
fi
if (( ${#patches[@]} == 0 )); then
    say "guest-linux-patches/series names no patches yet: no kernel to build"
    exit 0
fi
for patch in "${patches[@]}"; do
    [[ -f $here/$patch ]] || die "the series names $patch, which is not there"
done
for fragment in "${fragments[@]}"; do
    [[ -f $fragment ]] || die "guest-linux-patches/$(basename "$fragment") is missing"
done
[[ -f $tarball ]] || die "$tarball is missing; \`make setup\` installs it (package linux-source-6.12)"

mkdir -p "$cache" "$out"

# The tarball is large: its sum is remembered for as long as its name, size and time stay the same.
identity=$(stat -c '%n-%s-%Y' "$tarball" | sha256sum | cut -c1-16)
if [[ ! -s $cache/tarball-$identity ]]; then
    sha256sum <"$tarball" >"$cache/tarball-$identity.$$"
    mv "$cache/tarball-$identity.$$" "$cache/tarball-$identity"
fi
key=$({
    cat "$cache/tarball-$identity"
    for patch in "${patches[@]}"; do cat "$here/$patch"; done | sha256sum
    cat "${fragments[@]}" | sha256sum
    (cd "$abi" && find . -type f -print0 | sort -z | xargs -0r sha256sum)
    cat "${messages[@]}" | sha256sum
    for driver in "${drivers[@]}" "$nanopb"; do (cd "$driver" && find . -type f -print0 | sort -z | xargs -0r sha256sum); done
    sha256sum <"$here/build.sh"
    gcc --version | head -n 1
    ld --version | head -n 1
} | sha256sum | cut -c1-32)
store=$cache/$key

# Puts a kept result into the build folder, unless it is there already.
deliver() {
    [[ $(cat "$out/vmlinux.key" 2>/dev/null) == "$key" && -f $out/vmlinux && -f $out/bzImage ]] && return
    rm -f "$out/vmlinux.key"
    for file in "${results[@]}"; do
        local name=$file
        [[ $file == System.map || $file == config || $file == modules.tar ]] && name=vmlinux.$file
        cp "$store/$file" "$out/$name.new"
        mv "$out/$name.new" "$out/$name"
    done
    rm -rf "$out/modules"
    mkdir -p "$out/modules"
    tar -C "$out/modules" -xf "$out/vmlinux.modules.tar"
    echo "$key" >"$out/vmlinux.key"
    say "${out#"$top"/}/vmlinux and bzImage are $(cat "$store/release"), key $key"
}

if [[ -f $store/release ]]; then
    touch "$store"
    deliver
    exit 0
fi

# One build of a key at a time; whoever waited finds it done.
exec 9>"$cache/$key.lock"
flock -n 9 || { say "another build of this kernel is running; waiting for it"; flock 9; }
if [[ -f $store/release ]]; then
    deliver
    exit 0
fi

work=$(mktemp -d "$cache/build.XXXXXX")
cleanup() { rm -rf "$work" "$cache/$key.lock"; }
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
log=$out/linux.log
: >"$log"

say "unpacking $(basename "$tarball")"
# With the objects inside the sources every path that the compiler sees is relative: no trace of the temporary folder
# gets into the image, nor into what ccache compares.
object=$work/source/object
mkdir -p "$object" "$work/result"
tar -C "$work/source" --strip-components=1 -xf "$tarball"

say "applying ${#patches[@]} patches"
# The ABI headers first, so that a patch can include them; a patch never carries them.
mkdir -p "$work/source/include/paravane"
cp -r "$abi/." "$work/source/include/paravane/"
mkdir -p "$work/source/drivers/paravane"
cp -r "${drivers[@]}" "$work/source/drivers/paravane/"
bus=$work/source/drivers/paravane/frontend-drivers/bus
cp "$nanopb"/*.[ch] "${messages[@]}" "$bus/"
(cd "$bus" && nanopb_generator.py -q store.proto) || die "nanopb's generator fails; \`make setup\` installs it (package nanopb)"
for patch in "${patches[@]}"; do
    if ! patch -d "$work/source" -p1 --fuzz=0 --forward --batch --silent --no-backup-if-mismatch <"$here/$patch" >"$work/patch.log" 2>&1; then
        cat "$work/patch.log" >&2
        die "$patch does not apply"
    fi
done

# Nothing of the machine or the hour goes into the image.
export KBUILD_BUILD_USER=paravane KBUILD_BUILD_HOST=paravane KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 2026' KBUILD_BUILD_VERSION=1
compilers=()
if command -v ccache >/dev/null; then
    export CCACHE_DIR=$root/ccache CCACHE_MAXSIZE=2G
    # Every header has just been unpacked or made: its time says nothing, its content is hashed all the same.
    export CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=include_file_mtime,include_file_ctime
    compilers=(CC='ccache gcc' HOSTCC='ccache gcc')
fi
# A make that runs us may be silent, and its jobs are not ours: what kbuild prints is how far it is.
unset MAKEFLAGS MFLAGS MAKELEVEL
make_linux() { make -C "$work/source" O="$object" ARCH=x86_64 "${compilers[@]}" "$@" 9>&-; }
failed() { tail -n 40 "$log" >&2; die "$1; the whole log is $log"; }

say "configuring"
cat "${fragments[@]}" >"$work/fragment"
make_linux KCONFIG_ALLCONFIG="$work/fragment" allnoconfig >>"$log" 2>&1 || failed "allnoconfig failed"
# Kconfig drops silently what lacks a dependency.
while read -r want; do
    case $want in
    CONFIG_*=n) option=${want%%=*}; ! grep -q "^$option=" "$object/.config" || say "note: the configuration has $option, not wanted" ;;
    CONFIG_*) grep -qxF -- "$want" "$object/.config" || say "note: the configuration lacks $want" ;;
    esac
done < <(sed 's/[[:space:]]*$//' "$work/fragment")

before=$(cat "$cache/last-count$also" 2>/dev/null || echo 0)
terminal=0
[[ -t 1 ]] && terminal=1
jobs=${JOBS:-$(nproc)}
say "compiling with $jobs jobs (log: $log)"
started=$SECONDS
if ! make_linux -j"$jobs" vmlinux bzImage modules 2>&1 | tee -a "$log" | awk -v of="$before" -v terminal="$terminal" -v count_file="$work/count" '
    function show(end) {
        printf "%s  LINUX compiled %d%s files%s", (terminal ? "\r" : ""), n, ((of > 0) ? " of about " of : ""), end; fflush()
    }
    # as well as "CC", the decompressor and the host tools count: it is progress all the same
    $1 ~ /^(CC|AS|HOSTCC|HOSTCXX|VDSO|LDS|AR|LD)$/ { n++; if (terminal && n % 10 == 0) show(""); else if (!terminal && n % 250 == 0) show("\n") }
    /(error:|Error [0-9]+|undefined reference|warning: .*paravane)/ { if (terminal) printf "\n"; print "        " $0; fflush() }
    END { if (n) show("\n"); print n > count_file }'; then
    failed "the kernel does not build"
fi
cp "$work/count" "$cache/last-count$also"

strip --strip-debug -o "$work/result/vmlinux" "$object/vmlinux"
cp "$object/arch/x86/boot/bzImage" "$object/System.map" "$work/result/"
cp "$object/.config" "$work/result/config"
make_linux INSTALL_MOD_PATH="$work/modules" INSTALL_MOD_STRIP=1 modules_install >>"$log" 2>&1 || failed "the modules cannot be installed"
rm -f "$work/modules"/lib/modules/*/build
tar -C "$work/modules" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$work/result/modules.tar" lib
cp "$object/include/config/kernel.release" "$work/result/release"
rm -rf "$store"
mv "$work/result" "$store"
say "built in $((SECONDS - started)) s"
deliver
