#!/bin/bash
# Writes jars.lock anew from pom.xml: `testcontainers/image/lock.sh`, after a version in pom.xml was changed.
# Needs Maven; nothing else does.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lock=$here/../jars.lock
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mvn -B -q -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
  -Dmdep.useRepositoryLayout=true -DoutputDirectory="$work/libs" >&2

# org/apache/kafka/kafka_2.13/4.1.1/kafka_2.13-4.1.1.jar is org.apache.kafka:kafka_2.13:4.1.1
{
  echo "# The jars of Kafka for tests: Maven coordinates, size in bytes, SHA-256. Made by image/lock.sh from image/pom.xml."
  cd "$work/libs"
  find . -name '*.jar' -printf '%P\n' | LC_ALL=C sort | while read -r path; do
    folder=${path%/*}
    version=${folder##*/}
    folder=${folder%/*}
    artifact=${folder##*/}
    group=${folder%/*}
    if [ "${path##*/}" != "$artifact-$version.jar" ]; then
      echo "jars.lock has no form for a classifier: $path" >&2
      exit 1
    fi
    printf '%s:%s:%s %s %s\n' "${group//\//.}" "$artifact" "$version" "$(stat -c %s "$path")" "$(sha256sum "$path" | cut -d' ' -f1)"
  done
} >"$work/jars.lock"
mv "$work/jars.lock" "$lock"
echo "$(grep -vc '^#' "$lock") jars" >&2
