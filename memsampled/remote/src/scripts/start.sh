device=$1
# Seconds after which a run that nobody follows is ended; 0 if it goes on.
unfollowed=$2
shift 2
cd "$device/suite" || exit 1
# A cut connection may have hidden that it was started.
mkdir "$device/started" 2>/dev/null || exit 0
# A shell ignores these of what it starts in the background; a test must not inherit that.
defaults=
env --default-signal=INT,QUIT true 2>/dev/null && defaults='env --default-signal=INT,QUIT'
DEFAULTS=$defaults UNFOLLOWED=$unfollowed setsid sh -c '
    trap "" HUP
    # There may be no room for it later.
    echo 255 >"$0/status.part"
    echo $$ >"$0/keeper"
    defaults=$DEFAULTS
    unfollowed=$UNFOLLOWED
    unset DEFAULTS UNFOLLOWED
    # Whoever follows writes another number each time. Seconds are counted, since clocks are set.
    if [ "$unfollowed" -gt 0 ]; then
        pause=$((unfollowed / 10 + 1))
        left=$unfollowed
        last=
        while [ ! -e "$0/status" ] && sleep "$pause"; do
            now=
            { read -r now <"$0/followed"; } 2>/dev/null
            left=$((left - pause))
            [ "$now" = "$last" ] || left=$unfollowed
            last=$now
            [ "$left" -le 0 ] || continue
            read -r pid <"$0/pid"
            [ "$(readlink "/proc/$pid/cwd")" = "$0/suite" ] || exit
            echo "note: nobody has followed this run for $unfollowed s: it is ended" >>"$0/stderr"
            kill -TERM "$pid"
            exit
        done &
    fi
    sh -c '\''
        echo $$ >"$0/pid"
        defaults=$1
        shift
        exec $defaults "$0/memsample" "$@"
    '\'' "$0" "$defaults" "$@" >>"$0/stdout" 2>>"$0/stderr"
    printf "%03d\n" $? 1<>"$0/status.part"
    mv -f "$0/status.part" "$0/status"
' "$device" "$@" </dev/null >/dev/null 2>&1 &
tries=0
until [ -s "$device/keeper" ] || [ "$tries" -ge 100 ]; do
    sleep 0.1 2>/dev/null || sleep 1
    tries=$((tries + 1))
done
[ -s "$device/keeper" ]
