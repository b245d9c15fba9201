#!/usr/bin/env bash
# Gets NVIDIA's compiler for GPU kernels (NVRTC and ptxas) out of its PyPI packages, for the test that compiles the
# project's kernels; a GPU is not needed. Quick and quiet when they are there. What can't be had is told in one line and
# its test is skipped; that is no failure.
set -euo pipefail

version=12.9.86
cache="${TIDEMILL_CACHE:-$HOME/.cache/tidemill}/services/cuda-12.9"

say() { echo "cuda: $*" >&2; }

[ -x "$cache/ptxas" ] && [ -e "$cache/libnvrtc.so.12" ] && exit 0
[ "$(uname -m)" = x86_64 ] || { say "packages are for x86-64 alone here: the test of GPU kernels is skipped"; exit 0; }
python3 -m pip --version >/dev/null 2>&1 || { say "no pip: the test of GPU kernels is skipped"; exit 0; }
say "fetching NVRTC and ptxas (130 MB, PyPI nvidia-cuda-nvrtc-cu12 and nvidia-cuda-nvcc-cu12 $version) into $cache"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$work" \
    "nvidia-cuda-nvrtc-cu12==$version" "nvidia-cuda-nvcc-cu12==$version" >&2; then
    say "the packages can't be fetched: the test of GPU kernels is skipped"
    exit 0
fi
python3 - "$work" <<'PYTHON'
import glob, os, sys, zipfile
wanted = ("libnvrtc.so.12", "libnvrtc-builtins.so.12.9", "ptxas")
os.mkdir(sys.argv[1] + "/new")
for path in glob.glob(sys.argv[1] + "/*.whl"):
    wheel = zipfile.ZipFile(path)
    for name in wheel.namelist():
        if os.path.basename(name) in wanted:
            with open(os.path.join(sys.argv[1], "new", os.path.basename(name)), "wb") as out:
                out.write(wheel.read(name))
PYTHON
chmod 755 "$work/new/ptxas"
mkdir -p "$(dirname "$cache")"
# moved whole, so that a broken download never looks complete
rm -rf "$cache"
mv "$work/new" "$cache"
