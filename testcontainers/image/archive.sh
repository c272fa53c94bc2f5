#!/bin/sh
# Keeps what a Java machine finds out about Kafka's classes in its first start, so that brokers start in half the
# time: as /opt/kafka/libs.jsa, beside the folder of the jars. Runs while the image is built.
set -eu

cd "$(mktemp -d)"
cat >server.properties <<'END'
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:9093
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
advertised.listeners=PLAINTEXT://127.0.0.1:9092
END
echo "log.dirs=$PWD/data" >>server.properties

java -cp '/opt/kafka/libs/*' kafka.tools.StorageTool format --cluster-id bW9kZWxjYXN0LXRlc3RzLQ --config server.properties
java -XX:TieredStopAtLevel=1 -XX:ArchiveClassesAtExit=/opt/kafka/libs.jsa -Dlog4j2.level=INFO \
  -cp '/opt/kafka/libs/*' kafka.Kafka server.properties >log 2>&1 &
looks=1200
until grep -q 'Kafka Server started' log; do
  looks=$((looks - 1))
  if [ "$looks" = 0 ] || ! kill -0 $!; then
    cat log >&2
    exit 1
  fi
  sleep 0.1
done
kill $!
# It ends as a process that was told to end.
wait $! || true
[ -s /opt/kafka/libs.jsa ]
rm -rf "$PWD"
