#!/bin/bash
# Chooses, and where nothing can be pulled builds, the Kafka image of the tests.
#
#   image.sh choose       prints the image to use; says on standard error why not the ones before it.
#                         Exit code 3: there is none yet, `image.sh build` makes one.
#   image.sh build JARS   builds the image of the jars in that folder and prints its name; at once when it is there
#                         already. `cargo run -p modelcast-testcontainers --bin kafka-jars` makes and prints the folder.
#
# The order: $MODELCAST_KAFKA_IMAGE; apache/kafka, here or pulled; the one built from this folder.
# That a registry gave no image is remembered for an hour in the target folder, so that not every test asks anew.
# Where there is no command `docker`, `podman` does the same.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}

# With its registry: Podman may know none for a short name.
official=docker.io/apache/kafka:4.1.1
suite=bookworm
packages=openjdk-17-jre-headless,ca-certificates
base=modelcast-kafka-base:$suite-jre17
refusal=$target/kafka-image-not-pulled
answer_seconds=10
pull_seconds=600
needs_build=3

say() { printf 'kafka image: %s\n' "$*" >&2; }
fail() {
  say "$*"
  exit 1
}
if ! command -v docker >/dev/null && command -v podman >/dev/null; then
  engine=podman
  # Podman's own name for the variable, without which it would look here and not there.
  if [ -n "${DOCKER_HOST:-}" ]; then export CONTAINER_HOST=$DOCKER_HOST; fi
  answers() { podman info; }
else
  engine=docker
  answers() { docker version --format '{{.Server.Version}}'; }
fi
present() { "$engine" image inspect "$1" >/dev/null 2>&1; }

# What the built image depends on is its name: a changed file is another image, an unchanged one is found.
local_tag() {
  local files=(Dockerfile archive.sh image.sh ../jars.lock)
  printf 'modelcast-kafka:%s' "$(cd "$here" && cat "${files[@]}" | sha256sum | cut -c1-16)"
}

# Seconds, then a command. A system without `timeout` waits as long as the command does.
within() {
  if command -v timeout >/dev/null; then timeout "$@"; else "${@:2}"; fi
}

# Two deadlines: a registry that cannot be reached is found out at once, a slow one may still deliver.
pull_official() {
  if [ -n "$(find "$refusal" -mmin -60 2>/dev/null)" ]; then
    say "not $official: $(cat "$refusal") (found less than an hour ago; remove $refusal to ask again)"
    return 1
  fi
  local said reason=""
  say "asking the registry for $official (at most $answer_seconds s)"
  if ! said=$(within "$answer_seconds" "$engine" manifest inspect "$official" 2>&1 >/dev/null); then
    reason="the registry does not offer it: ${said:-no answer within $answer_seconds s}"
  else
    say "pulling $official (at most $pull_seconds s)"
    said=$(within "$pull_seconds" "$engine" pull --quiet "$official" 2>&1 >/dev/null) ||
      reason="it could not be pulled: ${said:-not done after $pull_seconds s}"
  fi
  if [ -z "$reason" ]; then return 0; fi
  reason=$(printf '%s' "$reason" | tr '\n' ' ' | cut -c1-300)
  say "not $official: $reason"
  # Where the folder cannot be written, the next process asks again.
  { mkdir -p "$target" && printf '%s' "$reason" >"$refusal"; } 2>/dev/null || true
  return 1
}

choose() {
  if [ -n "${MODELCAST_KAFKA_IMAGE:-}" ]; then
    say "$MODELCAST_KAFKA_IMAGE, as MODELCAST_KAFKA_IMAGE says"
    printf '%s\n' "$MODELCAST_KAFKA_IMAGE"
    return 0
  fi
  answers >/dev/null 2>&1 ||
    fail "no engine answers \`$engine\` (DOCKER_HOST=${DOCKER_HOST:-})"
  say "not MODELCAST_KAFKA_IMAGE: it is not set"
  if present "$official" || pull_official; then
    say "$official"
    printf '%s\n' "$official"
    return 0
  fi
  local tag
  tag=$(local_tag)
  if present "$tag"; then
    say "$tag, built from testcontainers/image"
    printf '%s\n' "$tag"
    return 0
  fi
  say "not $tag: it is not built yet"
  return "$needs_build"
}

# Debian's mirror as this machine knows it, or the one everybody knows.
mirror() {
  local known
  known=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk -v suite="$suite" '$1 == suite { print $2; exit }')
  printf '%s' "${known:-http://deb.debian.org/debian/}"
}

build_base() {
  local root=$1/root log=$1/debootstrap.log
  say "[1/3] Debian $suite with a Java machine, by debootstrap (about 40 s)"
  if ! debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$(mirror)" >"$log" 2>&1; then
    tail -20 "$log" >&2
    fail "debootstrap failed"
  fi
  say "[2/3] importing it as $base"
  # What apt downloaded and documentation are a quarter of the folder.
  tar -C "$root" --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./usr/share/doc/*' \
    --exclude='./usr/share/man/*' --exclude='./proc/*' --exclude='./sys/*' -c . | "$engine" import - "$base" >/dev/null
}

clean_up() {
  # debootstrap leaves these mounted when it is interrupted.
  umount "$1/root/proc" "$1/root/sys" 2>/dev/null || true
  rm -rf --one-file-system "$1"
}

build() {
  local tag jars=$1 work
  tag=$(local_tag)
  # Two test binaries at once: the second waits, and finds what the first has built.
  mkdir -p "$target"
  exec 9>"$target/kafka-image.lock"
  flock 9
  if present "$tag"; then
    say "$tag is there"
    printf '%s\n' "$tag"
    return 0
  fi
  compgen -G "$jars/*.jar" >/dev/null || fail "no jars in $jars"
  command -v debootstrap >/dev/null || [ -x /usr/sbin/debootstrap ] ||
    fail "building it needs \`debootstrap\` (apt-get install debootstrap); or name an image in MODELCAST_KAFKA_IMAGE"
  [ "$(id -u)" = 0 ] || fail "building it needs root, for debootstrap; or name an image in MODELCAST_KAFKA_IMAGE"
  work=$(mktemp -d /var/tmp/modelcast-kafka-image.XXXXXX)
  # The folder is known now and not at exit, when this function's variables are gone.
  # shellcheck disable=SC2064
  trap "clean_up '$work'" EXIT
  if present "$base"; then say "[1/3] [2/3] $base is there"; else build_base "$work"; fi
  mkdir -p "$work/context/libs"
  cp "$jars"/*.jar "$work/context/libs/"
  cp "$here"/{Dockerfile,archive.sh} "$work/context/"
  say "[3/3] building $tag"
  if ! "$engine" build --quiet --build-arg "BASE=$base" --tag "$tag" "$work/context" >"$work/build.log" 2>&1; then
    tail -20 "$work/build.log" >&2
    fail "$engine build failed"
  fi
  say "$tag built in $SECONDS s"
  printf '%s\n' "$tag"
}

case ${1:-}:$# in
  choose:1) choose ;;
  build:2) build "$2" ;;
  *)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 64
    ;;
esac
