#!/bin/sh
# Builds the gateway twice: once so that it counts what it does under the load of tests/load, then so that what it did
# most lies together and is compiled for speed (https://doc.rust-lang.org/rustc/profile-guided-optimization.html).
# The binary is the last line of the output. TARGET is the machine it is for, which has to be able to run here.
#
#     rustup component add llvm-tools
#     deploy/build-profiled.sh
set -eu
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
target=${TARGET:-$host}
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
# A folder of its own, so that the next "cargo build" finds what the last one has built.
out=${CARGO_TARGET_DIR:-target}/profiled
mkdir -p "$out"
out=$(cd "$out" && pwd)
binary=$out/$target/release/uni-api
counts=$out/counts

if [ ! -x "$profdata" ]; then
    echo "llvm-profdata is missing: run 'rustup component add llvm-tools'" >&2
    exit 1
fi

# Flags of a target leave build scripts and macros alone, which the compiler runs and nobody counts.
build() {
    RUSTFLAGS="${RUSTFLAGS:-} $1" cargo build --release --locked --target "$target" --target-dir "$out" >&2
}

rm -rf "$counts"
build "-Cprofile-generate=$counts"
# Every kind of request, streams, translations and faults, with a line in the log for each.
UNI_API_PROGRAM=$binary RUST_LOG=info LOAD_RATE=200 LOAD_SECONDS=30 \
    cargo test --locked --test load soak >&2
"$profdata" merge --output="$counts.profdata" "$counts"
build "-Cprofile-use=$counts.profdata"
echo "$binary"
