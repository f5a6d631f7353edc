LC_ALL=C
export LC_ALL
umask 077
echo "system=$(uname -s)"
echo "machine=$(uname -m)"
for tool in cat chmod df head kill ls mkdir mv readlink rm setsid sha256sum sleep tail tar wc; do
    command -v "$tool" >/dev/null 2>&1 || echo "lacks=$tool"
done
directory=${1:-${TMPDIR:-/tmp}}
error=$(cd "$directory" 2>&1) || { echo "absent=$directory: ${error##*: }"; exit 0; }
cd "$directory" || exit 1
above=$(pwd -P)
ours=${above%/}/$2
error=$(mkdir "$ours" 2>&1) || { echo "unwritable=$above: ${error##*: }"; exit 0; }
echo "directory=$ours"
cd "$ours" || exit 1
echo "free=$(df -Pk . | tail -n 1)"
if printf '#!/bin/sh\nexit 0\n' >probe 2>/dev/null && chmod 700 probe; then
    error=$(./probe 2>&1) || echo "unexecutable=$above: ${error##*: }"
fi
rm -f probe
