#!/bin/bash
# tests/kafka/run.sh - all scripts against Apache Kafka, several at a time, and their sum: the stages
# of tests/run_all.sh that are of this folder. ROWS="5 6": those that know rows of the table of faults.
set -u
cd "$(dirname "$0")/../.." || exit 70

exec bash tests/run_all.sh $(printf 'kafka/%s\n' $(basename -s .sh tests/kafka/test_*.sh))
