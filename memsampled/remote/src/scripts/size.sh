cd "$1" || exit 1
[ -f "$2" ] || { echo 0; exit 0; }
wc -c <"$2"
