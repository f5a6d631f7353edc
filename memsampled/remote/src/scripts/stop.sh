cd "$1" || exit 0
[ ! -f status ] || exit 0
pid=$(cat pid) || exit 0
if [ "$(readlink "/proc/$pid/cwd")" = "$1/suite" ]; then kill -TERM "$pid"; fi
