device=$1
shift
cd "$device/suite" || exit 1
# A cut connection may have hidden that it was started.
mkdir "$device/started" 2>/dev/null || exit 0
# A shell ignores these of what it starts in the background; a test must not inherit that.
defaults=
env --default-signal=INT,QUIT true 2>/dev/null && defaults='env --default-signal=INT,QUIT'
DEFAULTS=$defaults setsid sh -c '
    trap "" HUP
    # There may be no room for it later.
    echo 255 >"$0/status.part"
    echo $$ >"$0/keeper"
    defaults=$DEFAULTS
    unset DEFAULTS
    sh -c '\''
        echo $$ >"$0/pid"
        defaults=$1
        shift
        exec $defaults "$0/memsample" "$@"
    '\'' "$0" "$defaults" "$@" >"$0/stdout" 2>"$0/stderr"
    printf "%03d\n" $? 1<>"$0/status.part"
    mv -f "$0/status.part" "$0/status"
' "$device" "$@" </dev/null >/dev/null 2>&1 &
tries=0
until [ -s "$device/keeper" ] || [ "$tries" -ge 100 ]; do
    sleep 0.1 2>/dev/null || sleep 1
    tries=$((tries + 1))
done
[ -s "$device/keeper" ]
