cd "$1" 2>/dev/null || { echo G; exit 0; }
stdout=$2
stderr=$3
# How long to tell at most, in seconds and 0 for ever, and what tells this call from the one before.
at_most=$4
echo "$5" >followed
# Prints what a file has beyond an offset, behind a line with a letter and the number of bytes.
tell() {
    size=$3
    [ -f "$2" ] && size=$(($(wc -c <"$2")))
    [ "$size" -gt "$3" ] || return 0
    echo "$1 $((size - $3))" || exit 1
    tail -c "+$(($3 + 1))" "$2" | head -c "$((size - $3))" || exit 1
}
is_kept() {
    [ "$(readlink "/proc/$(cat keeper)/cwd")" = "$1/suite" ]
}
rounds=0
while :; do
    ended=
    if [ -f status ]; then
        ended="X $(cat status)"
    elif [ "$((rounds % 10))" -eq 9 ] && ! is_kept "$1" && [ ! -f status ]; then
        ended=G
    fi
    tell O stdout "$stdout"
    stdout=$size
    tell E stderr "$stderr"
    stderr=$size
    if [ -n "$ended" ]; then
        echo "$ended"
        exit 0
    fi
    # Without a reader this ends the script.
    echo P || exit 1
    rounds=$((rounds + 1))
    if [ "$at_most" -gt 0 ] && [ "$rounds" -ge "$((at_most + 8))" ]; then
        echo A
        exit 0
    fi
    if [ "$rounds" -lt 10 ]; then sleep 0.2 2>/dev/null || sleep 1; else sleep 1; fi
done
