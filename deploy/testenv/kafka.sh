#!/usr/bin/env bash
# Apache Kafka for the tests: Debian's Java, Kafka's jars by Maven, an archive of loaded classes that halves the start of a
# broker, and a formatted data directory to copy. Kept in ${TIDEMILL_CACHE:-$HOME/.cache/tidemill}/services/kafka, outside
# the checkout. Quick and quiet when all is there; what can't be had is said in one line and is no failure.
set -euo pipefail

version=4.4.0
slf4j=1.7.36
# Fixed, so that every test starts from a copy of one formatted directory.
cluster=dGlkZW1pbGwtdGVzdHMtMQ
home=${TIDEMILL_CACHE:-$HOME/.cache/tidemill}/services/kafka
# The form of what this script makes; a new number makes it anew.
stamp="$version 1"

say() { echo "testenv: kafka: $*" >&2; }
absent() { say "not available: $*"; exit 0; }

if [ -n "${TIDEMILL_TEST_KAFKA:-}" ]; then exit 0; fi
if [ "$(cat "$home/ready" 2>/dev/null)" = "$stamp" ] && command -v java >/dev/null; then exit 0; fi

missing=()
command -v java >/dev/null || missing+=(default-jre-headless)
command -v mvn >/dev/null || missing+=(maven)
if [ ${#missing[@]} -gt 0 ]; then
    "$(dirname "${BASH_SOURCE[0]}")/../debian-install.sh" "testenv: kafka" "${missing[@]}" || absent "needs ${missing[*]}"
fi

mkdir -p "$(dirname "$home")"
work=$(mktemp -d "$(dirname "$home")/.kafka.XXXXXX")
broker=
trap '[ -z "$broker" ] || kill -KILL "$broker" 2>/dev/null || true; rm -rf "$work"' EXIT

say "fetching Apache Kafka $version with maven (about 60 MB the first time)"
cat >"$work/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tidemill</groupId><artifactId>test-broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>$slf4j</version></dependency>
  </dependencies>
</project>
POM
mvn --quiet --batch-mode --file "$work/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$work/libs" >"$work/maven.log" 2>&1 \
    || absent "maven could not fetch it: $(grep -m 1 ERROR "$work/maven.log" || tail -n 1 "$work/maven.log")"

# One file is one class path: the archive of classes below holds for exactly this order of jars.
rm -rf "$home"
mkdir -p "$home"
mv "$work/libs" "$home/libs"
find "$home/libs" -name '*.jar' | sort | paste -sd : >"$home/classpath"

java=(java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC)
cat >"$work/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:29093
advertised.listeners=PLAINTEXT://127.0.0.1:29092
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:29093
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$home/formatted
PROPERTIES
scram='[name=tidemill,password=correct horse]'
"${java[@]}" -cp "$(cat "$home/classpath")" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn kafka.tools.StorageTool format \
    --cluster-id "$cluster" --config "$work/server.properties" \
    --add-scram "SCRAM-SHA-256=$scram" --add-scram "SCRAM-SHA-512=$scram" >"$work/format.log" 2>&1 \
    || absent "its storage can't be formatted: $(tail -n 1 "$work/format.log")"

# A broker that starts and stops once writes the archive. Without it brokers start too, only slower.
cp -r "$home/formatted" "$work/data"
sed -i "s#^log.dirs=.*#log.dirs=$work/data#" "$work/server.properties"
port=$((20000 + RANDOM % 10000))
sed -i "s#29093#$port#g" "$work/server.properties"
"${java[@]}" -XX:ArchiveClassesAtExit="$home/classes.jsa" -cp "$(cat "$home/classpath")" kafka.Kafka \
    "$work/server.properties" >"$work/broker.log" 2>&1 &
broker=$!
for _ in $(seq 600); do
    if grep -q 'Kafka Server started' "$work/broker.log" || ! kill -0 "$broker" 2>/dev/null; then break; fi
    sleep 0.1
done
grep -q 'Kafka Server started' "$work/broker.log" || absent "the broker does not start: $(tail -n 1 "$work/broker.log")"
kill -TERM "$broker"
wait "$broker" || true
broker=
echo "$stamp" >"$home/ready"
say "ready in $home"
