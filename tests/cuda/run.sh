#!/bin/sh
# What a machine with a GPU is asked: the tests that need one, then the speed table. bash tests/cuda/run.sh FOLDER
set -u
mkdir -p "${1:-gpu}"
out=$(cd "${1:-gpu}" && pwd)
cd "$(dirname "$0")/../.." || exit
python -m pytest -m cuda tests/cuda --junitxml="$out/tests.xml" -o addopts="-ra --strict-markers" -p no:cacheprovider
tests=$?
python -m benchmarks.tools.speed --device cuda --engine torch --model resnet50 --weights random --batch 64 --rounds 3 --size 16 \
    --lines da rise insertion ep engines --json "$out/speed.json"
speed=$?
echo "tests $tests, speed $speed: $out"
test $tests -eq 0 && test $speed -eq 0
