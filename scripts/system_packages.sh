#!/usr/bin/env bash
# Checks the programs that Weir and its tests need from the system: lists missing ones, and installs them if it may.
#
#   scripts/system_packages.sh [--yes] [PROGRAM…]     without a PROGRAM: all of the table below
#
# If no program is missing, it prints nothing. Otherwise apt-get installs Debian's packages, as root or with sudo:
#   - at once with --yes, and if CI is set
#   - in a terminal after a "y"
#   - elsewhere at once for root, and with a sudo that asks for no password
# If it may not install, or there is no apt-get, it prints what to do. Exit code: 0 if no program is missing (any more),
# else 1.
#
# Written for bash 3.2, which macOS has: no associative arrays, and no expansion of an empty array.
set -euo pipefail

# PROGRAM|Debian's packages|description. The function has_PROGRAM checks for it.
PROGRAMS='make|make|GNU make
git|git|git
python|python3 python3-venv|Python 3.11, 3.12 or 3.13 with the modules venv and ensurepip
java|default-jre-headless|Java 17 or later
maven|maven|Maven (mvn)
rabbitmq|rabbitmq-server|RabbitMQ (rabbitmq-server); Debian starts it as a service, too
openssl|openssl|OpenSSL (openssl)
ps|procps|ps
browser|chromium|Chromium or Chrome
node|nodejs|Node.js (node)
npm|npm|npm'

# Programs for administrators are often not on the PATH of a user.
PATH="$PATH:${WEIR_SBIN-/usr/local/sbin:/usr/sbin}"

have() { command -v "$1" >/dev/null 2>&1; }

has_make() { have make; }
has_git() { have git; }
has_maven() { have mvn; }
has_rabbitmq() { have rabbitmq-server; }
has_openssl() { have openssl; }
has_ps() { have ps; }
has_browser() { have chromium || have chromium-browser || have google-chrome; }
has_node() { have node; }
has_npm() { have npm; }

# Checks the Java that the tests use: that of JAVA_HOME, if it is set.
has_java() {
    local java=java said
    [ -z "${JAVA_HOME:-}" ] || java=$JAVA_HOME/bin/java
    have "$java" && said=$("$java" -version 2>&1) || return 1
    [[ $said =~ \ version\ \"([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge 17 ]
}

# Checks the Python that the Makefile uses. An existing virtual environment needs none.
has_python() {
    local python
    [ ! -x "${VENV:-.venv}/bin/python" ] || return 0
    for python in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if have "$python" && "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
            "$python" -c 'import ensurepip, venv' 2>/dev/null
            return
        fi
    done
    return 1
}

say() { printf '%s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# Sets `missing` (lines of the table) and `packages`: those of the programs asked for that are not there.
look() {
    local program package meaning
    missing="" packages=""
    while IFS='|' read -r program package meaning; do
        case " $wanted " in *" $program "* | "  ") ;; *) continue ;; esac
        "has_$program" </dev/null || { missing="$missing  $meaning"$'\n'; packages="$packages $package"; }
    done <<<"$PROGRAMS"
}

# Returns if the packages may be installed; ends otherwise.
permit() {
    local answer
    if [ -t 0 ] && [ -t 2 ]; then
        [ -z "$yes" ] || return 0
        printf 'Install them now? [y/N] ' >&2
        read -r answer || say
        case $answer in y | Y | yes) return 0 ;; esac
        fail "Nothing is installed."
    fi
    # sudo cannot ask for a password here.
    [ -z "$sudo" ] || sudo -n true 2>/dev/null || fail "sudo wants a password: run that in a terminal, then try again."
}

as_root() { if [ -n "$sudo" ]; then sudo "$@"; else "$@"; fi; }
apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q "$@"; }

yes="" wanted=""
case ${CI:-} in "" | 0 | false) ;; *) yes=yes ;; esac
for argument in "$@"; do
    case $argument in
        --yes) yes=yes ;;
        *)
            [[ $'\n'$PROGRAMS == *$'\n'"$argument|"* ]] || fail "There is no program $argument in the table of $0."
            wanted="$wanted$argument "
            ;;
    esac
done

look
[ -n "$missing" ] || exit 0
say "Missing on this system:"
printf '%s' "$missing" >&2
have apt-get || fail "There is no apt-get to install them: use this system's package manager, then try again."

is_root=""
[ "$(id -u)" -ne 0 ] || is_root=yes
sudo=""
[ "$is_root" ] || ! have sudo || sudo="sudo "
say "What installs them: ${sudo}apt-get update && ${sudo}apt-get install --no-install-recommends$packages"
[ "$is_root$sudo" ] || fail "Only root may do that, and there is no sudo here."
permit
# shellcheck disable=SC2086  # the names of packages are words
if ! { apt_get update && apt_get install -y --no-install-recommends $packages; }; then
    fail "apt-get failed, see above."
fi
look
[ -z "$missing" ] || fail "The packages are installed, and these are still missing:
${missing}JAVA_HOME and PYTHON, where they are set, say where Java and Python must be."
